"""The scalars of the schema, and how each reads and writes.

What a scalar cannot read is refused with a message, to which GraphQL adds where it is (`at 'input.expectedVersion'`).
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NewType

import strawberry
from graphql import GraphQLError
from strawberry.types.scalar import ScalarDefinition

import graph.schema.enums  # noqa: F401 - registers the enums; every file with types imports this one first
from graph.execution.encoding import write_date_time
from persistence.codec.cursors import Cursor
from persistence.model.fields import quoted
from persistence.model.records import COUNTER_PATTERN, MAX_COUNTER

Revision = NewType("Revision", int)
"""A counter of 63 bits: a revision, a version, an owner epoch."""

JSON = NewType("JSON", object)

_DECIMAL: Final = re.compile(COUNTER_PATTERN)

_DATE_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def read_revision(value: object) -> int:
    """Raises GraphQLError for anything but an integer, or its decimal digits as a string, from 0 to 2^63-1."""
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNTER:
        return value
    raise GraphQLError(f"Revision must be a whole number from 0 to {MAX_COUNTER} (2^63-1), not {_quoted(value)}")


write_revision: Final = int.__repr__
"""Raises TypeError for what is no int. Lists write thousands, and a call in C is a tenth of one in Python."""


def read_date_time(value: object) -> datetime:
    """Raises GraphQLError for anything but RFC 3339 with an offset. Digits beyond microseconds are dropped."""
    if isinstance(value, str) and _DATE_TIME.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    hint = "write for example 2026-01-31T09:30:00Z, with Z or an offset such as +01:00"
    raise GraphQLError(f"DateTime cannot read {_quoted(value)}: {hint}")


def read_cursor(value: object) -> str:
    if isinstance(value, str):
        return value
    raise GraphQLError(f"Cursor must be a string that this API returned, not {_quoted(value)}")


def _quoted(value: object) -> str:
    return quoted(value if isinstance(value, str) else repr(value)[:80])


SCALARS: Final[Mapping[object, ScalarDefinition]] = {
    Revision: strawberry.scalar(
        name="Revision",
        description=(
            "An unsigned 63-bit counter: a revision of the change stream, a version, an owner epoch. "
            'Written as a string of decimal digits ("42"), because JavaScript numbers are exact to 2^53 only; '
            "read from such a string or from a whole number."
        ),
        serialize=write_revision,
        parse_value=read_revision,
    ),
    Cursor: strawberry.scalar(
        name="Cursor",
        description=(
            "A place in the change stream: everything up to and including one revision has been seen. "
            "Opaque: hold it as it came and hand it back, never take it apart."
        ),
        parse_value=read_cursor,
    ),
    datetime: strawberry.scalar(
        name="DateTime",
        description=(
            "A point in time, as in RFC 3339, to the microsecond. Written in UTC (2026-01-31T09:30:00.123456Z); "
            "read with Z or any offset, refused without one."
        ),
        specified_by_url="https://scalars.graphql.org/andimarek/date-time",
        serialize=write_date_time,
        parse_value=read_date_time,
    ),
    JSON: strawberry.scalar(
        name="JSON",
        description="Any JSON value. On input at most 32 levels deep, integers of 64 bits, finite numbers, no NUL.",
        specified_by_url="https://datatracker.ietf.org/doc/html/rfc8259",
    ),
}
