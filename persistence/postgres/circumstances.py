"""What a decision is told beside what is locked."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ARRAY, String, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.circumstances import Asked, Circumstances
from persistence.postgres.models import NODES
from persistence.postgres.nodes import SELECT_UNCOUNTED
from persistence.postgres.rows import node_of

# Not the transaction's time: it may have waited for its locks.
_NOW: Final = select(func.clock_timestamp())
_NODES: Final = SELECT_UNCOUNTED.where(NODES.c.node_id == func.any(bindparam("names", type_=ARRAY(String))))


async def seen(session: AsyncSession, asked: Asked) -> Circumstances:
    now = (await session.execute(_NOW)).scalar_one() if asked.time else None
    rows = await session.execute(_NODES, {"names": list(asked.node_ids)}) if asked.node_ids else ()
    return Circumstances(now, {row[0]: node_of(row) for row in rows})
