"""What a driver's error means to a caller: above all whether something may have been written."""

from __future__ import annotations

import pickle

import asyncpg
import pytest

from persistence.errors import (
    CommitUnknown,
    Overloaded,
    SchemaOutOfDate,
    StoreError,
    StoreUnavailable,
    TransientConflict,
    Unavailable,
)
from persistence.postgres.driver import NothingSent, WaitForStandbyCancelled
from persistence.postgres.driver_errors import committing, translated


def answered(state: str, severity: str = "ERROR") -> asyncpg.PostgresError:
    """As the driver makes one of what the server sent."""
    error: asyncpg.PostgresError = asyncpg.PostgresError.new({"C": state, "M": "said the server", "V": severity})
    return error


def met(error: BaseException) -> StoreError:
    """What a caller meets whose commit met that error."""
    with pytest.raises(StoreError) as told, translated(), committing():
        raise error
    return told.value


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        asyncpg.InternalClientError("got result for unknown protocol state"),
        ConnectionResetError("reset by peer"),
        TimeoutError(),
        WaitForStandbyCancelled("canceling wait for synchronous replication due to user request"),
        answered("57P01", "FATAL"),
        answered("57P02", "FATAL"),
        answered("57P01"),
        answered("XX000", "PANIC"),
    ],
    ids=lambda error: f"{type(error).__name__}",
)
def test_what_was_sent_and_not_answered_is_unknown(error: BaseException) -> None:
    assert type(met(error)) is CommitUnknown


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (asyncpg.InternalClientError("cannot switch to state 12; another operation (2) in progress"), StoreUnavailable),
        (answered("57014"), Overloaded),
        (answered("40001"), TransientConflict),
        (answered("55P03"), TransientConflict),
        (answered("42703"), SchemaOutOfDate),
        (answered("42883"), SchemaOutOfDate),
        (answered("53100"), StoreUnavailable),
        (answered("25006"), StoreUnavailable),
        (answered("23514"), StoreError),
        (NothingSent("the connection was lost before anything was sent"), StoreUnavailable),
        (asyncpg.InterfaceError("connection is closed"), StoreUnavailable),
        (StoreUnavailable("no connection could be made"), StoreUnavailable),
    ],
)
def test_what_was_answered_or_never_sent_is_not_unknown(error: BaseException, kind: type[StoreError]) -> None:
    assert type(met(error)) is kind


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("25006", Unavailable.READ_ONLY),
        ("53100", Unavailable.DISK_FULL),
        ("53300", Unavailable.TOO_MANY_CONNECTIONS),
        ("28000", Unavailable.ACCESS_DENIED),
        ("28P01", Unavailable.ACCESS_DENIED),
        ("42501", Unavailable.ACCESS_DENIED),
        ("26000", Unavailable.TRANSACTION_POOLER),
        ("08006", Unavailable.UNREACHABLE),
        ("57P03", Unavailable.UNREACHABLE),
    ],
)
def test_why_the_database_is_unavailable_is_kept_also_from_process_to_process(state: str, reason: Unavailable) -> None:
    with pytest.raises(StoreUnavailable) as told, translated():
        raise answered(state)
    error = told.value
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert copied.reason is error.reason is reason
    assert str(copied) == str(error)
