"""What an operator is told when a change is refused: one sentence that says what, who, when and why."""

from collections.abc import Sequence

import strawberry

from graph.outcomes import InvalidInput
from graph.scalars import write_date_time
from graph.sentences import by, listed, more, shard_name, stale_shards
from persistence.outcomes import IdempotencyKeyReused, NotFound, PolicyViolation, StaleNamespace, VersionConflict
from persistence.records import ShardKey


def invalid_input(parent: strawberry.Parent[InvalidInput]) -> str:
    first = parent.errors[0]
    return f"{first.field} {first.message}" + more(len(parent.errors) - 1)


def version_conflict(parent: strawberry.Parent[VersionConflict]) -> str:
    return stale_shards(parent.stale)


def stale_namespace(parent: strawberry.Parent[StaleNamespace]) -> str:
    name, expected = parent.name, parent.expected
    if parent.current is None:
        return f"namespace {name} does not exist, so it is not at version {expected}; to create it expect 0"
    if expected == 0:
        return f"namespace {name} exists already, at version {parent.actual}{by(parent.last_change)}"
    return f"namespace {name} is at version {parent.actual}, not {expected}{by(parent.last_change)}"


def policy_violation(parent: strawberry.Parent[PolicyViolation]) -> str:
    first = parent.violations[0]
    name = first.namespace if first.shard_id is None else shard_name(ShardKey(first.namespace, first.shard_id))
    rest = more(len(parent.violations) - 1 + parent.omitted)
    return f"{first.rule} of {name}: {first.actual}; allowed: {first.allowed}. {first.remedy.removesuffix('.')}{rest}"


def not_found(parent: strawberry.Parent[NotFound]) -> str:
    if parent.namespaces:
        return no_namespace(parent.namespaces)
    if parent.nodes:
        return f"there is no node {listed(parent.nodes)}; registerNode registers one"
    if parent.plans:
        return f"there is no plan {listed(parent.plans)}; planRebalance makes one"
    if parent.changes:
        return f"there is no change {listed(parent.changes)}, neither of this id nor under this ticket"
    return f"there is no shard {listed([shard_name(key) for key in parent.shards])}"


def no_namespace(names: Sequence[str], nearest: str | None = None) -> str:
    """`nearest` is the name that may have been meant."""
    advice = "configureNamespace creates one" if nearest is None else f"did you mean {nearest}?"
    return f"there is no namespace {listed(names)}; {advice}"


def key_reused(parent: strawberry.Parent[IdempotencyKeyReused]) -> str:
    change = parent.change
    return (
        f"idempotency key {parent.key} belongs to another request, which became change {change.id} by {change.actor} "
        f"at {write_date_time(change.committed_at)}; use a new key for a new request"
    )
