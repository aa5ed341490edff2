"""Reading changes: the list of them, and their content digests in order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    Boolean,
    ColumnElement,
    CompoundSelect,
    DateTime,
    ScalarSelect,
    Subquery,
    Text,
    and_,
    bindparam,
    func,
    literal_column,
    not_,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.model.paging import Page, PageRequest
from persistence.model.queries import ChangeFilter
from persistence.model.records import MAX_COUNTER, Change
from persistence.postgres.diff_rows import SHOWN_CHANGE, ChangeRow, HeldRows
from persistence.postgres.readers.attribution import changes_of_nodes, changes_of_revisions
from persistence.postgres.readers.keyset import (
    AnySelect,
    PageShape,
    Restriction,
    at_most,
    below,
    between_cursors,
    conditions,
    contains_item,
    each,
    equals_text,
    fetch,
    nothing_passed,
    one_of,
    ordered,
)
from persistence.postgres.readers.paged_list import EVERYWHERE, PagedList
from persistence.postgres.readers.search import COUNTED, SEARCHED, Candidates, share_of
from persistence.postgres.reads import Read
from persistence.postgres.rows import CHANGE, change_of
from persistence.postgres.tables.history import CHANGES

# The member's name is part of the statement: as a parameter it would not match the indexed expression.
PLAN_OF_CHANGE: Final = CHANGES.c.configuration.op("->>", return_type=Text())(literal_column("'plan'"))

NODE_OF_CHANGE: Final = CHANGES.c.configuration.op("->>", return_type=Text())(literal_column("'node'"))


def _of_one_namespace(name: str) -> ColumnElement[bool]:
    namespace = bindparam(name, type_=Text(collation="C"))
    return and_(
        literal_column("changes.namespaces[1]", Text(collation="C")) == namespace,
        func.cardinality(CHANGES.c.namespaces) == literal_column("1"),
    )


def _several(change: Any) -> ColumnElement[bool]:
    return func.cardinality(change.namespaces) > literal_column("1")


def _of_several_namespaces(name: str, change: Any = CHANGES.c) -> ColumnElement[bool]:
    return and_(_several(change), contains_item(change.namespaces)(name))


def of_namespace(name: str) -> ColumnElement[bool]:
    """Changes of a namespace. Nearly all are of that alone, and have another index than those of several."""
    return or_(_of_one_namespace(name), _of_several_namespaces(name))


def _id_before(name: str) -> ColumnElement[int]:
    """The newest change before a time, 0 if there was none: times do not decrease from change to change."""
    newest = (
        select(_OTHER.id)
        .where(below(_OTHER.committed_at)(name))
        .order_by(_OTHER.committed_at.desc(), _OTHER.id.desc())
        .limit(1)
    )
    return func.coalesce(newest.scalar_subquery(), 0)


_OTHER: Final = CHANGES.alias("other").c


class _Changes(PagedList[Change]):
    """The list. Changes of one namespace, or of some kinds, are merged from the beginnings of ranges that are in order
    of the id: each is read no further than the page, or the search, whatever PostgreSQL takes for the number of rows
    that match."""

    def _beginning(
        self, used: tuple[str, ...], lead: str | None, shape: PageShape, *, descending: bool
    ) -> tuple[AnySelect, Sequence[Any], PageShape]:
        if lead not in _MERGED:
            return super()._beginning(used, lead, shape, descending=descending)
        limit = bindparam("page_limit", type_=BigInteger)
        rows = self._merged(self._rows, used, lead, shape, limit, descending=descending)
        return select(*rows.c), (rows.c.id,), _without_cursors(shape)

    def _candidates(
        self, used: tuple[str, ...], lead: str | None, rest: Sequence[str], shape: PageShape, *, descending: bool
    ) -> tuple[Candidates, PageShape]:
        if lead not in _MERGED:
            return super()._candidates(used, lead, rest, shape, descending=descending)
        limit = SEARCHED if lead == "namespace" else share_of(_KINDS)
        return self._of_ranges(used, lead, rest, shape, limit, descending=descending), _without_cursors(shape)

    def _counted(self, used: tuple[str, ...], lead: str | None, rest: Sequence[str], *, descending: bool) -> Candidates:
        if lead not in _MERGED:
            return super()._counted(used, lead, rest, descending=descending)
        candidates = self._of_ranges(used, lead, rest, EVERYWHERE, COUNTED, descending=descending)
        # One kind after the other, not merged: so many of all of them are looked at.
        return candidates._replace(order=()) if lead == "kinds" else candidates

    def _of_ranges(
        self,
        used: tuple[str, ...],
        lead: str | None,
        rest: Sequence[str],
        shape: PageShape,
        limit: ColumnElement[Any],
        *,
        descending: bool,
    ) -> Candidates:
        columns = [CHANGES.c[name] for name in _COMPARED]
        rows = select(*columns, PLAN_OF_CHANGE.label("plan"), NODE_OF_CHANGE.label("node"))
        merged = self._merged(rows, used, lead, shape, limit, descending=descending)
        matches = conditions(_restrictions(merged.c, merged.c.plan, merged.c.node), tuple(rest))
        return Candidates(select(merged), (merged.c.id,), matches, limit)

    def _merged(
        self,
        rows: AnySelect,
        used: tuple[str, ...],
        lead: str | None,
        shape: PageShape,
        limit: ColumnElement[Any],
        *,
        descending: bool,
    ) -> Subquery:
        """Up to `limit` rows of each range, between the cursors."""
        bounds = conditions(self._restrictions, tuple(name for name in used if name in self._bounds))

        def between(statement: AnySelect) -> AnySelect:
            of_range = statement.where(*bounds, nothing_passed(CHANGES.c.id))
            of_range = between_cursors(of_range, (CHANGES.c.id,), shape, descending=descending)
            return ordered(of_range, (CHANGES.c.id,), shape, descending=descending)

        def beginning(*restricted: ColumnElement[bool]) -> AnySelect:
            return between(rows.where(*restricted)).limit(limit)

        if lead == "namespace":
            return _of_both(beginning, between, limit, newest_first=descending != shape.backward).subquery("merged")
        kinds = func.unnest(bindparam("where_kinds", type_=ARRAY(Text))).table_valued("kind").render_derived("kinds")
        distinct = select(kinds.c.kind).distinct().subquery("kinds")
        of_kind = beginning(CHANGES.c.kind == distinct.c.kind).lateral()
        return select(*of_kind.c).join_from(distinct, of_kind, true()).subquery("merged")


_KINDS: Final = func.cardinality(bindparam("where_kinds", type_=ARRAY(Text)))

_MERGED: Final = frozenset({"namespace", "kinds"})

_COMPARED: Final = ("id", "kind", "actor", "reason", "change_ticket", "forced", "namespaces", "committed_at")
"""Columns that the fields of a filter are compared with; and the plan, and the node."""


def _without_cursors(shape: PageShape) -> PageShape:
    return shape._replace(after=False, before=False)


def _of_both(
    beginning: Callable[..., AnySelect],
    between: Callable[[AnySelect], AnySelect],
    whole: ColumnElement[Any],
    *,
    newest_first: bool,
) -> CompoundSelect[Any]:
    """The beginnings of the changes of one namespace alone, and of those of several that it is one of.

    The latter have no index in order. They are looked for among the next `_NEAR` changes of any several namespaces,
    and only where these do not fill a page in all of them.
    """
    one = beginning(_of_one_namespace("where_namespace")).cte()
    # Beyond the last of a whole page of those, none of the others is looked at.
    last = select(one.c.id).order_by(one.c.id.desc() if newest_first else one.c.id).offset(whole - 1).limit(1)
    end = func.coalesce(last.scalar_subquery(), literal_column("0" if newest_first else str(MAX_COUNTER)))
    before = CHANGES.c.id > end if newest_first else CHANGES.c.id < end
    next_ones = (
        between(select(CHANGES.c.id, CHANGES.c.namespaces)).where(_several(CHANGES.c), before).limit(_NEAR).cte()
    )
    near = select(next_ones.c.id).where(contains_item(next_ones.c.namespaces)("where_namespace")).cte()
    enough = or_(_count_of(near) >= whole, _count_of(next_ones) < _NEAR)
    # All of them first: PostgreSQL would combine their index with a range of the primary key, which is far longer.
    found = select(_OTHER.id).where(
        _of_several_namespaces("where_namespace", _OTHER), not_(enough), nothing_passed(_OTHER.id)
    )
    ids = union_all(select(near.c.id).where(enough), found).scalar_subquery()
    several = beginning(CHANGES.c.id == func.any(func.array(ids)), before).subquery()
    return union_all(select(one), select(several))


def _count_of(rows: CTE) -> ScalarSelect[int]:
    return select(func.count()).select_from(rows).scalar_subquery()


_NEAR: Final = literal_column("500", BigInteger)
"""Rows."""


def _contain(*columns: ColumnElement[Any]) -> Restriction:
    """One of them contains the text, letters from A to Z of either case: others depend on the locale of a database."""

    def restriction(name: str) -> ColumnElement[bool]:
        wanted = func.lower(bindparam(name, type_=Text()).collate("C"))
        return or_(*(func.strpos(func.lower(column.collate("C")), wanted) > 0 for column in columns))

    return restriction


def _restrictions(columns: Any, plan: ColumnElement[Any], node: ColumnElement[Any]) -> dict[str, Restriction]:
    """Over the columns of changes, or of what is merged from them."""
    return {
        "namespace": of_namespace if columns is CHANGES.c else contains_item(columns.namespaces),
        "actor": equals_text(columns.actor),
        "change_ticket": equals_text(columns.change_ticket),
        "kinds": one_of(columns.kind),
        "plan_id": lambda name: bindparam(name, type_=Text()) == plan,
        "node_id": lambda name: bindparam(name, type_=Text()) == node,
        "forced": lambda name: columns.forced.is_not(None) == bindparam(name, type_=Boolean),
        "search": _contain(columns.reason, columns.actor, columns.change_ticket, columns.forced),
        "up_to_id": at_most(columns.id),
        "since": lambda name: columns.id > _id_before(name),
        "until": lambda name: columns.id <= _id_before(name),
    }


def _list(columns: Sequence[Any], read: Callable[[Sequence[Any]], Sequence[Any]]) -> _Changes:
    return _Changes(
        select(*columns),
        CHANGES,
        CHANGES.c.id,
        read,
        _restrictions(CHANGES.c, PLAN_OF_CHANGE, NODE_OF_CHANGE),
        leads=("plan_id", "node_id", "change_ticket", "actor", "kinds", "namespace"),
        bounds=("up_to_id", "since", "until"),
    )


_CHANGES: Final = _list(CHANGE, each(change_of))

_SHOWN: Final = _list(SHOWN_CHANGE, lambda rows: rows)

_CONTENT_DIGESTS: Final = Read(
    select(CHANGES.c.content_digest)
    .where(CHANGES.c.id > bindparam("after_id", type_=BigInteger))
    .order_by(CHANGES.c.id)
    .limit(bindparam("page_limit", type_=BigInteger))
)


_TIMES: Final = (
    func.unnest(bindparam("times", type_=ARRAY(DateTime(timezone=True))))
    .table_valued("time", with_ordinality="number", name="times")
    .render_derived()
)

# Ids are without gaps, and times do not decrease from one to the next: one probe of an index for each time.
_NEWEST_BEFORE: Final = (
    select(CHANGES.c.id, CHANGES.c.head_revision)
    .where(CHANGES.c.committed_at < _TIMES.c.time)
    .order_by(CHANGES.c.committed_at.desc(), CHANGES.c.id.desc())
    .limit(literal_column("1"))
    .lateral("newest")
)

_COUNTED_BEFORE: Final = Read(
    select(func.coalesce(_NEWEST_BEFORE.c.id, 0), func.coalesce(_NEWEST_BEFORE.c.head_revision, 0))
    .select_from(_TIMES)
    .outerjoin(_NEWEST_BEFORE, true())
    .order_by(_TIMES.c.number)
)


class PostgresChanges:
    """ChangeReader."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read
        self._held = HeldRows(make=ChangeRow)

    async def page(
        self, where: ChangeFilter, page: PageRequest[int], *, newest_first: bool, shown: bool = False
    ) -> Page[Change]:
        if not shown:
            return await _CHANGES.page(self._read, where, page, descending=newest_first)
        found = await _SHOWN.page(self._read, where, page, descending=newest_first)
        return replace(found, items=self._held.same(found.items))

    def holds(self, change: object) -> bool:
        return self._held.holds(change)

    async def of_revisions(self, revisions: Collection[int]) -> Mapping[int, Change]:
        return await changes_of_revisions(self._read, revisions)

    async def counted_before(self, times: Sequence[datetime]) -> Sequence[tuple[int, int]]:
        return [(row[0], row[1]) for row in await fetch(self._read, _COUNTED_BEFORE, {"times": list(times)})]

    async def of_nodes(self, versions: Mapping[str, int]) -> Mapping[str, Change]:
        return await changes_of_nodes(self._read, versions)

    async def content_digests(self, after: int, limit: int) -> Sequence[bytes]:
        rows = await fetch(self._read, _CONTENT_DIGESTS, {"after_id": after, "page_limit": limit})
        return [digest for (digest,) in rows]
