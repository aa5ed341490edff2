"""What the tables share: their metadata, and the types and constraints of columns.

Migrations are proven equal to the tables by tests/integration/test_migrations.py. Identifiers are COLLATE "C": they
sort bytewise, as Python sorts them and whatever locale the server has.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, cast

from sqlalchemy import BigInteger, CheckConstraint, DateTime, MetaData, Table, Text
from sqlalchemy.orm import DeclarativeBase, mapped_column

from persistence.model.fields import IDENTIFIER_LENGTH, LOCALITY_PATTERN, MAX_TEXT, PLACE_PATTERN
from persistence.model.records import IDENTIFIER_PATTERN, NAME_PATTERN

NAMING_CONVENTION: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

INDEXED_CHARACTERS: Final = 64
"""Free text is indexed by its beginning, because all of it may be too long for an index. A filter compares both."""

Identifier = Annotated[str, mapped_column(Text(collation="C"))]
Counter = Annotated[int, mapped_column(BigInteger)]
Timestamp = Annotated[datetime, mapped_column(DateTime(timezone=True))]


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)


def _pattern_check(column: str, pattern: str) -> CheckConstraint:
    """The pattern of one identifier, and beside it its length: PostgreSQL matches `{0,127}` fifteen times slower than
    `*`, and a change of ten thousand shards has fifty thousand identifiers to check."""
    unbounded = pattern.replace("{0,127}", "*")
    condition = f"char_length({column}) <= {IDENTIFIER_LENGTH} AND {column} ~ '^{unbounded}$'"
    return CheckConstraint(condition, name=f"{column}_format")


def locality_check(column: str) -> CheckConstraint:
    unbounded = LOCALITY_PATTERN.replace("{0,127}", "*")
    bare = f"split_part({column}, ':', -1)"
    first, second = (f"char_length(split_part({bare}, '/', {place})) <= {IDENTIFIER_LENGTH}" for place in (1, 2))
    return CheckConstraint(f"{column} ~ '^({unbounded})$' AND {first} AND {second}", name=f"{column}_format")


def identifier_check(column: str) -> CheckConstraint:
    return _pattern_check(column, IDENTIFIER_PATTERN)


def name_check(column: str) -> CheckConstraint:
    return _pattern_check(column, NAME_PATTERN)


def place_check(column: str) -> CheckConstraint:
    return _pattern_check(column, PLACE_PATTERN)


def length_check(column: str, limit: int = MAX_TEXT) -> CheckConstraint:
    return CheckConstraint(f"char_length({column}) BETWEEN 1 AND {limit}", name=f"{column}_length")


def enum_check(column: str, values: type[StrEnum]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({quoted_list(values)})", name=f"{column}_known")


def quoted_list(values: Iterable[StrEnum]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def table_of(row: type[Base]) -> Table:
    """For statements: SQLAlchemy answers with plain rows, and leaves its object bookkeeping out."""
    return cast("Table", row.__table__)
