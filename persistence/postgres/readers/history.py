"""Reading history: the list of its rows, and the net difference between two revisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Subquery,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.codec.images import net_diff, read_image
from persistence.model.paging import Page, PageRequest, page_of
from persistence.model.queries import DiffDetail, HistoryOrder, ShardHistoryFilter
from persistence.model.records import MAX_COUNTER, AsOf, DiffKind, MoveReason, ShardDiff, ShardKey, StreamPosition
from persistence.ports import Stamped
from persistence.postgres.database import head_missing
from persistence.postgres.diff_rows import HeldRows, columns_of_change, columns_of_row, row_class
from persistence.postgres.engine import translated
from persistence.postgres.readers.changes import of_namespace
from persistence.postgres.readers.keyset import (
    CACHED_STATEMENTS,
    AnySelect,
    PageShape,
    Restriction,
    below,
    beside,
    conditions,
    each,
    equals,
    equals_text,
    fetch,
    filter_values,
    keyset,
    nothing_passed,
    one_of,
    page_beside,
    page_shape,
    page_values,
    planned_for_parameters,
    used_fields,
)
from persistence.postgres.reads import Read
from persistence.postgres.rows import CHANGE, DIFF, change_of, diffs_of
from persistence.postgres.stream import HEAD, head_of, mark_after, read_mark, read_revision, require_servable
from persistence.postgres.tables.history import CHANGES, HISTORY


class PostgresHistory:
    """HistoryReader."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read
        self._held = HeldRows()

    async def page(
        self,
        where: ShardHistoryFilter,
        order: HistoryOrder,
        page: PageRequest[int],
        shown: DiffDetail | None = None,
    ) -> Page[ShardDiff]:
        read = _page(used_fields(where), page_shape(page), order is HistoryOrder.REVISION_DESC, shown)
        rows = await fetch(self._read, read, filter_values(where) | page_values(page))
        if shown is None:
            return page_beside(rows, page, diffs_of, 0) if page.counted else page_of(diffs_of(rows), page)
        if not page.counted:
            return page_of(self._held.same(rows), page)
        found = [row for row in rows if row[1] is not None]
        return page_of(self._held.same(found, leading=2), page, total=rows[0][0])

    def holds(self, diff: object) -> bool:
        return self._held.holds(diff)

    async def difference(
        self, namespace: str | None, start: int, end: int, page: PageRequest[ShardKey]
    ) -> Stamped[Page[ShardDiff]]:
        read = _difference(page_shape(page), everywhere=namespace is None)
        rows = await fetch(self._read, read, _between(namespace, start, end) | page_values(page))
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
            return await read_revision(self._read, AsOf(time=time))


_ROW: Final = HISTORY.c

_LEADING: Final[Mapping[str, Restriction]] = {
    "namespace": equals(_ROW.namespace),
    "shard_id": equals(_ROW.shard_id),
}
"""Fields of the filter that an index of history begins with, before the revision."""

_OF_ROWS: Final[Mapping[str, Restriction]] = {
    "owner_node_id": lambda name: or_(equals(_ROW.owner_node_id)(name), equals(_ROW.previous_owner_node_id)(name)),
    "kinds": one_of(_ROW.kind),
    "move_reasons": one_of(_ROW.move_reason),
}

_OF_CHANGES: Final[Mapping[str, Restriction]] = {
    "actor": equals_text(CHANGES.c.actor),
    "change_ticket": equals_text(CHANGES.c.change_ticket),
}


@lru_cache(CACHED_STATEMENTS)
def _page(used: tuple[str, ...], shape: PageShape, descending: bool, shown: DiffDetail | None) -> Read:  # noqa: FBT001 - part of the cache's key
    """Rows in the order of an index that begins with what the filter names: the page is the beginning of what is read
    there, whatever PostgreSQL takes for the number of rows that match. docs/decisions/0030-plans-of-reads.md."""
    of_row = DIFF if shown is None else columns_of_row(shown)
    of_change = CHANGE if shown is None else columns_of_change(shown)
    made = None if shown is None else row_class(shown, leading=2 * shape.counted)
    bounds = _bounds(used, shape, descending=descending)
    shape = shape._replace(after=False, before=False)  # the cursors are among the bounds
    if _OF_CHANGES.keys().isdisjoint(used):
        rows, order = _of_index(select(*of_row, _ROW.change_id), used, bounds)
        # The changes are joined with the page, and not with all that it may be the beginning of. Of each row by the
        # index, which the offset holds PostgreSQL to: it would compare each row with each of a few hundred changes.
        page = keyset(rows, order, shape, descending=descending).subquery("page")
        change = select(*of_change).where(CHANGES.c.id == page.c.change_id).offset(literal_column("0")).lateral()
        statement = select(*list(page.c)[:-1], *change.c).join_from(page, change, true())
        order = (page.c.revision,)
    elif "shard_id" in used:
        of_shard = select(*of_row, *of_change).join_from(HISTORY, CHANGES, CHANGES.c.id == _ROW.change_id)
        statement, order = _of_index(of_shard, used, bounds)
        statement = statement.where(*_conditions(_OF_CHANGES, used))
    else:
        statement, order = _of_changes(used, bounds, of_row, of_change)
    if not _OF_ROWS.keys().isdisjoint(used) or not _OF_CHANGES.keys().isdisjoint(used):
        statement = planned_for_parameters(statement)
    if not shape.counted:
        return Read(keyset(statement, order, shape, descending=descending), made)
    return Read(beside((), statement, _count(used), order, shape, descending=descending), made)


class _Bounds(NamedTuple):
    """Revisions that rows are after and before, both exclusive; null for none."""

    lower: ColumnElement[int] | None
    upper: ColumnElement[int] | None

    def of(self, revision: Any) -> list[ColumnElement[bool]]:
        lower = [] if self.lower is None else [revision > self.lower]
        return lower if self.upper is None else [*lower, revision < self.upper]


_NO_CURSOR: Final = PageShape(after=False, before=False, backward=False, counted=False)

_BEYOND: Final = literal_column(str(MAX_COUNTER), BigInteger)


def _bounds(used: tuple[str, ...], shape: PageShape, *, descending: bool) -> _Bounds:
    """From the filter and the cursors. A change made the revisions up to its `head_revision`, and times do not decrease
    from change to change."""
    lower: list[ColumnElement[int]] = []
    upper: list[ColumnElement[int]] = []
    if "since" in used:
        lower.append(_head_before("where_since"))
    if "until" in used:
        upper.append(_head_before("where_until") + 1)
    if "change_id" in used:
        change = select(CHANGES.c.head_revision).where(equals(CHANGES.c.id)("where_change_id"))
        before = change.with_only_columns(CHANGES.c.head_revision - CHANGES.c.shard_count)
        lower.append(func.coalesce(before.scalar_subquery(), _BEYOND))
        upper.append(func.coalesce(change.scalar_subquery(), 0) + 1)
    if shape.after:
        (upper if descending else lower).append(bindparam("page_after_0", type_=BigInteger))
    if shape.before:
        (lower if descending else upper).append(bindparam("page_before_0", type_=BigInteger))
    return _Bounds(_tightest(func.greatest, lower), _tightest(func.least, upper))


def _tightest(
    choose: Callable[..., ColumnElement[int]], bounds: Sequence[ColumnElement[int]]
) -> ColumnElement[int] | None:
    return choose(*bounds) if len(bounds) > 1 else next(iter(bounds), None)


def _head_before(name: str) -> ColumnElement[int]:
    """The newest revision there was just before a time, 0 if there was none."""
    newest = (
        select(CHANGES.c.head_revision)
        .where(below(CHANGES.c.committed_at)(name))
        .order_by(CHANGES.c.committed_at.desc(), CHANGES.c.id.desc())
        .limit(1)
    )
    return func.coalesce(newest.scalar_subquery(), 0)


def _of_index(statement: AnySelect, used: tuple[str, ...], bounds: _Bounds) -> tuple[AnySelect, Sequence[Any]]:
    """The rows between the bounds, and their order: that of the index that begins with what the filter names."""
    statement = statement.where(*bounds.of(_ROW.revision), *_conditions(_LEADING, used), *_conditions(_OF_ROWS, used))
    if not _LEADING.keys().isdisjoint(used):
        statement = statement.where(nothing_passed(_ROW.revision))
    return statement, (_ROW.revision,)


def _of_changes(
    used: tuple[str, ...], bounds: _Bounds, of_row: Sequence[Any], of_change: Sequence[Any]
) -> tuple[AnySelect, Sequence[Any]]:
    """The rows of the changes that match, those of each by the revisions it made, and their order.

    OFFSET 0 keeps PostgreSQL from joining the two in another way than that.
    """
    before = CHANGES.c.head_revision - CHANGES.c.shard_count
    made = (
        select(*of_row)
        .where(_ROW.revision > before, _ROW.revision <= CHANGES.c.head_revision)
        .where(*bounds.of(_ROW.revision), *_conditions(_LEADING, used), *_conditions(_OF_ROWS, used))
        .offset(literal_column("0"))
        .lateral("made")
    )
    statement = select(*made.c, *of_change).join_from(CHANGES, made, true()).where(*_conditions(_OF_CHANGES, used))
    if "namespace" in used:
        statement = statement.where(of_namespace("where_namespace"))
    # The changes of the first and the last row within the bounds: none before and after them is looked at.
    row = HISTORY.alias("outermost").c
    made_by = select(row.change_id).limit(1)
    if bounds.lower is not None:
        first = made_by.where(row.revision > bounds.lower).order_by(row.revision)
        statement = statement.where(CHANGES.c.id >= first.scalar_subquery())
    if bounds.upper is not None:
        last = made_by.where(row.revision < bounds.upper).order_by(row.revision.desc())
        statement = statement.where(CHANGES.c.id <= last.scalar_subquery())
    return statement, (CHANGES.c.id, made.c.revision)


def _count(used: tuple[str, ...]) -> Select[int]:
    """All rows that match, in no order: where changes restrict them, those of each by the revisions it made."""
    bounds = _bounds(used, _NO_CURSOR, descending=False)
    if _OF_CHANGES.keys().isdisjoint(used):
        statement = select(func.count()).select_from(HISTORY)
        return statement.where(*bounds.of(_ROW.revision), *_conditions(_LEADING, used), *_conditions(_OF_ROWS, used))
    if "shard_id" in used:
        statement = select(func.count()).select_from(HISTORY).join(CHANGES, CHANGES.c.id == _ROW.change_id)
        restricted = (_LEADING, _OF_ROWS, _OF_CHANGES)
        return statement.where(
            *bounds.of(_ROW.revision), *(one for each in restricted for one in _conditions(each, used))
        )
    made, _ = _of_changes(used, bounds, (_ROW.revision,), ())
    return select(func.count()).select_from(made.subquery())


def _conditions(restrictions: Mapping[str, Restriction], used: tuple[str, ...]) -> Sequence[ColumnElement[bool]]:
    return conditions(restrictions, tuple(name for name in used if name in restrictions))


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
    return {"low": low, "high": high, "end": end, "anew": True} | (
        {} if namespace is None else {"namespace": namespace}
    )


_FIRST: Final = HISTORY.alias("first_row")

_LAST: Final = HISTORY.alias("last_row")

# Created and deleted in between: at neither end, so no difference.
_AT_AN_END: Final = or_(_FIRST.c.kind != DiffKind.CREATED, _LAST.c.kind != DiffKind.DELETED)


@lru_cache(CACHED_STATEMENTS)
def _difference(shape: PageShape, *, everywhere: bool) -> Read:
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
    statement = planned_for_parameters(statement)
    count = _at_their_ends(counted, select(func.count()))
    values = (*HEAD, mark_after(bindparam("end", type_=BigInteger)))
    return Read(beside(values, statement, count, (touched.c.namespace, touched.c.shard_id), shape))


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
