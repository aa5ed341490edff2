"""Keyset pagination: a page begins where a key says, so its cost does not grow with its distance from the start.

Statements are made once for each shape of a request and kept; its values go in as parameters. Making one anew costs
SQLAlchemy several times what PostgreSQL takes to answer it.

Filters as conditions with parameters: one statement for all filters that use the same fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    ColumnElement,
    Select,
    and_,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import array

from persistence.model.paging import Page, PageRequest, page_of
from persistence.postgres.tables.columns import INDEXED_CHARACTERS

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


Restriction: TypeAlias = Callable[[str], ColumnElement[bool]]
"""Makes the condition from the name of its parameter."""


def used_fields(where: Any) -> tuple[str, ...]:
    """The fields of a filter that restrict."""
    return tuple(field.name for field in fields(where) if getattr(where, field.name) is not None)


def filter_values(where: Any) -> dict[str, Any]:
    """The parameters of the conditions made by `conditions`."""
    values = {}
    for name in used_fields(where):
        value = getattr(where, name)
        values[f"where_{name}"] = [str(item) for item in value] if isinstance(value, list | tuple) else value
    return values


def conditions(restrictions: Mapping[str, Restriction], used: tuple[str, ...]) -> list[ColumnElement[bool]]:
    return [restrictions[name](f"where_{name}") for name in used]


def equals(column: Any) -> Restriction:
    return lambda name: column == bindparam(name, type_=column.type)


def equals_text(column: Any) -> Restriction:
    """For free text, which is indexed by its beginning."""

    def restriction(name: str) -> ColumnElement[bool]:
        value = bindparam(name, type_=column.type)
        beginning = func.left(column, literal_column(str(INDEXED_CHARACTERS)))
        return and_(beginning == func.left(value, literal_column(str(INDEXED_CHARACTERS))), column == value)

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
