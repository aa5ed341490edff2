"""Keeping a plan, and doing what it says."""

from __future__ import annotations

from collections.abc import Iterator

from persistence.decisions.shards import misplaced, move_shard
from persistence.decisions.write_sets import write_set
from persistence.errors import FieldError, InvalidArgument
from persistence.locks import Locks
from persistence.outcomes import NotFound, PlanClosed, PlanKnown, PolicyViolation, StalePlan, StaleShard
from persistence.plan_commands import ApplyPlan, KeepPlan
from persistence.planning.proposal import Proposal
from persistence.records import NodeStatus, PlanStatus, Rebalance
from persistence.writes import LockedState, WriteSet


def locks_of(proposal: Proposal) -> Locks:
    """What a plan relies on: its namespaces' configuration, the nodes it moves shards between, and those shards."""
    return Locks(
        namespaces=sorted(namespace.name for namespace in proposal.namespaces),
        nodes=sorted(_targets(proposal) | {node.node_id for node in proposal.nodes}),
        shards=[move.key for move in proposal.moves],
    )


def keep_plan(command: KeepPlan, state: LockedState) -> WriteSet | PlanKnown:
    proposal, known = command.proposal, state.plan
    names = [namespace.name for namespace in proposal.namespaces]
    if known is None:
        return write_set(command, names, proposal=proposal, rebalance=_rebalance(proposal))
    if command.change.idempotency_key is None:
        return PlanKnown(known.plan)
    # Only a change keeps a key: without one, a retry on a mesh that moved on would be given another plan.
    return write_set(command, names, rebalance=_rebalance(known.proposal))


def apply_plan(
    command: ApplyPlan, state: LockedState
) -> WriteSet | NotFound | PlanClosed | StalePlan | PolicyViolation:
    """`state` holds the plan and everything `locks_of` names. Raises InvalidArgument for a plan without moves."""
    if state.plan is None:
        return NotFound(plans=(command.plan_id,))
    plan, proposal = state.plan.plan, state.plan.proposal
    if not proposal.moves:
        # Applied or not, the same mesh would give the same plan again: there is no state that would tell the two apart.
        raise InvalidArgument(FieldError("planId", "has no moves: there is nothing to apply"))
    if plan.status is not PlanStatus.PROPOSED:
        return PlanClosed(plan)
    stale = StalePlan(
        plan,
        tuple(_stale_shards(proposal, state)),
        tuple(_stale_namespaces(proposal, state)),
        tuple(_stale_nodes(proposal, state)),
    )
    if stale.shards or stale.namespaces or stale.node_ids:
        return stale
    ticket = command.change.change_ticket
    shards = tuple(move_shard(move.key, move.to_node_id, move.reason, state, ticket) for move in proposal.moves)
    names = [namespace.name for namespace in proposal.namespaces]
    return misplaced(command, shards, state) or write_set(command, names, shards=shards, rebalance=_rebalance(proposal))


def _rebalance(proposal: Proposal) -> Rebalance:
    return Rebalance(proposal.id, len(proposal.moves), proposal.shard_count)


def _stale_shards(proposal: Proposal, state: LockedState) -> Iterator[StaleShard]:
    for move in proposal.moves:
        current = state.shards.get(move.key)
        if current is None or current.version != move.version:
            yield StaleShard(move.key, move.version, current.version if current else 0, current, None)


def _stale_namespaces(proposal: Proposal, state: LockedState) -> Iterator[str]:
    for planned in proposal.namespaces:
        current = state.namespaces.get(planned.name)
        if current is None or current.version != planned.version:
            yield planned.name


def _stale_nodes(proposal: Proposal, state: LockedState) -> Iterator[str]:
    """Nodes that were changed, are gone, or may not be given shards any more."""
    planned = {node.node_id: node.version for node in proposal.nodes}
    targets = _targets(proposal)
    for node_id in sorted(planned.keys() | targets):
        node = state.nodes.get(node_id)
        if (
            node is None
            or node.version != planned.get(node_id, node.version)
            or (node_id in targets and node.status is not NodeStatus.ACTIVE)
        ):
            yield node_id


def _targets(proposal: Proposal) -> set[str]:
    return {move.to_node_id for move in proposal.moves}
