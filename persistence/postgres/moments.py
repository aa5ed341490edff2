"""From a moment of the past to the revision the store had then."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.errors import Compacted, FutureCursor
from persistence.ports import StreamHead
from persistence.postgres.models import CHANGES
from persistence.postgres.stream import read_head
from persistence.records import AsOf

_REVISION_AT: Final = (
    select(CHANGES.c.head_revision)
    .where(CHANGES.c.committed_at <= bindparam("moment", type_=CHANGES.c.committed_at.type))
    .order_by(CHANGES.c.committed_at.desc(), CHANGES.c.id.desc())
    .limit(1)
)


async def revision_of(session: AsyncSession, as_of: AsOf) -> int:
    """The newest revision at that moment. Raises FutureCursor beyond the head and Compacted below the floor."""
    revision = as_of.revision
    if revision is None:
        revision = (await session.execute(_REVISION_AT, {"moment": as_of.time})).scalar_one_or_none() or 0
    require_servable(revision, await read_head(session))
    return revision


def require_servable(revision: int, head: StreamHead) -> None:
    if revision > head.revision:
        raise FutureCursor(revision, head.revision)
    if revision < head.floor:
        raise Compacted(revision, head.floor)
