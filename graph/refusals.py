"""What an operator is told when a change is refused: one sentence that says what, who, when and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import strawberry

from graph.scalars import write_date_time
from persistence.errors import FieldError, InvalidArgument
from persistence.outcomes import IdempotencyKeyReused, NotFound, StaleNamespace, StaleShard, VersionConflict
from persistence.records import Change, ChangeKind

_LISTED: Final = 3


@dataclass(frozen=True, slots=True)
class InvalidInput:
    """InvalidArgument as a value: GraphQL takes a returned exception for a raised one."""

    errors: tuple[FieldError, ...]

    @classmethod
    def of(cls, refused: InvalidArgument) -> "InvalidInput":
        return cls(refused.errors)

    @property
    def message(self) -> str:
        first = self.errors[0]
        return f"{first.field} {first.message}" + _more(len(self.errors) - 1)


def version_conflict(parent: strawberry.Parent[VersionConflict]) -> str:
    return _stale(parent.stale[0]) + _more(len(parent.stale) - 1)


def stale_namespace(parent: strawberry.Parent[StaleNamespace]) -> str:
    name, expected = parent.name, parent.expected
    if parent.current is None:
        return f"namespace {name} does not exist, so it is not at version {expected}; to create it expect 0"
    if expected == 0:
        return f"namespace {name} exists already, at version {parent.actual}{_by(parent.last_change)}"
    return f"namespace {name} is at version {parent.actual}, not {expected}{_by(parent.last_change)}"


def not_found(parent: strawberry.Parent[NotFound]) -> str:
    if parent.namespaces:
        return f"there is no namespace {_listed(parent.namespaces)}; configureNamespace creates one"
    return f"there is no shard {_listed([_name(*key) for key in parent.shards])}"


def key_reused(parent: strawberry.Parent[IdempotencyKeyReused]) -> str:
    change = parent.change
    return (
        f"idempotency key {parent.key} belongs to another request, which became change {change.id} by {change.actor} "
        f"at {write_date_time(change.committed_at)}; use a new key for a new request"
    )


def _stale(stale: StaleShard) -> str:
    name = f"shard {_name(*stale.key)}"
    if stale.current is None:
        return f"{name} is gone, so it is not at version {stale.expected}{_by(stale.last_change)}"
    at = f"exists already, at version {stale.actual}"
    if stale.expected > 0:
        at = f"is at version {stale.actual}, not {stale.expected}"
    return f"{name} {at}{_by(stale.last_change)}; {stale.current.owner_node_id} owns it now"


def _by(change: Change | None) -> str:
    """For example `: alice changed it at 2026-01-31T09:30:00Z (CHG-42: drain node-1)`."""
    if change is None:
        return ""
    ticket = f"{change.change_ticket}: " if change.change_ticket else ""
    when = write_date_time(change.committed_at)
    return f": {change.actor} {_DID[change.kind]} at {when} ({ticket}{change.reason})"


_DID: Final = {
    ChangeKind.CREATE_SHARDS: "created it",
    ChangeKind.UPDATE_SHARDS: "changed it",
    ChangeKind.DELETE_SHARDS: "deleted it",
    ChangeKind.CONFIGURE_NAMESPACE: "configured it",
}


def _name(namespace: str, shard_id: str) -> str:
    return f"{namespace}/{shard_id}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + _more(len(names) - _LISTED)


def _more(count: int) -> str:
    return f" (and {count:,} more)" if count > 0 else ""
