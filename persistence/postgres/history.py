"""Reading history: row by row, and as the net difference between two revisions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import BigInteger, Select, Subquery, Text, bindparam, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.differences import net_diff
from persistence.images import read_image
from persistence.paging import Page, PageRequest, page_of
from persistence.postgres.keyset import STATEMENTS_KEPT, AnySelect, PageShape, keyset, page_shape, page_values
from persistence.postgres.models import CHANGES, HISTORY
from persistence.postgres.moments import require_servable, revision_of
from persistence.postgres.restrictions import (
    Restriction,
    at_least,
    below,
    conditions,
    equals,
    equals_text,
    filter_values,
    one_of,
    used_fields,
)
from persistence.postgres.rows import CHANGE, DIFF, change_of, diffs_of
from persistence.postgres.session_errors import translated
from persistence.postgres.stream import read_head
from persistence.queries import HistoryOrder, ShardHistoryFilter
from persistence.records import AsOf, DiffKind, MoveReason, ShardDiff, ShardKey


class PostgresHistory:
    """HistoryReader."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read

    async def page(self, where: ShardHistoryFilter, order: HistoryOrder, page: PageRequest[int]) -> Page[ShardDiff]:
        statement = _page(used_fields(where), page_shape(page), order)
        with translated():
            async with self._read() as session:
                rows = (await session.execute(statement, filter_values(where) | page_values(page))).all()
        return page_of(diffs_of(rows), page)

    async def count(self, where: ShardHistoryFilter) -> int:
        with translated():
            async with self._read() as session:
                return (await session.execute(_count(used_fields(where)), filter_values(where))).scalar_one()

    async def difference(
        self, namespace: str | None, start: int, end: int, page: PageRequest[ShardKey]
    ) -> Page[ShardDiff]:
        statement = _difference(page_shape(page), everywhere=namespace is None)
        with translated():
            async with self._read() as session, _servable(session, start, end):
                rows = (await session.execute(statement, _between(namespace, start, end) | page_values(page))).all()
        return page_of([_net(tuple(row), backwards=start > end) for row in rows], page)

    async def count_difference(self, namespace: str | None, start: int, end: int) -> int:
        statement = _count_difference(everywhere=namespace is None)
        with translated():
            async with self._read() as session, _servable(session, start, end):
                return (await session.execute(statement, _between(namespace, start, end))).scalar_one()

    async def revision_at(self, time: datetime) -> int:
        with translated():
            async with self._read() as session:
                return await revision_of(session, AsOf(time=time))


_RESTRICTIONS: Final[Mapping[str, Restriction]] = {
    "namespace": equals(HISTORY.c.namespace),
    "shard_id": equals(HISTORY.c.shard_id),
    "owner_node_id": lambda name: or_(
        equals(HISTORY.c.owner_node_id)(name), equals(HISTORY.c.previous_owner_node_id)(name)
    ),
    "kinds": one_of(HISTORY.c.kind),
    "actor": equals_text(CHANGES.c.actor),
    "change_ticket": equals_text(CHANGES.c.change_ticket),
    "change_id": equals(HISTORY.c.change_id),
    "move_reasons": one_of(HISTORY.c.move_reason),
    "since": at_least(CHANGES.c.committed_at),
    "until": below(CHANGES.c.committed_at),
}
_JOINED: Final = HISTORY.join(CHANGES, CHANGES.c.id == HISTORY.c.change_id)


@lru_cache(STATEMENTS_KEPT)
def _page(used: tuple[str, ...], shape: PageShape, order: HistoryOrder) -> AnySelect:
    restricted = select(*DIFF, *CHANGE).select_from(_JOINED).where(*conditions(_RESTRICTIONS, used))
    return keyset(restricted, (HISTORY.c.revision,), shape, descending=order is HistoryOrder.REVISION_DESC)


@lru_cache(STATEMENTS_KEPT)
def _count(used: tuple[str, ...]) -> Select[int]:
    return select(func.count()).select_from(_JOINED).where(*conditions(_RESTRICTIONS, used))


def _touched(*, everywhere: bool) -> Subquery:
    """Each shard touched between two revisions, with the first and the last row that did."""
    row = HISTORY.c
    statement = select(
        row.namespace, row.shard_id, func.min(row.revision).label("first"), func.max(row.revision).label("last")
    ).where(row.revision > bindparam("low", type_=BigInteger), row.revision <= bindparam("high", type_=BigInteger))
    if not everywhere:
        statement = statement.where(row.namespace == bindparam("namespace"))
    return statement.group_by(row.namespace, row.shard_id).subquery()


def _between(namespace: str | None, start: int, end: int) -> dict[str, Any]:
    """The parameters of `_touched`."""
    low, high = sorted((start, end))
    return {"low": low, "high": high} | ({} if namespace is None else {"namespace": namespace})


_FIRST: Final = HISTORY.alias("first_row")
_LAST: Final = HISTORY.alias("last_row")
# Created and deleted in between: at neither end, so no difference.
_AT_AN_END: Final = or_(_FIRST.c.kind != DiffKind.CREATED, _LAST.c.kind != DiffKind.DELETED)


@lru_cache(STATEMENTS_KEPT)
def _difference(shape: PageShape, *, everywhere: bool) -> AnySelect:
    touched = _touched(everywhere=everywhere)
    statement = (
        select(
            cast(_FIRST.c.previous, Text),
            _FIRST.c.previous_revision,
            _FIRST.c.created_at,
            _FIRST.c.previous_updated_at,
            cast(_LAST.c.current, Text),
            _LAST.c.revision,
            _LAST.c.created_at,
            _LAST.c.move_reason,
            *CHANGE,
        )
        .select_from(touched)
        .join(_FIRST, _FIRST.c.revision == touched.c.first)
        .join(_LAST, _LAST.c.revision == touched.c.last)
        .join(CHANGES, CHANGES.c.id == _LAST.c.change_id)
        .where(_AT_AN_END)
    )
    return keyset(statement, (touched.c.namespace, touched.c.shard_id), shape)


@lru_cache(STATEMENTS_KEPT)
def _count_difference(*, everywhere: bool) -> Select[int]:
    touched = _touched(everywhere=everywhere)
    return (
        select(func.count())
        .select_from(touched)
        .join(_FIRST, _FIRST.c.revision == touched.c.first)
        .join(_LAST, _LAST.c.revision == touched.c.last)
        .where(_AT_AN_END)
    )


def _net(row: tuple[Any, ...], *, backwards: bool) -> ShardDiff:
    before_image, before_revision, before_created, before_updated, after_image, revision, after_created = row[:7]
    reason, *columns = row[7:]
    change = change_of(columns)
    before = read_image(before_image, before_revision, before_created, before_updated) if before_image else None
    after = read_image(after_image, revision, after_created, change.committed_at) if after_image else None
    previous, current = (after, before) if backwards else (before, after)
    return net_diff(revision, previous, current, change, None if reason is None else MoveReason(reason))


@asynccontextmanager
async def _servable(session: AsyncSession, *revisions: int) -> AsyncIterator[None]:
    """Asked before and after reading: the head only grows, so what was there before still is; and as the floor only
    rises too, what was not compacted after was not while it was read."""
    await _require_servable(session, revisions)
    yield
    await _require_servable(session, revisions)


async def _require_servable(session: AsyncSession, revisions: Iterable[int]) -> None:
    head = await read_head(session)
    for revision in revisions:
        require_servable(revision, head)
