"""Everything that can go wrong in the store, under one root, each with a stable code.

Expected refusals (a stale version, a missing shard) are not here: they are outcomes, see `model/outcomes.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar


class StoreError(Exception):
    """Root of every error this package raises. `code` is part of the public contract."""

    code: ClassVar[str] = "STORE_ERROR"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field of the input.

    `field` is the path as the caller wrote it, for example `shards[3].capacityHint`.
    """

    field: str
    message: str


class InvalidArgument(StoreError):
    """The caller's input breaks a documented rule; nothing was written."""

    code = "INVALID_ARGUMENT"

    def __init__(self, *errors: FieldError) -> None:
        self.errors = errors
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))

    def __reduce__(self) -> tuple[type[InvalidArgument], tuple[FieldError, ...]]:
        """Exceptions are pickled by the arguments of Exception, which here are not the constructor's."""
        return InvalidArgument, self.errors


class BadCursor(InvalidArgument):
    """A cursor that this server did not issue for this connection, or that was damaged on the way."""

    code = "BAD_CURSOR"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(FieldError(field, message))


class PositionUnavailable(StoreError):
    """A position in the change stream that cannot be served. Never answered by skipping."""


class Compacted(PositionUnavailable):
    """The rows after the position were compacted away: list again, then follow from the list's cursor."""

    code = "COMPACTED"

    def __init__(self, requested: int, oldest: int) -> None:
        self.requested = requested
        self.oldest = oldest
        super().__init__(
            f"revision {requested} was compacted; the oldest position that can be served is {oldest}. "
            "List the shards again and follow from the list's cursor."
        )

    def __reduce__(self) -> tuple[type[Compacted], tuple[int, int]]:
        """As that of InvalidArgument."""
        return Compacted, (self.requested, self.oldest)


class FutureCursor(PositionUnavailable):
    """The position is beyond the newest revision."""

    code = "FUTURE_CURSOR"

    def __init__(self, requested: int, head: int) -> None:
        self.requested = requested
        self.head = head
        super().__init__(f"revision {requested} does not exist yet; the newest is {head}.")

    def __reduce__(self) -> tuple[type[FutureCursor], tuple[int, int]]:
        """As that of InvalidArgument."""
        return FutureCursor, (self.requested, self.head)


class EpochMismatch(PositionUnavailable):
    """The cursor belongs to another history: the store was restored or replaced since it was issued, or lost its end
    in a failover. With the epoch that is current, it is the change named by the cursor that is not there."""

    code = "EPOCH_MISMATCH"

    def __init__(self, requested: str, current: str) -> None:
        self.requested = requested
        self.current = current
        problem = (
            f"the cursor belongs to stream {requested}, this is stream {current}: the store was restored or replaced, "
            "or lost changes in a failover"
            if requested != current
            else f"the change that the cursor names is not in stream {current}: it was lost in a failover, or the "
            "cursor is of a release whose cursors named none"
        )
        super().__init__(f"{problem}. List the shards again and follow from the list's cursor.")

    def __reduce__(self) -> tuple[type[EpochMismatch], tuple[str, str]]:
        """As that of InvalidArgument."""
        return EpochMismatch, (self.requested, self.current)


class FutureRevision(PositionUnavailable):
    """A revision was requested with `atLeast` that no server has: it was lost, or is of another store."""

    code = "FUTURE_REVISION"

    def __init__(self, requested: int, head: int) -> None:
        self.requested = requested
        self.head = head
        super().__init__(
            f"revision {requested} does not exist: the newest is {head}. It is of another store, or was lost with an "
            "old primary. Read without atLeast, and go on from what that answers."
        )

    def __reduce__(self) -> tuple[type[FutureRevision], tuple[int, int]]:
        """As that of InvalidArgument."""
        return FutureRevision, (self.requested, self.head)


class StaleRead(StoreError):
    """The server could not reach the revision requested with `atLeast` in time."""

    code = "STALE_READ"

    def __init__(self, requested: int, reached: int) -> None:
        self.requested = requested
        self.reached = reached
        super().__init__(f"revision {requested} was asked for, this server has reached {reached}. Try again shortly.")


class TransientConflict(StoreError):
    """A serialization failure or deadlock: the transaction did nothing and may simply be run again."""

    code = "TRANSIENT_CONFLICT"


class Deadlock(TransientConflict):
    """Of two transactions that waited for one another, the database ended this one."""


class RowsLocked(TransientConflict):
    """Another session has a row locked that was to be written; which one is seen when it is read again."""


class Unavailable(StrEnum):
    """Why the database cannot be used. Part of the public contract, as `extensions.reason`."""

    UNREACHABLE = "UNREACHABLE"  # no answer, a refused or broken connection, starting up
    ACCESS_DENIED = "ACCESS_DENIED"  # role, password, privileges, or a database that takes no connections
    TOO_MANY_CONNECTIONS = "TOO_MANY_CONNECTIONS"  # it takes no more of them
    DISK_FULL = "DISK_FULL"
    READ_ONLY = "READ_ONLY"  # a standby, or a primary that was set to take no writes
    AWAITING_STANDBY = "AWAITING_STANDBY"  # commits wait for a synchronous standby that does not confirm them
    TRANSACTION_POOLER = "TRANSACTION_POOLER"  # a pooler gives the session of this process to others
    SESSION_SETTINGS = "SESSION_SETTINGS"  # a setting of the session cannot be had


class StoreUnavailable(StoreError):
    """The database cannot be reached or broke off, and nothing of this request was committed."""

    code = "UNAVAILABLE"

    def __init__(self, message: str, reason: Unavailable = Unavailable.UNREACHABLE) -> None:
        self.reason = reason
        super().__init__(message)


class CommitUnknown(StoreUnavailable):
    """A commit was sent and not answered, or is there and not known to be on the standby: it may have been made, and
    may be lost. The same request, with its key, finds out."""

    code = "COMMIT_UNKNOWN"


class Fenced(StoreUnavailable):
    """The database is on an older timeline than one this process has seen: an old primary that came back."""

    code = "FENCED"


class Overloaded(StoreError):
    """A bound on waiting or on work under way was met; nothing was written. Try again after `retry_after` seconds."""

    code = "OVERLOADED"

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(message)

    def __reduce__(self) -> tuple[type[Overloaded], tuple[str, float]]:
        """As that of InvalidArgument."""
        return type(self), (str(self), self.retry_after)


@dataclass(frozen=True, slots=True)
class LockHolder:
    """A session of the database that holds a lock. `state` is `pg_stat_activity`'s; it and `since`, when its
    transaction began, are null where the role of this program may not see them."""

    pid: int
    application_name: str
    state: str | None
    since: datetime | None

    def __str__(self) -> str:
        since = None if self.since is None else f"since {self.since.isoformat(timespec='seconds')}"
        known = ", ".join(filter(None, (self.application_name, self.state, since)))
        return f"process {self.pid}" + (f" ({known})" if known else "")


class Locked(Overloaded):
    """Rows that a change writes are locked by a session that is none of a change; nothing was written.

    `rows` are namespaces and `namespace/shard`; `holders` is empty where they are not known.
    """

    code = "LOCKED"

    def __init__(self, rows: Sequence[str], holders: Sequence[LockHolder], retry_after: float = 1.0) -> None:
        self.rows = tuple(rows)
        self.holders = tuple(holders)
        first, others = self.rows[:3], len(self.rows[3:])
        named = ", ".join(first) + (f" and {others} more" if others else "")
        by = " and ".join(map(str, self.holders)) or "another session"
        super().__init__(f"locked in the database: {named}, by {by}; nothing was written", retry_after)

    def __reduce__(self) -> tuple[type[Locked], tuple[tuple[str, ...], tuple[LockHolder, ...], float]]:  # type: ignore[override]
        """As that of InvalidArgument."""
        return Locked, (self.rows, self.holders, self.retry_after)


class PlanCorrupt(StoreError):
    """The document that is stored under a plan's id is not the one that was reviewed. None of it is done or shown."""

    code = "PLAN_CORRUPT"

    def __init__(self, plan_id: str, problem: str) -> None:
        self.plan_id = plan_id
        self.problem = problem
        super().__init__(f"plan {plan_id} is not as it was stored: {problem}. Plan again; do not trust this one.")

    def __reduce__(self) -> tuple[type[PlanCorrupt], tuple[str, str]]:
        """Exceptions are pickled by the arguments of Exception, which here are not the constructor's."""
        return PlanCorrupt, (self.plan_id, self.problem)


class SchemaOutOfDate(StoreError):
    """The database's migrations are not those this version needs."""

    code = "SCHEMA_OUT_OF_DATE"
