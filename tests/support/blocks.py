"""What reading takes, counted by PostgreSQL: blocks do not depend on the load of a machine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

OFTEN: Final = 8
"""From the sixth execution on PostgreSQL may take one plan for all parameters."""

_BLOCKS: Final = text("""
    SELECT sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit) FROM pg_statio_user_tables
    WHERE relname ~ '^(shard_history|changes)'
""")

FLUSH: Final = text("SELECT pg_stat_force_next_flush()")
"""After this, what a session counted is seen by the others with its next statement."""


async def blocks(sessions: async_sessionmaker[AsyncSession], read: Callable[[], Awaitable[Any]]) -> int:
    """Of history and changes, tables and indexes, that reading takes, after it was read often. `sessions` are those
    that are read by, on one connection."""
    for _ in range(OFTEN):
        await read()
    before = await _count(sessions)
    await read()
    return await _count(sessions) - before


async def _count(sessions: async_sessionmaker[AsyncSession]) -> int:
    async with sessions() as session:
        await session.execute(FLUSH)
        return int((await session.execute(_BLOCKS)).scalar_one())
