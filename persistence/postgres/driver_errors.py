"""Errors of asyncpg, translated once into the store's own. For whoever holds a connection of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from persistence.errors import SchemaOutOfDate, StoreError, StoreUnavailable, TransientConflict

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_TRANSIENT: Final = frozenset(
    {
        "0A000",  # feature_not_supported: a cached plan that a migration made invalid, made anew by the next attempt
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "55P03",  # lock_not_available: lock_timeout passed
        "23505",  # unique_violation: two creations of one thing met; the second sees the first when it runs again
    }
)
_CANCELLED: Final = "57014"  # query_canceled: statement_timeout passed, or somebody cancelled it
_UNDEFINED: Final = frozenset({"42P01", "42703"})  # undefined_table, undefined_column
# Connection, resources, intervention, system; a read-only server; a transaction that idled too long; a database that is
# not there, as for a moment while a restored one takes its name.
_UNAVAILABLE_CLASSES: Final = ("08", "53", "57", "58", "25006", "25P03", "3D000")


@contextmanager
def translated() -> Iterator[None]:
    """Run work on a connection; whatever the driver raises leaves as a StoreError."""
    try:
        yield
    except StoreError:
        raise
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise translation(error) from error
    except (OSError, TimeoutError) as error:
        raise unreachable(error) from error


def unreachable(error: BaseException) -> StoreUnavailable:
    return StoreUnavailable(f"the database cannot be reached: {first_line(error)}")


def translation(error: BaseException | None) -> StoreError:
    state = getattr(error, "sqlstate", None) or ""
    if state in _TRANSIENT:
        return TransientConflict(first_line(error))
    if state in _UNDEFINED:
        return SchemaOutOfDate(f"{first_line(error)}; run 'omnirelay db upgrade'")
    if state == _CANCELLED:
        return StoreUnavailable(f"the database is there but gave up a statement: {first_line(error)}")
    if not state or state.startswith(_UNAVAILABLE_CLASSES):
        return StoreUnavailable(f"the database cannot be reached or broke off: {first_line(error)}")
    return StoreError(f"the database refused (SQLSTATE {state}): {first_line(error)}")


def first_line(error: BaseException | None) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
