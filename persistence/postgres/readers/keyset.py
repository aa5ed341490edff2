"""Keyset pagination: a page begins where a key says, so its cost does not grow with its distance from the start.

`paged_list` answers the pages of a list; where other values are read with a page, `beside` and `page_beside` do.
Statements are made once for each shape of a request and cached, and a request's values are parameters: making one anew
costs SQLAlchemy several times what PostgreSQL takes to answer it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.model.paging import Page, PageRequest, page_of
from persistence.postgres.engine import translated
from persistence.postgres.reads import Read
from persistence.postgres.tables.columns import INDEXED_CHARACTERS

T = TypeVar("T")

AnySelect: TypeAlias = Select[*tuple[Any, ...]]

Restriction: TypeAlias = Callable[[str], ColumnElement[bool]]
"""Makes the condition from the name of its parameter."""

CACHED_STATEMENTS: Final = 512
"""Bound of each statement cache; beyond it the statement not used for longest is made anew when needed."""


def each(read: Callable[[Sequence[Any]], T]) -> Callable[[Sequence[Any]], Sequence[T]]:
    """`read`, which makes a record of a row, for many rows."""
    return lambda rows: [read(row) for row in rows]


async def fetch(sessions: async_sessionmaker[AsyncSession], read: Read, values: Mapping[str, Any]) -> Sequence[Any]:
    """All rows of one statement, in a snapshot of its own. Raises StoreError."""
    with translated():
        return await read.rows(sessions, values)


class PageShape(NamedTuple):
    """What of a page request changes the statement and not only its parameters."""

    after: bool
    before: bool
    backward: bool
    counted: bool


def page_shape(page: PageRequest[Any]) -> PageShape:
    return PageShape(page.after is not None, page.before is not None, page.backward, page.counted)


def page_values(page: PageRequest[Any]) -> dict[str, Any]:
    """The parameters of a statement made by `keyset`. A key is a tuple, or the one column's value."""
    values: dict[str, Any] = {"page_limit": page.limit + 1}
    for side, key in (("after", page.after), ("before", page.before)):
        if key is not None:
            parts = key if isinstance(key, tuple) else (key,)
            values |= {f"page_{side}_{index}": part for index, part in enumerate(parts)}
    return values


def keyset(
    statement: AnySelect, columns: Sequence[Column[Any] | Any], shape: PageShape, *, descending: bool = False
) -> AnySelect:
    """`statement` restricted to the page, in the direction of the request, with one row more than its limit.

    `columns` are the list's order, `descending` turns that order around. `page_of` makes a page of the rows.
    """
    statement = between_cursors(statement, columns, shape, descending=descending)
    return ordered(statement, columns, shape, descending=descending).limit(bindparam("page_limit", type_=BigInteger))


def planned_for_parameters(statement: AnySelect) -> AnySelect:
    """`statement`, planned at each execution for its parameters: one for which the best plan depends on how many rows
    these match. `filter_values` gives the parameter.

    PostgreSQL plans a prepared statement once for any parameters where that looks no dearer. Here it never does: `anew`
    is true, which leaves nothing of the condition in a plan for the parameters, and in one for any of them a count that
    would take hours, and is not made. docs/decisions/0030-plans-of-reads.md says why not `plan_cache_mode`.
    """
    return statement.where(case((bindparam("anew", type_=Boolean), true()), else_=_HOURS))


_HOURS: Final = (
    select(func.count()).select_from(func.generate_series(literal_column("1"), literal_column(str(2**31 - 1))))
).scalar_subquery() > literal_column("0")


def nothing_passed(column: Column[int]) -> ColumnElement[bool]:
    """True, of a column of numbers from 1: for rows that are the beginning of a range of an index.

    It is never evaluated beyond the comparison, but each row that is read seems to cost a count. So PostgreSQL does not
    read another index that has the same order, past the rows of everything else, in the hope of one before long.
    """
    number = func.generate_series(literal_column("1"), literal_column("10000")).alias("number")
    count = select(func.count()).select_from(number).where(literal_column("number") > column).correlate(column.table)
    return case((column > literal_column("0"), true()), else_=count.scalar_subquery() > literal_column("0"))


def beside(
    values: Sequence[ColumnElement[Any]],
    statement: AnySelect,
    count: Select[Any],
    columns: Sequence[Column[Any] | Any],
    shape: PageShape,
    *,
    descending: bool = False,
) -> AnySelect:
    """`keyset` with the same values in front of every row: one statement, so page and values are of one snapshot.

    A row holds the values, the answer of `count` where the shape is counted (as `read_count` reads it), 1, and the
    columns of `statement`. An empty page is one row: values and count, null, and nulls. `page_beside` makes a page of
    the rows.
    """
    front = select(*values, *((count.scalar_subquery(),) if shape.counted else ())).subquery()
    order = [column.label(f"order_{index}") for index, column in enumerate(columns)]
    found: ColumnElement[Any] = literal_column("1").label("found")
    page = keyset(statement.add_columns(found, *order), columns, shape, descending=descending).subquery()
    *row, found = list(page.c)[: -len(order)]
    joined = select(*front.c, found, *row).select_from(front).outerjoin(page, true())
    return ordered(joined, list(page.c)[-len(order) :], shape, descending=descending)


def page_beside(
    rows: Sequence[Any], request: PageRequest[Any], read: Callable[[Sequence[Any]], Sequence[T]], values: int
) -> Page[T]:
    """The page that the rows of `beside` hold, which begin with so many values. `read` takes the columns of the rows
    that were found."""
    found = values + request.counted
    items = read([row[found + 1 :] for row in rows if row[found] is not None])
    if not request.counted:
        return page_of(items, request)
    total, is_exact = read_count(rows[0][values])
    return page_of(items, request, total, total_is_exact=is_exact)


def read_count(count: int) -> tuple[int, bool]:
    """A count, and whether it is exact: -1 and less stand for 0 and more that are not."""
    return (count, True) if count >= 0 else (-1 - count, False)


def between_cursors(
    statement: AnySelect, columns: Sequence[Column[Any] | Any], shape: PageShape, *, descending: bool
) -> AnySelect:
    order: ColumnElement[Any] = columns[0] if len(columns) == 1 else tuple_(*columns)
    if shape.after:
        key = _key("after", columns)
        statement = statement.where(order < key if descending else order > key)
    if shape.before:
        key = _key("before", columns)
        statement = statement.where(order > key if descending else order < key)
    return statement


def ordered(
    statement: AnySelect, columns: Sequence[Column[Any] | Any], shape: PageShape, *, descending: bool
) -> AnySelect:
    reverse = descending != shape.backward
    return statement.order_by(*(column.desc() if reverse else column for column in columns))


def _key(side: str, columns: Sequence[Any]) -> Any:
    parts = [bindparam(f"page_{side}_{index}", type_=column.type) for index, column in enumerate(columns)]
    return parts[0] if len(parts) == 1 else tuple_(*parts)


def used_fields(where: Any) -> tuple[str, ...]:
    """The fields of a filter that restrict."""
    return tuple(field.name for field in fields(where) if getattr(where, field.name) is not None)


def filter_values(where: Any) -> dict[str, Any]:
    """The parameters of the conditions made by `conditions`, and of `planned_for_parameters`."""
    values: dict[str, Any] = {"anew": True}
    for name in used_fields(where):
        value = getattr(where, name)
        values[f"where_{name}"] = [str(item) for item in value] if isinstance(value, list | tuple) else value
    return values


def conditions(restrictions: Mapping[str, Restriction], used: tuple[str, ...]) -> list[ColumnElement[bool]]:
    """A filter as conditions with parameters: one statement serves all filters that use the same fields."""
    return [restrictions[name](f"where_{name}") for name in used]


def equals(column: Any) -> Restriction:
    return lambda name: column == bindparam(name, type_=column.type)


def equals_text(column: Any) -> Restriction:
    """For free text, which is indexed by its beginning.

    The whole is compared in a form that PostgreSQL does not estimate: it takes the two for independent, so that a text
    of a thousand rows would seem to have one, which is not worth reading in order.
    """

    def restriction(name: str) -> ColumnElement[bool]:
        value = bindparam(name, type_=column.type)
        beginning = func.left(column, literal_column(str(INDEXED_CHARACTERS)))
        return and_(
            beginning == func.left(value, literal_column(str(INDEXED_CHARACTERS))), case((column == value, true()))
        )

    return restriction


def one_of(column: Any) -> Restriction:
    return lambda name: column == func.any(bindparam(name, type_=ARRAY(column.type)))


def at_least(column: Any) -> Restriction:
    return lambda name: column >= bindparam(name, type_=column.type)


def at_most(column: Any) -> Restriction:
    return lambda name: column <= bindparam(name, type_=column.type)


def below(column: Any) -> Restriction:
    return lambda name: column < bindparam(name, type_=column.type)


def contains_text(column: Any) -> Restriction:
    return lambda name: func.strpos(column, bindparam(name, type_=column.type)) > 0


def contains_item(column: Any) -> Restriction:
    """An array column that holds the value. Containment, not ANY: only that can use the column's GIN index."""
    return lambda name: column.contains(cast(array([bindparam(name)]), column.type))
