"""Filters as conditions with parameters: one statement for all filters that use the same fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeAlias

from sqlalchemy import ARRAY, ColumnElement, and_, bindparam, cast, func, literal_column
from sqlalchemy.dialects.postgresql import array

from persistence.postgres.tables.columns import INDEXED_CHARACTERS

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
