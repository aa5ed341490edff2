"""The messages of refusals, for the operator: what is in the way, by which change, when and why.

First those that are resolvers of `message`, one for each refusal; then the parts that they are made of.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import strawberry

from graph.execution.encoding import write_date_time
from graph.schema.commands import DrainBlocked, InvalidInput, PlacementImpossible
from persistence.model.outcomes import (
    IdempotencyKeyReused,
    NodeInUse,
    NotFound,
    PlanClosed,
    PolicyViolation,
    StaleNamespace,
    StaleNode,
    StalePlan,
    StalePlanned,
    StaleShard,
    VersionConflict,
    stale_planned_message,
)
from persistence.model.plans import PlanStatus
from persistence.model.policy import broken_rule_message
from persistence.model.records import Change, ChangeKind, ShardKey
from persistence.planning.proposal import Violation

_LISTED: Final = 3
"""Names in a list, and then how many more there are."""

_DID: Final = {
    ChangeKind.CREATE_SHARDS: "created it",
    ChangeKind.UPDATE_SHARDS: "changed it",
    ChangeKind.DELETE_SHARDS: "deleted it",
    ChangeKind.CONFIGURE_NAMESPACE: "configured it",
    ChangeKind.REGISTER_NODE: "registered it",
    ChangeKind.UPDATE_NODE: "changed it",
    ChangeKind.DRAIN_NODE: "drained it",
    ChangeKind.PLAN_REBALANCE: "planned it",
    ChangeKind.APPLY_PLAN: "moved it by a plan",
    ChangeKind.APPROVE_PLAN: "approved it",
    ChangeKind.REJECT_PLAN: "rejected it",
    ChangeKind.STOP_PLAN: "stopped it",
    ChangeKind.ROLLBACK_CHANGE: "planned to roll it back",
    ChangeKind.COMPACT_HISTORY: "compacted it",
}


def invalid_input(parent: strawberry.Parent[InvalidInput]) -> str:
    first = parent.errors[0]
    return f"{first.field} {first.message}" + _more(len(parent.errors) - 1)


def version_conflict(parent: strawberry.Parent[VersionConflict]) -> str:
    return _stale_shards(parent.stale)


def stale_namespace(parent: strawberry.Parent[StaleNamespace]) -> str:
    name, expected = parent.name, parent.expected
    if parent.current is None:
        return f"namespace {name} does not exist, so it is not at version {expected}; to create it expect 0"
    if expected == 0:
        return f"namespace {name} exists already, at version {parent.actual}{_by(parent.last_change)}"
    return f"namespace {name} is at version {parent.actual}, not {expected}{_by(parent.last_change)}"


def policy_violation(parent: strawberry.Parent[PolicyViolation]) -> str:
    first = parent.violations[0]
    message = broken_rule_message(
        first.rule, first.namespace, first.shard_id, first.actual, first.allowed, first.remedy.removesuffix(".")
    )
    return message + _more(len(parent.violations) - 1 + parent.omitted)


def not_found(parent: strawberry.Parent[NotFound]) -> str:
    if parent.namespaces:
        return no_namespace(parent.namespaces)
    if parent.nodes:
        return f"there is no node {_listed(parent.nodes)}; registerNode registers one"
    if parent.plans:
        return f"there is no plan {_listed(parent.plans)}; planRebalance makes one"
    if parent.changes:
        return f"there is no change {_listed(parent.changes)}, neither of this id nor under this ticket"
    return f"there is no shard {_listed([_shard_name(key) for key in parent.shards])}"


def no_namespace(names: Sequence[str], nearest: str | None = None) -> str:
    """`nearest` is the name that may have been meant."""
    advice = "configureNamespace creates one" if nearest is None else f"did you mean {nearest}?"
    return f"there is no namespace {_listed(names)}; {advice}"


def key_reused(parent: strawberry.Parent[IdempotencyKeyReused]) -> str:
    change = parent.change
    return (
        f"idempotency key {parent.key} belongs to another request, which became change {change.id} by {change.actor} "
        f"at {write_date_time(change.committed_at)}; use a new key for a new request"
    )


def stale_node(parent: strawberry.Parent[StaleNode]) -> str:
    name = f"node {parent.node_id}"
    if parent.current is None:
        return f"{name} is not registered, so it is not at version {parent.expected}"
    at = f"is registered already, at version {parent.actual}"
    if parent.expected > 0:
        at = f"is at version {parent.actual}, not {parent.expected}"
    return f"{name} {at}{_by(parent.last_change)}; it is {parent.current.status} now"


def node_in_use(parent: strawberry.Parent[NodeInUse]) -> str:
    node = parent.node
    counts = (("owns", node.shard_count), ("leads", node.leader_count))
    held = " and ".join(f"{verb} {'1 shard' if count == 1 else f'{count:,} shards'}" for verb, count in counts if count)
    return f"node {node.node_id} still {held}; drain it, and apply a plan that vacates it"


def drain_blocked(parent: strawberry.Parent[DrainBlocked]) -> str:
    preflight = parent.preflight
    why = _violations(preflight.blockers)
    return f"node {preflight.node_ids[0]} cannot be vacated: {why}; to drain it all the same, accept the blockers"


def placement_impossible(parent: strawberry.Parent[PlacementImpossible]) -> str:
    return f"no namespace can be placed: {_violations(parent.violations)}"


def stale_plan(parent: strawberry.Parent[StalePlan]) -> str:
    return f"plan {parent.plan.id} does not fit any more: {'; '.join(_changes(parent))}; make a new plan"


def plan_closed(parent: strawberry.Parent[PlanClosed]) -> str:
    plan = parent.plan
    name, by_whom = f"plan {plan.id}", f"by {plan.latest.actor} {_when_and_why(plan.latest)}"
    match plan.status:
        case PlanStatus.EXPIRED:
            return f"{name} could be begun until {write_date_time(plan.expires_at)}; plan again"
        case PlanStatus.SUPERSEDED:
            newer = plan.latest.rebalance.plan_id if plan.latest.rebalance else "a newer one"
            return f"{name} gave way to plan {newer}, {by_whom}"
        case PlanStatus.STOPPED:
            return f"{name} is STOPPED, {by_whom}; to go on with it, apply it with resume"
        case PlanStatus.PROPOSED:
            return f"{name} is PROPOSED: none of its moves was made, there is nothing to stop"
        case PlanStatus.APPROVED:
            return f"{name} is APPROVED, {by_whom}: none of its moves was made"
    return f"{name} is {plan.status} already, {by_whom}"


def _changes(stale: StalePlan) -> Iterator[str]:
    """What has happened since the plan was made."""
    if stale.shards:
        yield _stale_shard(stale.shards[0], numbered=True) + _more(len(stale.shards) - 1)
    for what, conflicts in (("namespace", stale.namespace_conflicts), ("node", stale.node_conflicts)):
        if conflicts:
            yield _stale_planned(what, conflicts[0]) + _more(len(conflicts) - 1)


def _stale_planned(what: str, stale: StalePlanned) -> str:
    """For example `node node-1 is at version 5, not 3: weight 1 -> 2, by alice in change 17 at ... (CHG-42: why)`."""
    return stale_planned_message(
        what,
        stale.name,
        stale.expected,
        stale.actual,
        [(one.name, one.previous, one.current) for one in stale.changed_fields],
        None if stale.last_change is None else _in_change(stale.last_change),
    )


def _in_change(change: Change) -> str:
    return f"by {change.actor} in change {change.id} {_when_and_why(change)}"


def _violations(violations: Sequence[Violation]) -> str:
    """The first of them, and how many more there are. One about a shard names it, one about a namespace does not."""
    first = violations[0]
    name = f"{first.namespace}: " if first.shard_id is None else ""
    return f"{name}{first.message}" + _more(len(violations) - 1)


def _by(change: Change | None, *, numbered: bool = False) -> str:
    """For example `: alice changed it at 2026-01-31T09:30:00Z (CHG-42: drain node-1)`."""
    if change is None:
        return ""
    number = f" in change {change.id}" if numbered else ""
    return f": {change.actor} {_DID[change.kind]}{number} {_when_and_why(change)}"


def _when_and_why(change: Change) -> str:
    """For example `at 2026-01-31T09:30:00Z (CHG-42: drain node-1)`."""
    ticket = f"{change.change_ticket}: " if change.change_ticket else ""
    return f"at {write_date_time(change.committed_at)} ({ticket}{change.reason})"


def _stale_shards(stale: Sequence[StaleShard]) -> str:
    """The first of them, and how many more there are."""
    return _stale_shard(stale[0]) + _more(len(stale) - 1)


def _stale_shard(stale: StaleShard, *, numbered: bool = False) -> str:
    """`numbered`: with the id of the change."""
    name, by = f"shard {_shard_name(stale.key)}", _by(stale.last_change, numbered=numbered)
    if stale.current is None:
        return f"{name} is gone, so it is not at version {stale.expected}{by}"
    at = f"exists already, at version {stale.actual}"
    if stale.expected > 0:
        fields = f" ({', '.join(stale.changed_fields)})" if stale.changed_fields else ""
        at = f"is at version {stale.actual}, not {stale.expected}{fields}"
    return f"{name} {at}{by}; {stale.current.owner_node_id} owns it now"


def _shard_name(key: ShardKey) -> str:
    return f"{key.namespace}/{key.shard_id}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + _more(len(names) - _LISTED)


def _more(count: int) -> str:
    return f" (and {count:,} more)" if count > 0 else ""
