"""Reading history: the list of its rows, and the net difference between two revisions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Subquery,
    Text,
    and_,
    bindparam,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.codec.images import net_diff, read_image
from persistence.model.paging import Page, PageRequest, page_of
from persistence.model.queries import DiffDetail, HistoryOrder, ShardHistoryFilter
from persistence.model.records import (
    MAX_COUNTER,
    AsOf,
    Change,
    DiffKind,
    MoveReason,
    ShardDiff,
    ShardKey,
    StreamPosition,
)
from persistence.ports.readers import ShardAt, Stamped
from persistence.postgres.database import head_missing
from persistence.postgres.diff_rows import HeldRows, columns_of_change, columns_of_row, row_class
from persistence.postgres.engine import translated
from persistence.postgres.readers.attribution import owner_changes
from persistence.postgres.readers.changes import of_namespace
from persistence.postgres.readers.held_pages import NEWEST, HeldPages, NewestRows, is_held
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
    read_count,
    used_fields,
)
from persistence.postgres.readers.search import (
    COUNTED,
    SEARCHED,
    Candidates,
    bounded_count,
    farthest,
    found_rows,
    search,
    with_rows,
)
from persistence.postgres.readers.window_use import window_use
from persistence.postgres.reads import Read
from persistence.postgres.rows import CHANGE, DIFF, change_of, diffs_of
from persistence.postgres.stream import HEAD, head_of, mark_after, read_mark, read_revision, require_servable
from persistence.postgres.tables.history import CHANGES, HISTORY


class PostgresHistory:
    """HistoryReader."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read
        self._held = HeldRows()
        self._pages = HeldPages()
        self._newest = NewestRows(partial(fetch, read, NEWEST))

    async def page(
        self,
        where: ShardHistoryFilter,
        order: HistoryOrder,
        page: PageRequest[int],
        shown: DiffDetail | None = None,
    ) -> Page[ShardDiff]:
        if shown is None or not is_held(where):
            return await self._read_page(where, order, page, shown)

        key = where.namespace, where.shard_id, order, page, shown
        newest, read = partial(self._newest.of, where.namespace), partial(self._read_page, where, order, page, shown)
        return await self._pages.page(key, newest, read)

    async def _read_page(
        self, where: ShardHistoryFilter, order: HistoryOrder, page: PageRequest[int], shown: DiffDetail | None
    ) -> Page[ShardDiff]:
        used, shape, descending = used_fields(where), page_shape(page), order is HistoryOrder.REVISION_DESC
        tried: list[Page[ShardDiff]] = []
        for lead in _leads(used):
            read, searched = _page(used, shape, descending, shown, lead)
            rows = await fetch(self._read, read, filter_values(where) | page_values(page))
            if not searched:
                return self._shown(rows, page, shown)
            found = found_rows(rows, page, keys=2 if lead else 1)
            tried.append(found.page(page, self._items(found.rows, page, shown, found.behind), itemgetter(-1)))
            if tried[-1].is_complete:
                break
        return farthest(tried, page, descending=descending)

    def _items(
        self, rows: Sequence[Any], page: PageRequest[int], shown: DiffDetail | None, behind: int
    ) -> Sequence[ShardDiff]:
        """Of rows of a search, with so many columns behind."""
        leading = 2 * page.counted
        if shown is None:
            return diffs_of(row[leading:-behind] for row in rows)
        return self._held.same(rows, leading, behind)

    def _shown(self, rows: Sequence[Any], page: PageRequest[int], shown: DiffDetail | None) -> Page[ShardDiff]:
        if shown is None:
            return page_beside(rows, page, diffs_of, 0) if page.counted else page_of(diffs_of(rows), page)
        if not page.counted:
            return page_of(self._held.same(rows), page)
        total, is_exact = read_count(rows[0][0])
        found = [row for row in rows if row[1] is not None]
        return page_of(self._held.same(found, leading=2), page, total, total_is_exact=is_exact)

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

    async def owner_changes(self, shards: Collection[ShardAt]) -> Mapping[ShardAt, Change]:
        return await owner_changes(self._read, shards)

    async def window_use(
        self, namespace: str, seconds: int, most: int, *, involuntary: bool
    ) -> tuple[int, datetime | None]:
        return await window_use(self._read, namespace, seconds, most, involuntary=involuntary)

    async def revision_at(self, time: datetime) -> int:
        with translated():
            return await read_revision(self._read, AsOf(time=time))


_ROW: Final = HISTORY.c

_LEADING: Final[Mapping[str, Restriction]] = {
    "namespace": equals(_ROW.namespace),
    "shard_id": equals(_ROW.shard_id),
}
"""Fields of the filter that an index of history begins with, before the revision."""

_OF_CHANGES: Final[Mapping[str, Restriction]] = {
    "change_ticket": equals_text(CHANGES.c.change_ticket),
    "actor": equals_text(CHANGES.c.actor),
}
"""Fields of the filter that an index of changes begins with."""


def _restrictions(columns: Any) -> dict[str, Restriction]:
    """Those of the filter over the columns of history, without an index of their own."""
    return {
        "owner_node_id": lambda name: or_(
            equals(columns.owner_node_id)(name), equals(columns.previous_owner_node_id)(name)
        ),
        "kinds": one_of(columns.kind),
        "move_reasons": one_of(columns.move_reason),
        "owner_changed": lambda name: (
            and_(columns.kind == literal("UPDATED"), columns.owner_node_id != columns.previous_owner_node_id)
            == bindparam(name, type_=Boolean)
        ),
    }


def _leads(used: tuple[str, ...]) -> Sequence[str | None]:
    """Where a page is looked for, in turn, until it is whole: in the changes of a ticket or an actor, or (null) in
    history, or what it has of a shard or a namespace."""
    of_changes = [name for name in _OF_CHANGES if name in used]
    if "shard_id" in used:
        return [None, *of_changes]
    return [*of_changes, None] if "namespace" in used or not of_changes else of_changes


@lru_cache(CACHED_STATEMENTS)
def _page(
    used: tuple[str, ...],
    shape: PageShape,
    descending: bool,  # noqa: FBT001 - part of the cache's key
    shown: DiffDetail | None,
    lead: str | None,
) -> tuple[Read, bool]:
    """Rows in the order of an index that begins with what the filter names: the page is the beginning of what is read
    there, whatever PostgreSQL takes for the number of rows that match. docs/decisions/0030-plans-of-reads.md.

    And whether it is a search, which it is where the filter names more.
    """
    of_row = DIFF if shown is None else columns_of_row(shown)
    of_change = CHANGE if shown is None else columns_of_change(shown)
    made = None if shown is None else row_class(shown, leading=2 * shape.counted)
    bounds = _bounds(used, shape, descending=descending)
    newest_first = descending != shape.backward
    left = shape._replace(after=False, before=False)  # the cursors are among the bounds
    order: Sequence[Any]
    searched = not _LEADING.keys() | _BOUNDS >= set(used)
    if searched:
        candidates = _candidates(used, lead, bounds, newest_first=newest_first, limit=SEARCHED)
        found = search(candidates, left, descending=descending)
        rows = select(*of_row, *of_change).join_from(HISTORY, CHANGES, CHANGES.c.id == _ROW.change_id)
        statement, order = with_rows(found, rows.where(_ROW.revision == found.c[_REVISION[lead is None]]))
    else:
        beginning = _of_index(select(*of_row, _ROW.change_id), used, bounds)
        # The changes are joined with the page, and not with all that it may be the beginning of. Of each row by the
        # index, which the offset holds PostgreSQL to: it would compare each row with each of a few hundred changes.
        page = keyset(beginning, (_ROW.revision,), left, descending=descending).subquery("page")
        change = select(*of_change).where(CHANGES.c.id == page.c.change_id).offset(literal_column("0")).lateral()
        statement = select(*list(page.c)[:-1], *change.c).join_from(page, change, true())
        order = (page.c.revision,)
    if not shape.counted:
        return Read(keyset(statement, order, left, descending=descending), made), searched
    everywhere = _bounds(used, _NO_CURSOR, descending=descending)
    counted = _candidates(used, lead, everywhere, newest_first=descending, limit=COUNTED)
    count = bounded_count(counted, descending=descending)
    return Read(beside((), statement, count, order, left, descending=descending), made), searched


_BOUNDS: Final = frozenset({"change_id", "since", "until"})
"""Fields of the filter that are bounds of the revision."""

_REVISION: Final = ("key_1", "key_0")
"""Among the keys of a search by changes, and of one in history."""


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


def _of_index(statement: AnySelect, used: tuple[str, ...], bounds: _Bounds) -> AnySelect:
    """The rows between the bounds, in the order of the index that begins with what the filter names."""
    statement = statement.where(*bounds.of(_ROW.revision), *_conditions(_LEADING, used))
    return statement if _LEADING.keys().isdisjoint(used) else statement.where(nothing_passed(_ROW.revision))


def _candidates(
    used: tuple[str, ...], lead: str | None, bounds: _Bounds, *, newest_first: bool, limit: ColumnElement[int]
) -> Candidates:
    """By the lead: rows of history in order, or those of the changes that match, which come in order, too: of no fewer
    changes than there are rows looked at."""
    if lead is not None:
        return _of_changes(used, lead, bounds, newest_first=newest_first, limit=limit)
    matches = _conditions(_restrictions(_ROW), used)
    if not _OF_CHANGES.keys().isdisjoint(used):
        # One look-up for each row: a join, or EXISTS, may be made of all changes.
        of_change = and_(*_conditions(_OF_CHANGES, used))
        matches = [
            *matches,
            select(of_change).where(CHANGES.c.id == _ROW.change_id).correlate(HISTORY).scalar_subquery(),
        ]
    rows = _of_index(select(_ROW.revision), used, bounds).where(nothing_passed(_ROW.revision))
    return Candidates(rows, (_ROW.revision,), matches, limit)


def _of_changes(
    used: tuple[str, ...], lead: str, bounds: _Bounds, *, newest_first: bool, limit: ColumnElement[int]
) -> Candidates:
    """The rows of the changes that match, those of each by the revisions it made, and a row without a revision for
    each change that has none of them: that one is looked at, too."""
    restricted = conditions(_OF_CHANGES, (lead,))
    # The changes of the first and the last row within the bounds: none before and after them is looked at.
    row = HISTORY.alias("outermost").c
    made_by = select(row.change_id).limit(1)
    if bounds.lower is not None:
        first = made_by.where(row.revision > bounds.lower).order_by(row.revision)
        restricted.append(CHANGES.c.id >= first.scalar_subquery())
    if bounds.upper is not None:
        last = made_by.where(row.revision < bounds.upper).order_by(row.revision.desc())
        restricted.append(CHANGES.c.id <= last.scalar_subquery())
    rest = tuple(name for name in used if name != lead)
    of_change = and_(
        true(), *_conditions(_OF_CHANGES, rest), *([of_namespace("where_namespace")] if "namespace" in used else [])
    )
    id_ = CHANGES.c.id
    change = (
        select(id_, CHANGES.c.head_revision, CHANGES.c.shard_count, of_change.label("may_match"))
        .where(*restricted, nothing_passed(id_))
        .order_by(id_.desc() if newest_first else id_)
        .limit(limit)
        .subquery("change")
    )
    made = (
        select(HISTORY)
        .where(_ROW.revision > change.c.head_revision - change.c.shard_count, _ROW.revision <= change.c.head_revision)
        .where(*bounds.of(_ROW.revision), change.c.may_match)
        .order_by(_ROW.revision.desc() if newest_first else _ROW.revision)
        .lateral("made")
    )
    # From there on nothing of a change without rows is looked at again.
    behind = change.c.head_revision + literal_column("1") if newest_first else change.c.head_revision
    position = func.coalesce(made.c.revision, behind)
    found = made.c
    leading = {"namespace": equals(found.namespace), "shard_id": equals(found.shard_id)}
    matches = [found.revision.is_not(None), *_conditions(leading | _restrictions(found), used)]
    rows = select(change.c.id).select_from(change.outerjoin(made, true()))
    return Candidates(rows, (change.c.id, position), matches, limit)


def _conditions(restrictions: Mapping[str, Restriction], used: tuple[str, ...]) -> list[ColumnElement[bool]]:
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
