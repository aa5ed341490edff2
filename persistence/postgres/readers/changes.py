"""Reading changes: the list of them, and their content digests in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    CompoundSelect,
    ScalarSelect,
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
from persistence.postgres.readers.keyset import (
    AnySelect,
    PagedList,
    PageShape,
    at_most,
    below,
    conditions,
    contains_item,
    each,
    equals_text,
    fetch,
    keyset,
    nothing_passed,
    one_of,
    planned_for_parameters,
)
from persistence.postgres.reads import Read
from persistence.postgres.rows import CHANGE, change_of
from persistence.postgres.tables.history import CHANGES

# The member's name is part of the statement: as a parameter it would not match the indexed expression.
PLAN_OF_CHANGE: Final = CHANGES.c.configuration.op("->>", return_type=Text())(literal_column("'plan'"))


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

_LED: Final = frozenset({"namespace", "kinds"})

_BOUNDS: Final = frozenset({"up_to_id", "since", "until"})
"""Fields that are bounds of the id."""


class _Changes(PagedList[Change]):
    """The list. A page of one namespace, or of some kinds, is merged from the beginnings of ranges that are in order of
    the id: each is read no further than the page, whatever PostgreSQL takes for the number of rows that match."""

    def _restricted(self, used: tuple[str, ...], shape: PageShape, *, descending: bool) -> tuple[AnySelect, Any]:
        if len(_LED.intersection(used)) != 1 or not _BOUNDS.union(_LED).issuperset(used):
            return super()._restricted(used, shape, descending=descending)
        bounds = conditions(self._restrictions, tuple(name for name in used if name in _BOUNDS))

        def beginning(*restricted: ColumnElement[bool]) -> AnySelect:
            rows = self._rows.where(*restricted, *bounds, nothing_passed(CHANGES.c.id))
            return keyset(rows, (CHANGES.c.id,), shape, descending=descending)

        if "namespace" in used:
            merged = _merged(beginning, newest_first=descending != shape.backward).subquery()
            return planned_for_parameters(select(*merged.c)), merged.c.id
        kinds = func.unnest(bindparam("where_kinds", type_=ARRAY(Text))).table_valued("kind").render_derived("kinds")
        distinct = select(kinds.c.kind).distinct().subquery("kinds")
        of_kind = beginning(CHANGES.c.kind == distinct.c.kind).lateral()
        return select(*of_kind.c).join_from(distinct, of_kind, true()), of_kind.c.id


def _merged(beginning: Callable[..., AnySelect], *, newest_first: bool) -> CompoundSelect[Any]:
    """The beginnings of the changes of one namespace alone, and of those of several that it is one of.

    The latter have no index in order. They are looked for among the next `_NEAR` changes of any several namespaces,
    and only where these do not fill a page in all of them.
    """
    whole = bindparam("page_limit", type_=BigInteger)
    one = beginning(_of_one_namespace("where_namespace")).cte("one")
    # Beyond the last of a whole page of those, none of the others is looked at.
    last = select(one.c.id).order_by(one.c.id.desc() if newest_first else one.c.id).offset(whole - 1).limit(1)
    end = func.coalesce(last.scalar_subquery(), literal_column("0" if newest_first else str(MAX_COUNTER)))
    before = CHANGES.c.id > end if newest_first else CHANGES.c.id < end
    next_ones = beginning(_several(CHANGES.c), before).limit(_NEAR).cte("next_ones")
    near = select(next_ones).where(contains_item(next_ones.c.namespaces)("where_namespace")).cte("near")
    enough = or_(_count_of(near) >= whole, _count_of(next_ones) < _NEAR)
    # All of them first: PostgreSQL would combine their index with a range of the primary key, which is far longer.
    found = select(_OTHER.id).where(
        _of_several_namespaces("where_namespace", _OTHER), not_(enough), nothing_passed(_OTHER.id)
    )
    anywhere = beginning(CHANGES.c.id == func.any(func.array(found.scalar_subquery())), before).subquery()
    return union_all(select(one), select(near).where(enough), select(anywhere))


def _count_of(rows: CTE) -> ScalarSelect[int]:
    return select(func.count()).select_from(rows).scalar_subquery()


_NEAR: Final = literal_column("500", BigInteger)
"""Rows."""


_CHANGES: Final = _Changes(
    select(*CHANGE),
    CHANGES,
    CHANGES.c.id,
    each(change_of),
    {
        "namespace": of_namespace,
        "actor": equals_text(CHANGES.c.actor),
        "change_ticket": equals_text(CHANGES.c.change_ticket),
        "kinds": one_of(CHANGES.c.kind),
        "plan_id": lambda name: bindparam(name, type_=Text()) == PLAN_OF_CHANGE,
        "up_to_id": at_most(CHANGES.c.id),
        "since": lambda name: CHANGES.c.id > _id_before(name),
        "until": lambda name: CHANGES.c.id <= _id_before(name),
    },
)

_CONTENT_DIGESTS: Final = Read(
    select(CHANGES.c.content_digest)
    .where(CHANGES.c.id > bindparam("after_id", type_=BigInteger))
    .order_by(CHANGES.c.id)
    .limit(bindparam("page_limit", type_=BigInteger))
)


class PostgresChanges:
    """ChangeReader."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read

    async def page(self, where: ChangeFilter, page: PageRequest[int], *, newest_first: bool) -> Page[Change]:
        return await _CHANGES.page(self._read, where, page, descending=newest_first)

    async def content_digests(self, after: int, limit: int) -> Sequence[bytes]:
        rows = await fetch(self._read, _CONTENT_DIGESTS, {"after_id": after, "page_limit": limit})
        return [digest for (digest,) in rows]
