"""From a moment of the past to the revision the store had then."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.errors import Compacted, FutureCursor
from persistence.ports import StreamHead
from persistence.postgres.tables.history import CHANGES
from persistence.records import AsOf

_REVISION_AT: Final = (
    select(CHANGES.c.head_revision)
    .where(CHANGES.c.committed_at <= bindparam("moment", type_=CHANGES.c.committed_at.type))
    .order_by(CHANGES.c.committed_at.desc(), CHANGES.c.id.desc())
    .limit(1)
)


async def revision_of(session: AsyncSession, as_of: AsOf) -> int:
    """The newest revision at that moment. Whether it can be served is known to whoever reads the head with the rows."""
    if as_of.revision is not None:
        return as_of.revision
    return (await session.execute(_REVISION_AT, {"moment": as_of.time})).scalar_one_or_none() or 0


def require_servable(revision: int, head: StreamHead) -> None:
    """Raises FutureCursor beyond the head and Compacted below the floor.

    Rows and head must come from one snapshot: history may be compacted between two statements.
    """
    if revision > head.revision:
        raise FutureCursor(revision, head.revision)
    if revision < head.floor:
        raise Compacted(revision, head.floor)
