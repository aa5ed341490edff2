"""Keyset pagination: a page begins where a key says, so its cost does not grow with its distance from the start.

Statements are made once for each shape of a request and kept; its values go in as parameters. Making one anew costs
SQLAlchemy several times what PostgreSQL takes to answer it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from sqlalchemy import BigInteger, Column, ColumnElement, Select, bindparam, literal_column, select, true, tuple_

from persistence.paging import Page, PageRequest, page_of

T = TypeVar("T")

AnySelect: TypeAlias = Select[*tuple[Any, ...]]

STATEMENTS_KEPT: Final = 512
"""Bound of each memory of statements; beyond it the one not used for longest is made anew when needed."""


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

    `columns` are the connection's order, `descending` turns that order around. `page_of` makes a page of the rows.
    """
    statement = _between_cursors(statement, columns, shape, descending=descending)
    return _ordered(statement, columns, shape, descending=descending).limit(bindparam("page_limit", type_=BigInteger))


def counted_keyset(
    statement: AnySelect,
    count: Select[int],
    columns: Sequence[Column[Any] | Any],
    shape: PageShape,
    *,
    descending: bool = False,
) -> AnySelect:
    """`keyset`, together with the answer of `count` where the shape says so. `page_from` makes a page of the rows."""
    if not shape.counted:
        return keyset(statement, columns, shape, descending=descending)
    return beside((count.scalar_subquery(),), statement, columns, shape, descending=descending)


def beside(
    values: Sequence[ColumnElement[Any]],
    statement: AnySelect,
    columns: Sequence[Column[Any] | Any],
    shape: PageShape,
    *,
    descending: bool = False,
) -> AnySelect:
    """`keyset` with the same values in front of every row: one statement, so page and values are of one snapshot.

    A row holds the values, 1, and the columns of `statement`. An empty page is one row: the values, null, and nulls.
    """
    order = [column.label(f"place_{index}") for index, column in enumerate(columns)]
    there: ColumnElement[Any] = literal_column("1").label("there")
    page = keyset(statement.add_columns(there, *order), columns, shape, descending=descending).subquery()
    *shown, found = list(page.c)[: -len(order)]
    front = select(*values).subquery()
    wanted = select(*front.c, found, *shown).select_from(front).outerjoin(page, true())
    return _ordered(wanted, list(page.c)[-len(order) :], shape, descending=descending)


def page_from(rows: Sequence[Any], request: PageRequest[Any], read: Callable[[Sequence[Any]], Sequence[T]]) -> Page[T]:
    """The page that the rows of `counted_keyset` hold. `read` takes the columns of the rows that there are."""
    if not request.counted:
        return page_of(read(rows), request)
    return page_of(read([row[2:] for row in rows if row[1] is not None]), request, total=rows[0][0])


def _between_cursors(
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


def _ordered(
    statement: AnySelect, columns: Sequence[Column[Any] | Any], shape: PageShape, *, descending: bool
) -> AnySelect:
    downwards = descending != shape.backward
    return statement.order_by(*(column.desc() if downwards else column for column in columns))


def _key(side: str, columns: Sequence[Any]) -> Any:
    parts = [bindparam(f"page_{side}_{index}", type_=column.type) for index, column in enumerate(columns)]
    return parts[0] if len(parts) == 1 else tuple_(*parts)
