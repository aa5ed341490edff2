"""Bounded searches: a page of what no index leads to looks at a stated number of items, in the order of the list.

Where these do not fill it, the page ends at the last of them, and its cursor goes on from there. So a page takes the
same time whatever a filter matches, and all that matches is found by going on. docs/decisions/0043-bounded-searches.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Subquery,
    and_,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
    true,
)

from persistence.model.paging import COUNTED_AT_MOST, SEARCHED_AT_MOST, Page, PageRequest, page_of
from persistence.postgres.readers.keyset import AnySelect, PageShape, between_cursors, keyset, ordered, read_count

T = TypeVar("T")

SEARCHED: Final = literal_column(str(SEARCHED_AT_MOST), BigInteger)

COUNTED: Final = literal_column(str(COUNTED_AT_MOST), BigInteger)


def share_of(ranges: ColumnElement[int]) -> ColumnElement[int]:
    """Of what is looked at, that of each of so many ranges that are merged: at least one row."""
    one = literal_column("1", BigInteger)
    return func.greatest(SEARCHED // func.greatest(cast(ranges, BigInteger), one), one)


class Candidates(NamedTuple):
    """What is looked at: `keys` selects it, in the `order` of these columns as an index has it, `limit` of them at most
    (null: SEARCHED, or COUNTED). `matches` are the conditions on each, none where all of them match; `carried` are
    columns that are wanted as well."""

    keys: AnySelect
    order: Sequence[Any]
    matches: Sequence[ColumnElement[bool]] = ()
    limit: ColumnElement[Any] | None = None
    carried: Sequence[Any] = ()


def search(candidates: Candidates, shape: PageShape, *, descending: bool) -> Subquery:
    """The keys of a page, `key_0` and so on: those that match, and the last one that was looked at, `ended`, whether it
    `matches` or not; and what is carried."""
    limit = SEARCHED if candidates.limit is None else candidates.limit
    columns, reverse = candidates.order, descending != shape.backward
    row_number = func.row_number().over(order_by=[column.desc() if reverse else column for column in columns])
    inner = candidates.keys.with_only_columns(
        *(column.label(f"key_{index}") for index, column in enumerate(columns)),
        and_(true(), *candidates.matches).label("matches"),
        row_number.label("number"),
        *candidates.carried,
        maintain_column_froms=True,
    )
    inner = between_cursors(inner, columns, shape, descending=descending)
    looked_at = ordered(inner, columns, shape, descending=descending).limit(limit).subquery("looked_at")
    keys = list(looked_at.c)[: len(columns)]
    matches, number, *carried = list(looked_at.c)[len(columns) :]
    ended = number == limit
    found = select(*keys, matches, ended.label("ended"), *carried).where(or_(matches, ended))
    return keyset(found, keys, _without_cursors(shape), descending=descending).subquery("found")


def with_rows(found: Subquery, rows: AnySelect) -> tuple[AnySelect, Sequence[Any]]:
    """The row of each key that was found, `rows` being that of one, in front of what `found_rows` reads; and the
    order."""
    keys = [column for column in found.c if column.key.startswith("key_")]
    shown = rows.limit(literal_column("1")).lateral("shown")
    return select(*shown.c, found.c.matches, found.c.ended, *keys).select_from(found).outerjoin(shown, true()), keys


def _without_cursors(shape: PageShape) -> PageShape:
    return shape._replace(after=False, before=False)


def bounded_count(candidates: Candidates, *, descending: bool = False) -> Select[Any]:
    """How many match of those that are looked at, as `read_count` reads it: those that the list begins with, so that
    its first page has no more."""
    limit = COUNTED if candidates.limit is None else candidates.limit
    limited = (
        candidates.keys.with_only_columns(
            and_(true(), *candidates.matches).label("matches"), maintain_column_froms=True
        )
        .order_by(*(column.desc() if descending else column for column in candidates.order))
        .limit(limit)
        .subquery("counted")
    )
    return _lower_bound(func.count().filter(limited.c.matches), func.count() < limit).select_from(limited)


def _lower_bound(count: ColumnElement[int], is_exact: ColumnElement[bool]) -> Select[Any]:
    """As `beside` takes a count: one number, for which the driver knows the type."""
    return select(case((is_exact, count), else_=literal_column("-1") - count))


class Found(NamedTuple):
    """What a search found: rows as they come, with so many columns `behind` what was selected; how many there are, and
    whether that is all; the key that it ended at before the page was full, null if it did not."""

    rows: Sequence[Any]
    behind: int
    total: int | None
    total_is_exact: bool
    reached: Sequence[Any] | None

    def page(self, request: PageRequest[Any], items: Sequence[T], key: Callable[[Any], Any]) -> Page[T]:
        """Of the records of the rows; `key` makes one of its columns."""
        reached = None if self.reached is None else key(self.reached)
        return page_of(items, request, self.total, total_is_exact=self.total_is_exact, reached=reached)


def found_rows(rows: Sequence[Any], request: PageRequest[Any], keys: int, values: int | None = None) -> Found:
    """Of the rows of `with_rows`, of so many keys. Those of `beside` begin with so many values, the count where it is
    counted, and whether there is a row."""
    total, is_exact = read_count(rows[0][values or 0]) if request.counted else (None, True)
    if request.counted or values is not None:
        front = (values or 0) + request.counted
        rows = [row for row in rows if row[front] is not None]
    reached, behind = None, keys + 2
    if rows:
        matches, ended, *key = rows[-1][len(rows[-1]) - behind :]
        if ended:
            reached = key
            rows = rows if matches else rows[:-1]
    return Found(rows, behind, total, is_exact, reached)


def farthest(pages: Sequence[Page[T]], request: PageRequest[Any], *, descending: bool) -> Page[T]:
    """Of pages of one request by several searches: the first that is complete, or the one that came farthest. With the
    best of their counts."""
    best = next((page for page in pages if page.is_complete), None)
    if best is None:
        choose = min if descending != request.backward else max
        best = choose(pages, key=lambda page: page.start if request.backward else page.end)
    if not request.counted:
        return best
    counts = [(page.total_is_exact, page.total or 0) for page in pages]
    is_exact, total = max(counts)
    return replace(best, total=total, total_is_exact=is_exact)
