"""Lists that are read in pages, in the order of one unique column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import BigInteger, Column, FromClause, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.model.paging import Page, PageRequest, page_of
from persistence.postgres.readers.keyset import (
    CACHED_STATEMENTS,
    AnySelect,
    PageShape,
    Restriction,
    beside,
    conditions,
    fetch,
    filter_values,
    keyset,
    nothing_passed,
    page_beside,
    page_shape,
    page_values,
    planned_for_parameters,
    used_fields,
)
from persistence.postgres.readers.search import (
    Candidates,
    bounded_count,
    farthest,
    found_rows,
    search,
    with_rows,
)
from persistence.postgres.reads import Read

T = TypeVar("T")

EVERYWHERE: Final = PageShape(after=False, before=False, backward=False, counted=False)
"""No cursor."""


class PagedList(Generic[T]):
    """`read` makes records of rows of `rows`, which selects from `table`; `restrictions` has one for each field of the
    list's filter. Those of them that are `bounds` of the key restrict where the list is read. So does one of the
    `leads`, each with an index in the order of the key; one that is `unordered` leads without bounds only. What is in
    neither is looked for in what that leaves, and so are the other leads.
    """

    def __init__(
        self,
        rows: AnySelect,
        table: FromClause,
        key: Column[Any],
        read: Callable[[Sequence[Any]], Sequence[T]],
        restrictions: Mapping[str, Restriction] = MappingProxyType({}),
        *,
        leads: Sequence[str] = (),
        bounds: Sequence[str] = (),
        unordered: Sequence[str] = (),
    ) -> None:
        self._rows = rows
        self._table = table
        self._key = key
        self._read = read
        self._restrictions = restrictions
        self._leads = leads
        self._bounds = bounds
        self._unordered = unordered
        self._statement = lru_cache(CACHED_STATEMENTS)(self._new_statement)

    async def page(
        self,
        sessions: async_sessionmaker[AsyncSession],
        where: Any,
        page: PageRequest[Any],
        *,
        descending: bool = False,
    ) -> Page[T]:
        """`where` is a filter, or null for all of the list; `descending` turns the list's order around.

        Where one lead ends before there is a whole page, the next one is tried: it may restrict more.
        """
        used, values = ((), {}) if where is None else (used_fields(where), filter_values(where))
        shape, tried = page_shape(page), []
        for lead in self._leads_of(used):
            read, searched = self._statement(used, shape, lead, descending)
            rows = await fetch(sessions, read, values | page_values(page))
            if not searched:
                return page_beside(rows, page, self._read, 0) if page.counted else page_of(self._read(rows), page)
            found = found_rows(rows, page, keys=1)
            items = self._read([row[2 * page.counted : -found.behind] for row in found.rows])
            tried.append(found.page(page, items, itemgetter(0)))
            if tried[-1].is_complete:
                break
        return farthest(tried, page, descending=descending)

    def _leads_of(self, used: tuple[str, ...]) -> Sequence[str | None]:
        leads = [name for name in self._leads if name in used]
        if not set(self._bounds).isdisjoint(used):
            leads = [name for name in leads if name not in self._unordered]
        return leads or [None]

    def _new_statement(
        self,
        used: tuple[str, ...],
        shape: PageShape,
        lead: str | None,
        descending: bool,  # noqa: FBT001 - part of the cache's key
    ) -> tuple[Read, bool]:
        """And whether it is a search."""
        rest = [name for name in used if name != lead and name not in self._bounds]
        order: Sequence[Any]
        if rest:
            candidates, left = self._candidates(used, lead, rest, shape, descending=descending)
            found = search(candidates, left, descending=descending)
            rows, order = with_rows(found, self._rows.where(self._key == found.c.key_0))
            shape = shape._replace(after=False, before=False)
        else:
            rows, order, shape = self._beginning(used, lead, shape, descending=descending)
        if not shape.counted:
            return Read(keyset(rows, order, shape, descending=descending)), bool(rest)
        count = bounded_count(self._counted(used, lead, rest, descending=descending), descending=descending)
        return Read(beside((), rows, count, order, shape, descending=descending)), bool(rest)

    def _candidates(
        self,
        used: tuple[str, ...],
        lead: str | None,
        rest: Sequence[str],
        shape: PageShape,
        *,
        descending: bool,  # noqa: ARG002 - for a list that reads otherwise
    ) -> tuple[Candidates, PageShape]:
        """And the shape of what is left to be done with them."""
        keys = self._in_order(select(self._key).select_from(self._table), used, lead)
        return Candidates(keys, (self._key,), conditions(self._restrictions, tuple(rest))), shape

    def _counted(self, used: tuple[str, ...], lead: str | None, rest: Sequence[str], *, descending: bool) -> Candidates:
        """On all pages."""
        return self._candidates(used, lead, rest, EVERYWHERE, descending=descending)[0]

    def _beginning(
        self,
        used: tuple[str, ...],
        lead: str | None,
        shape: PageShape,
        *,
        descending: bool,  # noqa: ARG002 - same
    ) -> tuple[AnySelect, Sequence[Any], PageShape]:
        """The rows that match, of which a page is the beginning, their order, and the shape that is left."""
        return self._in_order(self._rows, used, lead) if used else self._rows, (self._key,), shape

    def _in_order(self, rows: AnySelect, used: tuple[str, ...], lead: str | None) -> AnySelect:
        """Within the bounds, and where the lead goes."""
        where = tuple(name for name in used if name == lead or name in self._bounds)
        rows = rows.where(*conditions(self._restrictions, where))
        if lead in self._unordered:
            rows = planned_for_parameters(rows)
        return rows.where(nothing_passed(self._key)) if isinstance(self._key.type, BigInteger) else rows
