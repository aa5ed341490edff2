"""What an operator is told when a change of a node or a rebalance is refused; see also `refusals.py`."""

from collections.abc import Iterator, Sequence

import strawberry

from graph.outcomes import DrainBlocked, PlacementImpossible
from graph.scalars import write_date_time
from graph.sentences import by, listed, more, stale_shards, when_and_why
from persistence.outcomes import NodeInUse, PlanClosed, StaleNode, StalePlan
from persistence.planning.proposal import Violation
from persistence.records import PlanStatus


def stale_node(parent: strawberry.Parent[StaleNode]) -> str:
    name = f"node {parent.node_id}"
    if parent.current is None:
        return f"{name} is not registered, so it is not at version {parent.expected}"
    at = f"is registered already, at version {parent.actual}"
    if parent.expected > 0:
        at = f"is at version {parent.actual}, not {parent.expected}"
    return f"{name} {at}{by(parent.last_change)}; it is {parent.current.status} now"


def node_in_use(parent: strawberry.Parent[NodeInUse]) -> str:
    count = parent.node.shard_count
    shards = "1 shard" if count == 1 else f"{count:,} shards"
    return f"node {parent.node.node_id} still owns {shards}; drain it, and apply a plan that vacates it"


def drain_blocked(parent: strawberry.Parent[DrainBlocked]) -> str:
    preflight = parent.preflight
    why = _violations(preflight.blockers)
    return f"node {preflight.node_id} cannot be vacated: {why}; to drain it all the same, accept the blockers"


def placement_impossible(parent: strawberry.Parent[PlacementImpossible]) -> str:
    return f"no namespace can be placed: {_violations(parent.violations)}"


def stale_plan(parent: strawberry.Parent[StalePlan]) -> str:
    return f"plan {parent.plan.id} does not fit any more: {'; '.join(_changes(parent))}; make a new plan"


def plan_closed(parent: strawberry.Parent[PlanClosed]) -> str:
    plan = parent.plan
    name, by_whom = f"plan {plan.id}", f"by {plan.latest.actor} {when_and_why(plan.latest)}"
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
        yield stale_shards(stale.shards)
    if stale.namespaces:
        yield f"reconfigured since: namespace {listed(stale.namespaces)}"
    if stale.node_ids:
        yield f"not ACTIVE any more: node {listed(stale.node_ids)}"


def _violations(violations: Sequence[Violation]) -> str:
    """The first of them, and how many more there are. One about a shard names it, one about a namespace does not."""
    first = violations[0]
    name = f"{first.namespace}: " if first.shard_id is None else ""
    return f"{name}{first.message}" + more(len(violations) - 1)
