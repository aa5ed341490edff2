"""Keyset pagination: a page begins where a key says, so its cost does not grow with its distance from the start.

Statements are made once for each shape of a request and kept; its values go in as parameters. Making one anew costs
SQLAlchemy several times what PostgreSQL takes to answer it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import BigInteger, Column, ColumnElement, Select, bindparam, tuple_

from persistence.paging import PageRequest

AnySelect: TypeAlias = Select[*tuple[Any, ...]]

STATEMENTS_KEPT: Final = 512
"""Bound of each memory of statements; beyond it the one not used for longest is made anew when needed."""


class PageShape(NamedTuple):
    """What of a page request changes the statement and not only its parameters."""

    after: bool
    before: bool
    backward: bool


def page_shape(page: PageRequest[Any]) -> PageShape:
    return PageShape(page.after is not None, page.before is not None, page.backward)


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
    order: ColumnElement[Any] = columns[0] if len(columns) == 1 else tuple_(*columns)
    if shape.after:
        key = _key("after", columns)
        statement = statement.where(order < key if descending else order > key)
    if shape.before:
        key = _key("before", columns)
        statement = statement.where(order > key if descending else order < key)
    downwards = descending != shape.backward
    ordered = statement.order_by(*(column.desc() if downwards else column for column in columns))
    return ordered.limit(bindparam("page_limit", type_=BigInteger))


def _key(side: str, columns: Sequence[Any]) -> Any:
    parts = [bindparam(f"page_{side}_{index}", type_=column.type) for index, column in enumerate(columns)]
    return parts[0] if len(parts) == 1 else tuple_(*parts)
