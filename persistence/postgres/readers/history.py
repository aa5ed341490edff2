"""Reading history: the list of its rows, and the net difference between two revisions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Final

from sqlalchemy import BigInteger, Subquery, Text, bindparam, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.codec.images import net_diff, read_image
from persistence.model.paging import Page, PageRequest
from persistence.model.queries import HistoryOrder, ShardHistoryFilter
from persistence.model.records import AsOf, DiffKind, MoveReason, ShardDiff, ShardKey, StreamPosition
from persistence.ports import Stamped
from persistence.postgres.database import head_missing
from persistence.postgres.engine import translated
from persistence.postgres.readers.keyset import (
    CACHED_STATEMENTS,
    AnySelect,
    PagedList,
    PageShape,
    at_least,
    below,
    beside,
    each,
    equals,
    equals_text,
    fetch,
    one_of,
    page_beside,
    page_shape,
    page_values,
)
from persistence.postgres.rows import CHANGE, DIFF, change_of, diffs_of
from persistence.postgres.stream import HEAD, head_of, mark_after, read_mark, require_servable, revision_of
from persistence.postgres.tables.history import CHANGES, HISTORY

_JOINED: Final = HISTORY.join(CHANGES, CHANGES.c.id == HISTORY.c.change_id)

_HISTORY: Final = PagedList(
    select(*DIFF, *CHANGE).select_from(_JOINED),
    _JOINED,
    HISTORY.c.revision,
    diffs_of,
    {
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
    },
)


class PostgresHistory:
    """HistoryReader."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read

    async def page(self, where: ShardHistoryFilter, order: HistoryOrder, page: PageRequest[int]) -> Page[ShardDiff]:
        return await _HISTORY.page(self._read, where, page, descending=order is HistoryOrder.REVISION_DESC)

    async def difference(
        self, namespace: str | None, start: int, end: int, page: PageRequest[ShardKey]
    ) -> Stamped[Page[ShardDiff]]:
        statement = _difference(page_shape(page), everywhere=namespace is None)
        rows = await fetch(self._read, statement, _between(namespace, start, end) | page_values(page))
        if not rows:
            raise head_missing()
        *columns, mark = rows[0][: _HEAD + 1]
        head = head_of(columns)
        for revision in (start, end):
            require_servable(revision, head)
        found = page_beside(rows, page, each(partial(_net, backwards=start > end)), _HEAD + 1)
        return Stamped(found, StreamPosition(head.epoch, end, read_mark(mark, end)))

    async def revision_at(self, time: datetime) -> int:
        with translated():
            async with self._read() as session:
                return await revision_of(session, AsOf(time=time))


_HEAD: Final = len(HEAD)


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
    """The parameters of `_difference`."""
    low, high = sorted((start, end))
    return {"low": low, "high": high, "end": end} | ({} if namespace is None else {"namespace": namespace})


_FIRST: Final = HISTORY.alias("first_row")

_LAST: Final = HISTORY.alias("last_row")

# Created and deleted in between: at neither end, so no difference.
_AT_AN_END: Final = or_(_FIRST.c.kind != DiffKind.CREATED, _LAST.c.kind != DiffKind.DELETED)


@lru_cache(CACHED_STATEMENTS)
def _difference(shape: PageShape, *, everywhere: bool) -> AnySelect:
    touched, counted = _touched(everywhere=everywhere), _touched(everywhere=everywhere)
    statement = _at_their_ends(
        touched,
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
        ),
    ).join(CHANGES, CHANGES.c.id == _LAST.c.change_id)
    count = _at_their_ends(counted, select(func.count()))
    values = (*HEAD, mark_after(bindparam("end", type_=BigInteger)))
    return beside(values, statement, count, (touched.c.namespace, touched.c.shard_id), shape)


def _at_their_ends(touched: Subquery, columns: AnySelect) -> AnySelect:
    """`columns` of the first and the last row of each shard that was touched and is not absent at both ends."""
    return (
        columns.select_from(touched)
        .join(_FIRST, _FIRST.c.revision == touched.c.first)
        .join(_LAST, _LAST.c.revision == touched.c.last)
        .where(_AT_AN_END)
    )


def _net(row: Sequence[Any], *, backwards: bool) -> ShardDiff:
    before_image, before_revision, before_created, before_updated, after_image, revision, after_created = row[:7]
    reason, *columns = row[7:]
    change = change_of(columns)
    before = read_image(before_image, before_revision, before_created, before_updated) if before_image else None
    after = read_image(after_image, revision, after_created, change.committed_at) if after_image else None
    previous, current = (after, before) if backwards else (before, after)
    return net_diff(revision, previous, current, change, None if reason is None else MoveReason(reason))
