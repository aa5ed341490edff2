"""Driver errors, translated once into the store's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

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
    """Run database work; whatever the driver raises leaves as a StoreError."""
    try:
        yield
    except StoreError:
        raise
    except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise _translation(error) from error
    except (OSError, PoolTimeoutError, TimeoutError) as error:
        raise StoreUnavailable(f"the database cannot be reached: {_first_line(error)}") from error
    except SQLAlchemyError as error:
        raise StoreError(f"the database layer failed: {_first_line(error)}") from error


def _translation(error: DBAPIError | asyncpg.PostgresError | asyncpg.InterfaceError) -> StoreError:
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None) or ""
    if state in _TRANSIENT:
        return TransientConflict(_first_line(cause))
    if state in _UNDEFINED:
        return SchemaOutOfDate(f"{_first_line(cause)}; run 'omnirelay db upgrade'")
    if state == _CANCELLED:
        return StoreUnavailable(f"the database is there but gave up a statement: {_first_line(cause)}")
    if not state or state.startswith(_UNAVAILABLE_CLASSES):
        return StoreUnavailable(f"the database cannot be reached or broke off: {_first_line(cause)}")
    return StoreError(f"the database refused (SQLSTATE {state}): {_first_line(cause)}")


def _first_line(error: BaseException | None) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
