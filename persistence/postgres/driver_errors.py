"""Errors of asyncpg, translated once into the store's own: for connections that SQLAlchemy does not hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from persistence.errors import (
    CommitUnknown,
    Deadlock,
    Overloaded,
    SchemaOutOfDate,
    StoreError,
    StoreUnavailable,
    TransientConflict,
    Unavailable,
)

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_DEADLOCK: Final = "40P01"  # deadlock_detected

_TRANSIENT: Final = frozenset(
    {
        "0A000",  # feature_not_supported: a cached plan that a migration made invalid, made anew by the next attempt
        "40001",  # serialization_failure
        _DEADLOCK,
        "55P03",  # lock_not_available: lock_timeout passed
        "23505",  # unique_violation: two creations of one thing met; the second sees the first when it runs again
    }
)

_CANCELLED: Final = "57014"  # query_canceled: statement_timeout passed, or it was cancelled

_UNDEFINED: Final = frozenset({"42P01", "42703", "42883"})  # undefined_table, undefined_column, undefined_function

READ_ONLY: Final = "25006"  # read_only_sql_transaction

_DENIED: Final = "the database denies access"

_REASONS: Final = {
    READ_ONLY: (Unavailable.READ_ONLY, "the database takes no writes just now"),
    "28000": (Unavailable.ACCESS_DENIED, _DENIED),  # invalid_authorization_specification: no such role, NOLOGIN, pg_hba
    "28P01": (Unavailable.ACCESS_DENIED, _DENIED),  # invalid_password
    "42501": (Unavailable.ACCESS_DENIED, _DENIED),  # insufficient_privilege
    "53100": (Unavailable.DISK_FULL, "the database's disk is full"),
    "53300": (Unavailable.TOO_MANY_CONNECTIONS, "the database takes no more connections"),
    # invalid_sql_statement_name, duplicate_prepared_statement: of another backend than the one it was prepared in.
    "26000": (Unavailable.TRANSACTION_POOLER, "a pooler in transaction mode stands in between"),
    "42P05": (Unavailable.TRANSACTION_POOLER, "a pooler in transaction mode stands in between"),
}

# Connection, resources, intervention, system; a transaction that idled too long; a database that is not there, as while
# a restored one takes its name.
_UNAVAILABLE_CLASSES: Final = ("08", "53", "57", "58", "25P03", "3D000")

DRIVER_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""Everything that a connection of the driver raises."""

_ENDED: Final = frozenset({"57P01", "57P02", "57P04"})  # admin_shutdown, crash_shutdown, database_dropped


@contextmanager
def translated() -> Iterator[None]:
    """Run work on a connection; whatever the driver raises leaves as a StoreError."""
    try:
        yield
    except StoreError:
        raise
    except DRIVER_ERRORS as error:
        raise store_error(error) from error


@contextmanager
def committing() -> Iterator[None]:
    """Around the one call that commits, and nothing else, within `translated`: where the call was sent and not answered
    it leaves as CommitUnknown, and else as the driver raised it.

    What the server answers (an error ends the transaction) and what the driver refuses before it sends anything stand
    for nothing written. A task that is cancelled in here does not learn which it was.
    """
    try:
        yield
    except DRIVER_ERRORS as error:
        if is_unanswered(error):
            raise unanswered(error) from error
        raise


def store_error(error: BaseException) -> StoreError:
    """Of one of DRIVER_ERRORS."""
    answered = isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError)
    return translation(error) if answered else unreachable(error)


def unreachable(error: BaseException) -> StoreUnavailable:
    return StoreUnavailable(f"the database cannot be reached: {first_line(error)}")


def denied(error: BaseException) -> StoreUnavailable:
    return StoreUnavailable(f"{_DENIED}: {first_line(error)}", Unavailable.ACCESS_DENIED)


def unanswered(error: BaseException) -> CommitUnknown:
    return CommitUnknown(f"a commit was sent and not answered: {first_line(error)}")


def translation(error: BaseException | None) -> StoreError:
    state = getattr(error, "sqlstate", None) or ""
    if state in _TRANSIENT:
        return (Deadlock if state == _DEADLOCK else TransientConflict)(first_line(error))
    if state in _UNDEFINED:
        return SchemaOutOfDate(f"{first_line(error)}; run 'omnirelay db upgrade'")
    if state == _CANCELLED:
        return Overloaded(f"the database gave up a statement that took too long: {first_line(error)}")
    if state in _REASONS:
        reason, message = _REASONS[state]
        return StoreUnavailable(f"{message}: {first_line(error)}", reason)
    if not state or state.startswith(_UNAVAILABLE_CLASSES):
        return StoreUnavailable(f"the database cannot be reached or broke off: {first_line(error)}")
    return StoreError(f"the database refused (SQLSTATE {state}): {first_line(error)}")


def is_unsent(error: BaseException | None) -> bool:
    """Of the driver's refusal to use a connection whose end the server has announced: it is looked at first."""
    return isinstance(error, asyncpg.InternalClientError) and str(error).startswith("cannot switch to state")


def is_unanswered(error: BaseException) -> bool:
    """Of an error that a commit was met by."""
    if isinstance(error, asyncpg.InterfaceError) or is_unsent(error):  # the driver's own, before anything is sent
        return False
    if not isinstance(error, asyncpg.PostgresError) or isinstance(error, asyncpg.PostgresConnectionError):
        return True
    # The backend ended, perhaps while its commit waited for the standby.
    return getattr(error, "severity_en", None) in {"FATAL", "PANIC"} or error.sqlstate in _ENDED


def first_line(error: BaseException | None) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
