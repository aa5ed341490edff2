"""From a moment of the past to the revision the store had then."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import ScalarSelect, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.errors import Compacted, FutureCursor, SchemaOutOfDate
from persistence.ports import StreamHead
from persistence.postgres.models import CHANGES, STREAM_HEAD
from persistence.records import AsOf


async def revision_of(session: AsyncSession, as_of: AsOf) -> int:
    """The newest revision at that moment. Raises FutureCursor beyond the head and Compacted below the floor."""
    wanted = literal(as_of.revision) if as_of.revision is not None else _revision_at(as_of.time)
    head = select(STREAM_HEAD.c.epoch, STREAM_HEAD.c.revision, STREAM_HEAD.c.floor, func.coalesce(wanted, 0))
    row = (await session.execute(head)).one_or_none()
    if row is None:
        raise SchemaOutOfDate("the stream head is missing; run 'omnirelay db upgrade'")
    require_servable(row[3], StreamHead(*row[:3]))
    return int(row[3])


def _revision_at(time: datetime | None) -> ScalarSelect[int]:
    return (
        select(CHANGES.c.head_revision)
        .where(CHANGES.c.committed_at <= (time or datetime.max.replace(tzinfo=UTC)))
        .order_by(CHANGES.c.committed_at.desc(), CHANGES.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )


def require_servable(revision: int, head: StreamHead) -> None:
    if revision > head.revision:
        raise FutureCursor(revision, head.revision)
    if revision < head.floor:
        raise Compacted(revision, head.floor)
