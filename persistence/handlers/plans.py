"""Handlers of the commands on plans: storing, approving, rejecting, stopping and applying them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeAlias

from persistence.commands.plans import ApplyPlan, ApprovePlan, RejectPlan, StopPlan, StorePlan, StoreRollback
from persistence.commands.read_state import InputsRequired, ReadSet, ReadState, StoredPlan
from persistence.commands.write_set import CommitConditions, PlanWrite, WriteSet, write_set
from persistence.errors import FieldError, InvalidArgument
from persistence.handlers.rules.approval import missing_approval, self_approval
from persistence.handlers.rules.policies import check
from persistence.handlers.shards import inputs_required_by_moves, move_shards
from persistence.model.outcomes import (
    NotFound,
    PlanClosed,
    PlanKnown,
    PolicyViolation,
    StalePlan,
    StalePlanned,
    StaleShard,
)
from persistence.model.plans import PlanKind, PlanStatus, RebalancePlan
from persistence.model.records import MoveReason, Namespace, Node, NodeStatus, Rebalance, Shard, ShardKey
from persistence.planning import lifecycle
from persistence.planning.lifecycle import PlanAction
from persistence.planning.proposal import Move, PlannedNamespace, PlannedNode, Proposal, placement_digest
from persistence.planning.waves import change_limit, cuts, unlimited_moves, wave_moves

PlanCommand: TypeAlias = ApplyPlan | ApprovePlan | RejectPlan | StopPlan


def reads_of(command: PlanCommand, held: StoredPlan) -> ReadSet:
    """What the command relies on beside the plan: the configurations of its namespaces, the nodes it moves shards
    between, and those shards. A decision for a rebalance supersedes the older ones of its namespaces."""
    plan, proposal = held.plan, held.proposal
    if plan.status not in lifecycle.OPEN or isinstance(command, RejectPlan | StopPlan):
        return ReadSet()
    moves = _moves_left(command, held)
    decides = plan.status is PlanStatus.PROPOSED and plan.kind is PlanKind.REBALANCE
    return ReadSet(
        older_than=plan.created.id if decides else None,
        namespaces=sorted(namespace.name for namespace in proposal.namespaces),
        nodes=sorted(_targets(moves, {}) | set(_planned_nodes(proposal, moves)) | _gone(moves)),
        shards=[move.key for move in moves],
        moves=isinstance(command, ApplyPlan),
    )


def store_plan(command: StorePlan | StoreRollback, state: ReadState) -> WriteSet | PlanKnown:
    proposal, known = command.proposal, state.plan
    names = [namespace.name for namespace in proposal.namespaces]
    rebalance = Rebalance(proposal.id, len(proposal.moves), proposal.shard_count)
    if known is None:
        return write_set(command, names, proposal=proposal, rebalance=rebalance, lifetime=command.lifetime)
    status = lifecycle.after(known.plan.status, PlanAction.PROPOSE, moves_left=len(proposal.moves))
    if status is not None:
        reopened = PlanWrite(known.plan, status, 0, command.lifetime)
        return write_set(command, names, rebalance=rebalance, plans=(reopened,))
    if command.change.idempotency_key is None:
        return PlanKnown(known.plan)
    # Only a change stores a key: without one, a retry on a mesh that moved on would be given another plan.
    return write_set(command, names, rebalance=rebalance, known=known.plan)


def apply_plan(
    command: ApplyPlan, state: ReadState
) -> WriteSet | InputsRequired | NotFound | PlanClosed | StalePlan | PolicyViolation:
    """`state` holds the plan and everything `reads_of` names. Raises InvalidArgument for a plan without moves."""
    if state.plan is None:
        return NotFound(plans=(command.plan_id,))
    plan = _with_moves(state.plan).plan
    action = _action(command, plan)
    left = _moves_left(command, state.plan)
    if lifecycle.after(plan.status, action, moves_left=len(left)) is None:
        return PlanClosed(plan)
    proposal, recent = state.plan.proposal, state.recent.namespaces
    limits = {
        name: change_limit(namespace.shard_count, namespace.policy, recent.get(name, 0))
        for name, namespace in state.namespaces.items()
    }
    moves = wave_moves(proposal.moves, proposal.together, plan.moves_made, limits, command.max_moves)
    outcome = _wave(command, state, state.plan, moves)
    if isinstance(outcome, PolicyViolation) and command.max_moves is not None:
        urgent = unlimited_moves(proposal.moves, proposal.together, plan.moves_made, limits)[: len(moves)]
        if urgent and isinstance(first := _wave(command, state, state.plan, urgent), WriteSet):
            # What holds up moves of choice does not hold up those before them.
            return first
    return outcome


def _action(command: ApplyPlan, plan: RebalancePlan) -> PlanAction:
    return PlanAction.RESUME if command.resume and plan.moves_made else PlanAction.APPLY


def _wave(
    command: ApplyPlan, state: ReadState, held: StoredPlan, moves: Sequence[Move]
) -> WriteSet | InputsRequired | StalePlan | PolicyViolation:
    """These moves of the plan, as one change."""
    plan = held.plan
    if stale := _stale(held, moves, state):
        return stale
    if state.inputs is None and (required := inputs_required_by_moves(moves, state)):
        return required
    shards = move_shards(moves, state, command.change.change_ticket)
    checked = check(command.change, state, shards, missing_approval(plan, state.namespaces))
    if isinstance(checked, PolicyViolation):
        return checked
    made = plan.moves_made + len(moves)
    status = lifecycle.after(plan.status, _action(command, plan), moves_left=plan.move_count - made) or plan.status
    return write_set(
        command,
        sorted({move.namespace for move in moves}),
        shards=shards,
        rebalance=Rebalance(plan.id, len(moves), plan.shard_count, tuple(older.id for older in state.older)),
        plans=(PlanWrite(plan, status, made), *_superseded(state)),
        conditions=replace(checked, expires_at=_expiry(plan)),
    )


def approve_plan(
    command: ApprovePlan, state: ReadState
) -> WriteSet | NotFound | PlanClosed | StalePlan | PolicyViolation:
    """As `apply_plan`."""
    if state.plan is None:
        return NotFound(plans=(command.plan_id,))
    plan = _with_moves(state.plan).plan
    status = lifecycle.after(plan.status, PlanAction.APPROVE, moves_left=plan.move_count)
    if status is None:
        return PlanClosed(plan)
    if stale := _stale(state.plan, state.plan.proposal.moves, state):
        return stale
    if broken := tuple(self_approval(plan, command.change.actor, state.namespaces)):
        return PolicyViolation(broken)
    rebalance = Rebalance(plan.id, 0, plan.shard_count, tuple(older.id for older in state.older))
    plans = (PlanWrite(plan, status, 0), *_superseded(state))
    before_expiry = CommitConditions(expires_at=_expiry(plan))
    return write_set(command, plan.namespaces, rebalance=rebalance, plans=plans, conditions=before_expiry)


def end_plan(command: RejectPlan | StopPlan, state: ReadState) -> WriteSet | NotFound | PlanClosed:
    """For good, or for now. Raises InvalidArgument for a plan without moves."""
    if state.plan is None:
        return NotFound(plans=(command.plan_id,))
    plan = _with_moves(state.plan).plan
    action = PlanAction.STOP if isinstance(command, StopPlan) else PlanAction.REJECT
    status = lifecycle.after(plan.status, action, moves_left=plan.move_count - plan.moves_made)
    if status is None:
        return PlanClosed(plan)
    rebalance = Rebalance(plan.id, 0, plan.shard_count)
    return write_set(command, plan.namespaces, rebalance=rebalance, plans=(PlanWrite(plan, status, plan.moves_made),))


def _expiry(plan: RebalancePlan) -> datetime | None:
    """By when it must be begun; null once it has been."""
    return plan.expires_at if plan.status in lifecycle.EXPIRING else None


def _with_moves(held: StoredPlan) -> StoredPlan:
    """Raises InvalidArgument for a plan without moves. Applied or not, the same mesh would give the same plan again:
    no state distinguishes the two."""
    if not held.proposal.moves:
        raise InvalidArgument(FieldError("planId", "has no moves: there is nothing to apply"))
    return held


def _moves_left(command: PlanCommand, held: StoredPlan) -> Sequence[Move]:
    """As many as the command can be about."""
    made, proposal = held.plan.moves_made, held.proposal
    left = proposal.moves[made:]
    if not isinstance(command, ApplyPlan) or command.max_moves is None:
        return left
    first = next(cuts(len(proposal.moves), proposal.together, made), made)
    return left[: max(command.max_moves, first - made)]


def _superseded(state: ReadState) -> Iterator[PlanWrite]:
    for older in state.older:
        status = lifecycle.after(older.status, PlanAction.SUPERSEDE, moves_left=older.move_count - older.moves_made)
        if status is not None:
            yield PlanWrite(older, status, older.moves_made)


def _stale(held: StoredPlan, moves: Sequence[Move], state: ReadState) -> StalePlan | None:
    """What has changed of what these moves rely on; other moves of the plan may be stale, and are when they come."""
    stale = StalePlan(
        held.plan,
        tuple(_stale_shards(moves, state)),
        tuple(_stale_namespaces(held.proposal, moves, state)),
        tuple(_stale_nodes(held.proposal, moves, state)),
    )
    return stale if stale.shards or stale.namespace_conflicts or stale.node_conflicts else None


def _stale_shards(moves: Sequence[Move], state: ReadState) -> Iterator[StaleShard]:
    for move in moves:
        current = state.shards.get(move.key)
        if current is None or current.version != move.version:
            yield StaleShard(move.key, move.version, current.version if current else 0, current, None)


def _stale_namespaces(proposal: Proposal, moves: Sequence[Move], state: ReadState) -> Iterator[StalePlanned]:
    """Those that would be placed otherwise by now. Their policies may change: they are kept to as they are then."""
    touched = {move.namespace for move in moves}
    for planned in proposal.namespaces:
        if planned.name not in touched:
            continue
        current = state.namespaces.get(planned.name)
        if current is None or not _places_alike(planned, current):
            yield StalePlanned(planned.name, planned.version, current.version if current else 0)


def _places_alike(planned: PlannedNamespace, current: Namespace) -> bool:
    """Whether the namespace is configured to place as the plan found it."""
    found = current.strategy, current.algorithm_version, current.parameters_digest
    before = planned.strategy, planned.algorithm_version, planned.parameters_digest
    return current.version == planned.version or found == before


def _stale_nodes(proposal: Proposal, moves: Sequence[Move], state: ReadState) -> Iterator[StalePlanned]:
    """Nodes that placement finds otherwise by now, or that may not be given shards."""
    planned, targets = _planned_nodes(proposal, moves), _targets(moves, state.shards)
    gone = _gone(moves)
    for node_id in sorted(planned.keys() | targets | gone):
        node, found = state.nodes.get(node_id), planned.get(node_id)
        if node is None:
            as_found = found is None and node_id not in targets
        elif found is not None:
            as_found = _same(found, node)  # in its status, too: an owner that leads its own shard may be CORDONED
        else:
            as_found = node.status is (NodeStatus.REMOVED if node_id in gone else NodeStatus.ACTIVE)
        if not as_found:
            yield StalePlanned(node_id, found.version if found else 0, node.version if node else 0)


def _same(planned: PlannedNode, node: Node) -> bool:
    """Whether placement finds the node as the plan did. Plans without digests go by its version."""
    return node.version == planned.version or planned.placement_digest == placement_digest(node)


def _planned_nodes(proposal: Proposal, moves: Sequence[Move]) -> dict[str, PlannedNode]:
    """Those that these moves lead to or come from."""
    touched = {node_id for move in moves for node_id in move.nodes_touched} | _targets(moves, {})
    return {node.node_id: node for node in proposal.nodes if node.node_id in touched}


def _gone(moves: Sequence[Move]) -> set[str]:
    """Nodes that were not registered, or removed, when the plan was made: it has no versions of them."""
    owners = {move.from_node_id for move in moves if move.reason is MoveReason.OWNER_REMOVED}
    leaders = (move.leader.from_node_id for move in moves if move.leader and move.reason is MoveReason.LEADER_REMOVED)
    return owners.union(leaders)


def _targets(moves: Sequence[Move], shards: Mapping[ShardKey, Shard]) -> set[str]:
    """The nodes that these moves make owner or leader. `shards`, where they are known, have leaders that stay."""
    given = {node_id for move in moves for node_id in move.nodes_given}
    for move in moves:
        if move.restore is not None and move.restore.leader_id is not None:
            shard = shards.get(move.key)
            if shard is None or shard.leader_id != move.restore.leader_id:
                given.add(move.restore.leader_id)
    return given
