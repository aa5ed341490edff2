"""Keyset pagination: a page begins where a key says, so its cost does not grow with its distance from the start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import ColumnElement, Select, tuple_

from persistence.paging import PageRequest

K = TypeVar("K")
AnySelect: TypeAlias = Select[*tuple[Any, ...]]


def keyset(
    statement: AnySelect,
    columns: Sequence[Any],
    page: PageRequest[K],
    *,
    as_key: Callable[[K], tuple[Any, ...]],
    descending: bool = False,
) -> AnySelect:
    """`statement` restricted to the page, in the direction of the request, with one row more than its limit.

    `columns` are the connection's order, `descending` turns that order around. `page_of` makes a page of the rows.
    """
    order: ColumnElement[Any] = columns[0] if len(columns) == 1 else tuple_(*columns)
    if page.after is not None:
        key = _bound(as_key(page.after))
        statement = statement.where(order < key if descending else order > key)
    if page.before is not None:
        key = _bound(as_key(page.before))
        statement = statement.where(order > key if descending else order < key)
    downwards = descending != page.backward
    return statement.order_by(*(column.desc() if downwards else column for column in columns)).limit(page.limit + 1)


def _bound(key: tuple[Any, ...]) -> Any:
    return key[0] if len(key) == 1 else tuple_(*key)
