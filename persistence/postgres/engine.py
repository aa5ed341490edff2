"""Engines: one pool for reads (each statement its own snapshot), one for units of work."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from persistence.postgres.connecting import connect, require_postgresql
from persistence.postgres.stream import ENSURE_EPOCH


@dataclass(frozen=True, slots=True)
class Sessions:
    """Factories; a session never outlives one call. `read` commits nothing and begins no transaction."""

    read: async_sessionmaker[AsyncSession]
    write: async_sessionmaker[AsyncSession]


def engine_on(url: str, *, command_timeout: float | None = 90, **options: Any) -> AsyncEngine:
    """A SQLAlchemy engine whose connections are made here. Raises InvalidArgument for a URL of something else.

    `command_timeout`, in seconds, is how long the server may leave a statement without an answer; None: for ever.
    """
    require_postgresql(url)
    return create_async_engine(
        "postgresql+asyncpg://", async_creator=partial(connect, url, command_timeout=command_timeout), **options
    )


def create_engine(url: str, *, pool_size: int, **options: Any) -> AsyncEngine:
    """A pool of at most `pool_size` connections, each of which has made sure of the stream's epoch before it is used.

    That is what keeps a restored copy, or a replica promoted after a loss, from handing out revisions under the old
    epoch: whatever server a connection reaches, it has compared origins before it writes.
    """
    engine = engine_on(url, pool_size=pool_size, max_overflow=0, pool_timeout=10, pool_use_lifo=True, **options)

    @event.listens_for(engine.sync_engine, "connect")
    def ensure_epoch(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(ENSURE_EPOCH)
        cursor.close()
        connection.commit()

    return engine


def sessions(read_engine: AsyncEngine, write_engine: AsyncEngine) -> Sessions:
    return Sessions(
        read=async_sessionmaker(read_engine, expire_on_commit=False, autoflush=False),
        write=async_sessionmaker(write_engine, expire_on_commit=False, autoflush=False),
    )
