"""Engines: one pool for reads (each statement its own snapshot), one for units of work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from persistence.errors import FieldError, InvalidArgument
from persistence.postgres.stream import ENSURE_EPOCH

SERVER_SETTINGS: Final = {
    "application_name": "omnirelay",
    "timezone": "UTC",
    "jit": "off",  # our statements take milliseconds; compiling them takes longer
    "lock_timeout": "10s",
    "statement_timeout": "60s",
    # A process that froze inside a transaction would hold the stream head, and with it every writer.
    "idle_in_transaction_session_timeout": "30s",
    # Let the server notice a client that vanished without a word, and give up its locks.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


@dataclass(frozen=True, slots=True)
class Sessions:
    """Factories; a session never outlives one call. `read` commits nothing and begins no transaction."""

    read: async_sessionmaker[AsyncSession]
    write: async_sessionmaker[AsyncSession]


def database_url(url: str) -> URL:
    """Any spelling of a PostgreSQL URL as SQLAlchemy's asyncpg dialect wants it. Raises InvalidArgument."""
    try:
        parsed = make_url(url)
    except Exception as error:  # SQLAlchemy raises ArgumentError, ValueError or TypeError here
        raise InvalidArgument(
            FieldError("database_url", "is not a URL like postgresql://user@host/database")
        ) from error
    if parsed.get_backend_name() not in {"postgresql", "postgres"}:
        raise InvalidArgument(
            FieldError("database_url", f"must begin with postgresql://, not {parsed.get_backend_name()}://")
        )
    return parsed.set(drivername="postgresql+asyncpg")


def create_engine(url: str, *, pool_size: int, **options: Any) -> AsyncEngine:
    """A pool of at most `pool_size` connections, each of which has made sure of the stream's epoch before it is used.

    That is what keeps a restored copy, or a replica promoted after a loss, from handing out revisions under the old
    epoch: whatever server a connection reaches, it has compared origins before it writes.
    """
    engine = create_async_engine(
        database_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_use_lifo=True,
        connect_args={"server_settings": SERVER_SETTINGS, "timeout": 10, "command_timeout": 90},
        **options,
    )

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
