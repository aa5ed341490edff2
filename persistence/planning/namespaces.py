"""Where the shards of one namespace belong, and which of them have to move for that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import numpy as np

from persistence.model.records import MoveReason, Namespace, Node, NodeStatus
from persistence.planning.anti_affinity import Separated, room_beside, separate
from persistence.planning.proposal import LeaderChange, Move, Violation
from persistence.planning.scope import EVERYTHING, PlanScope
from persistence.planning.snapshot import PlacedShard
from persistence.planning.targets import (
    Wanted,
    owners_beside,
    stays,
    strategy_node,
    strategy_shard,
    targets_of,
    wanted_owners,
)
from strategies import model
from strategies.bounded import NOWHERE
from strategies.checking import PlacementFailed
from strategies.constraints import CONSTRAINTS
from strategies.model import Infeasible
from strategies.placing import Placer
from strategies.registry import DEFAULT_STRATEGY, Registry

_VACATED: Final = {
    NodeStatus.REMOVED: MoveReason.OWNER_REMOVED,
    NodeStatus.DOWN: MoveReason.OWNER_DOWN,
    NodeStatus.DRAINING: MoveReason.OWNER_DRAINING,
}

_UNLED: Final = {
    NodeStatus.REMOVED: MoveReason.LEADER_REMOVED,
    NodeStatus.DOWN: MoveReason.LEADER_DOWN,
    NodeStatus.DRAINING: MoveReason.LEADER_DRAINING,
}

_COPIES: Final = frozenset({"replicas", "spread"})

MAX_LISTED: Final = 1_000
"""Shards of a namespace that find no room, listed one by one."""

Held: TypeAlias = Mapping[str, Sequence[float]]
"""The capacities of shards, by node id."""


@dataclass(frozen=True, slots=True)
class NamespacePlacement:
    """`targets` are node ids in the order of `shards`, empty where there is no placement because of `violations`, or
    none is needed.

    The target of a shard that stays in any case is its strategy's first choice, bounds aside. `obstacles` has, for each
    node that may not own shards here, the reason. `stopgap`: the namespace has no placement, and only nodes that are to
    be vacated lose shards, and the lead of others; the targets of all others are their owners. `placer` is null, and
    `targets` are empty, where no node may own any.
    """

    namespace: Namespace
    shards: Sequence[PlacedShard]
    placer: Placer | None
    targets: Sequence[str]
    moves: Sequence[Move]
    violations: Sequence[Violation]
    obstacles: Mapping[str, str] = field(default_factory=dict)
    separated: Separated = field(default_factory=Separated)
    stopgap: bool = False


def place_namespace(
    namespace: Namespace,
    shards: Sequence[PlacedShard],
    nodes: Mapping[str, Node],
    strategies: Registry,
    scope: PlanScope = EVERYTHING,
    threshold: int | None = None,
) -> NamespacePlacement:
    """The one path by which owners are decided: plans, simulations and explanations all come through here.

    Shards outside `scope` stay, and take the room that they take. `threshold` is for strategies that keep owners.
    """
    if not scope.is_everything and not _is_concerned(shards, nodes, scope):
        return NamespacePlacement(namespace, shards, None, (), (), ())
    active = [strategy_node(node) for node in nodes.values() if node.status is NodeStatus.ACTIVE]
    if problem := _configuration_problem(namespace, strategies):
        return _nothing_placed(namespace, shards, problem)
    try:
        placer = strategies.placer(namespace.strategy, namespace.strategy_parameters, active)
        batch = model.Shards.of(namespace.name, map(strategy_shard, shards))
        wanted = wanted_owners(placer, namespace, shards, batch, active, strategies, threshold)
        return _placed(wanted, namespace, shards, nodes, scope)
    except (Infeasible, PlacementFailed) as reason:
        return _stopgap(namespace, shards, nodes, strategies, scope, str(reason)) or _nothing_placed(
            namespace, shards, str(reason)
        )


def _is_concerned(shards: Sequence[PlacedShard], nodes: Mapping[str, Node], scope: PlanScope) -> bool:
    """Whether a shard may be moved, or be led by another, as far as that is known without placing any: what is on nodes
    that are not to be vacated may have to go elsewhere for any of the other reasons."""
    by_status = {*_VACATED.values(), *_UNLED.values()}
    by_placement = not scope.only_reasons or not by_status.issuperset(scope.only_reasons)
    known: dict[tuple[str, bool], bool] = {}

    def concerns(node_id: str, reasons: Mapping[NodeStatus, MoveReason]) -> bool:
        key = node_id, reasons is _UNLED
        if key not in known:
            reason = reasons.get(_status(nodes.get(node_id)))
            known[key] = scope.vacates(node_id) and (by_placement if reason is None else scope.allows(reason))
        return known[key]

    return any(
        concerns(shard.owner_node_id, _VACATED) or (shard.leader_id is not None and concerns(shard.leader_id, _UNLED))
        for shard in shards
    )


def _placed(
    wanted: Wanted,
    namespace: Namespace,
    shards: Sequence[PlacedShard],
    nodes: Mapping[str, Node],
    scope: PlanScope,
) -> NamespacePlacement:
    """Raises Infeasible."""
    placer = wanted.placer
    eligible = {node.node_id for node in placer.nodes}
    outside = set() if scope.is_everything else set(_outside(namespace, shards, wanted.first, nodes, eligible, scope))
    while True:
        targets, separated = targets_of(wanted, namespace, shards, nodes, outside)
        kept = outside | set(separated.stuck)
        moves = tuple(_moves(namespace, shards, targets, wanted.first, nodes, eligible, separated, kept, scope))
        refused = {move.shard_id for move in moves if move.changes_owner and not scope.allows(move.reason)}
        if not refused:
            break
        # What a group or a bound moves for another reason stays after all, and takes its room: so others may have to go
        # elsewhere.
        outside |= {position for position, shard in enumerate(shards) if shard.shard_id in refused}
    obstacles = {node_id: obstacle(node, eligible) for node_id, node in nodes.items() if node_id not in eligible}
    placement = NamespacePlacement(namespace, shards, placer, targets, moves, (), obstacles, separated)
    violations = (*_misplaced_pins(placement, nodes), *separated.violations, *_overfull_by_rules(placement))
    if not scope.is_everything:
        violations = tuple(_concerning(violations, shards, moves, outside, scope))
    return replace(placement, violations=violations)


def placer_of(namespace: Namespace, nodes: Iterable[Node], strategies: Registry) -> Placer | None:
    """Null where the namespace cannot be placed."""
    if _configuration_problem(namespace, strategies):
        return None
    active = [strategy_node(node) for node in nodes if node.status is NodeStatus.ACTIVE]
    try:
        return strategies.placer(namespace.strategy, namespace.strategy_parameters, active)
    except (Infeasible, PlacementFailed):
        return None


def _outside(
    namespace: Namespace,
    shards: Sequence[PlacedShard],
    first: Sequence[str],
    nodes: Mapping[str, Node],
    eligible: set[str],
    scope: PlanScope,
) -> Iterator[int]:
    """The positions of shards that are not to be moved: their owner is not to be vacated, or they could only be moved
    for other reasons."""
    for position, (shard, choice) in enumerate(zip(shards, first, strict=True)):
        if not scope.vacates(shard.owner_node_id):
            yield position
        elif scope.only_reasons:
            owner = nodes.get(shard.owner_node_id)
            possible = {_reason(namespace, shard, owner, eligible, choice)}
            if shard.group is not None:
                # Its group may send it away from its first choice.
                possible.add(_reason(namespace, shard, owner, eligible, ""))
            if not any(map(scope.allows, possible)):
                yield position


def _concerning(
    violations: Sequence[Violation],
    shards: Sequence[PlacedShard],
    moves: Sequence[Move],
    outside: Collection[int],
    scope: PlanScope,
) -> Iterator[Violation]:
    """What a narrowed plan has to do with: shards in its scope, nodes that it moves shards to."""
    others = {shards[position].shard_id for position in outside}
    filled = {move.to_node_id for move in moves if move.changes_owner}
    for violation in violations:
        if violation.shard_id is None:
            if violation.node_id in filled:
                yield violation
        elif violation.shard_id not in others and scope.vacates(violation.node_id or ""):
            yield violation


def _stopgap(
    namespace: Namespace,
    shards: Sequence[PlacedShard],
    nodes: Mapping[str, Node],
    strategies: Registry,
    scope: PlanScope,
    reason: str,
) -> NamespacePlacement | None:
    """Where there is no placement because of `reason`: the shards of nodes that are to be vacated, as many as there is
    room for beside all others, which stay, and are led by others than such nodes. Null if that is nothing.

    Placed by the namespace's strategy for an owner alone, without regard to replicas; or by rendezvous, where that
    cannot place over these nodes at all.
    """
    homeless = {
        position: _VACATED[status]
        for position, shard in enumerate(shards)
        if (status := _status(nodes.get(shard.owner_node_id))) in _VACATED
        and not shard.pinned
        and scope.vacates(shard.owner_node_id)
        and scope.allows(_VACATED[status])
    }
    active = [strategy_node(node) for node in nodes.values() if node.status is NodeStatus.ACTIVE]
    given = {name: value for name, value in namespace.strategy_parameters.items() if name not in _COPIES}
    constraints = {name: value for name, value in given.items() if name in CONSTRAINTS}
    for strategy, parameters in ((namespace.strategy, given), (DEFAULT_STRATEGY, constraints)):
        try:
            placer = strategies.placer(strategy, parameters, active)
            return _vacated(placer, namespace, shards, nodes, homeless, scope, reason)
        except (Infeasible, PlacementFailed):
            continue
    return _led(namespace, shards, nodes, scope, reason)


def _led(
    namespace: Namespace, shards: Sequence[PlacedShard], nodes: Mapping[str, Node], scope: PlanScope, reason: str
) -> NamespacePlacement | None:
    """Where no node may own the shards: those that stay are led by others than nodes that are to be vacated. Null if
    all are.

    A selector that matches none is no wish for shards without leaders.
    """
    unfit = _unfit_to_lead(shards, nodes, None)
    led = (_led_elsewhere(namespace, shard, unfit, scope) for shard in shards)
    moves = tuple(move for move in led if move is not None)
    if not moves:
        return None
    violation = Violation("NO_PLACEMENT", namespace.name, None, None, f"{reason}; {_meanwhile(0, 0, len(moves))}")
    return NamespacePlacement(namespace, shards, None, (), moves, (violation,), stopgap=True)


def _vacated(
    placer: Placer,
    namespace: Namespace,
    shards: Sequence[PlacedShard],
    nodes: Mapping[str, Node],
    homeless: Mapping[int, MoveReason],
    scope: PlanScope,
    reason: str,
) -> NamespacePlacement | None:
    """Raises PlacementFailed."""
    staying = set(range(len(shards))) - homeless.keys()
    batch = model.Shards.of(namespace.name, map(strategy_shard, shards))
    separated = _separated(placer, namespace, shards, batch, homeless, staying)
    found = owners_beside(placer, shards, batch, staying, separated, partly=True)
    node_ids = [node.node_id for node in placer.nodes]
    homes = {position: node_ids[owner] for position, owner in found.items() if owner != NOWHERE}
    homes |= separated.targets
    eligible = {node.node_id for node in placer.nodes}
    moves = tuple(_vacating_moves(namespace, shards, homes, homeless, _unfit_to_lead(shards, nodes, eligible), scope))
    if not moves:
        return None
    targets = [homes.get(position, shard.owner_node_id) for position, shard in enumerate(shards)]
    left = [shards[position] for position in sorted(homeless.keys() - homes.keys())]
    obstacles = {node_id: obstacle(node, eligible) for node_id, node in nodes.items() if node_id not in eligible}
    placement = NamespacePlacement(namespace, shards, placer, targets, moves, (), obstacles, separated, stopgap=True)
    meanwhile = _meanwhile(len(homes), len(left), sum(not move.changes_owner for move in moves))
    violations = (
        Violation("NO_PLACEMENT", namespace.name, None, None, f"{reason}; {meanwhile}"),
        *_misplaced_pins(placement, nodes),
        *_without_room(namespace.name, left, nodes),
    )
    return replace(placement, violations=violations)


def _vacating_moves(
    namespace: Namespace,
    shards: Sequence[PlacedShard],
    homes: Mapping[int, str],
    homeless: Mapping[int, MoveReason],
    unfit: Mapping[str | None, MoveReason],
    scope: PlanScope,
) -> Iterator[Move]:
    for position, shard in enumerate(shards):
        if (home := homes.get(position)) is not None:
            leader = _leader_after(shard, home, unfit)
            owner, reason = shard.owner_node_id, homeless[position]
            yield Move(namespace.name, shard.shard_id, shard.version, owner, home, reason, leader=leader)
        elif (led := _led_elsewhere(namespace, shard, unfit, scope)) is not None:
            yield led


def _separated(
    placer: Placer,
    namespace: Namespace,
    shards: Sequence[PlacedShard],
    batch: model.Shards,
    homeless: Collection[int],
    staying: Collection[int],
) -> Separated:
    """The nodes of shards of groups; those that would only find a full one, or none, are stuck."""
    grouped = [position for position in sorted(homeless) if shards[position].group is not None]
    if not grouped:
        return Separated()
    first = [shard.owner_node_id for shard in shards]
    choices = placer.first_choices(model.taken(batch, np.array(grouped, np.intp)))
    for position, choice in zip(grouped, choices.tolist(), strict=True):
        first[position] = placer.nodes[choice].node_id
    separated = separate(namespace.name, shards, first, staying, placer)
    targets: dict[int, str] = {}
    room = room_beside(shards, staying, placer)
    for position, target in separated.targets.items():
        if room.is_open(target):
            room.take(target, shards[position].capacity_hint)
            targets[position] = target
    return Separated(targets, set(grouped) - targets.keys())


def _meanwhile(moved: int, left: int, led: int) -> str:
    if not moved and not left:
        replaced = "the leader of 1 shard is" if led == 1 else f"the leaders of {led:,} shards are"
        return f"until then only {replaced} replaced"
    rest = f", {left:,} more find no room" if left else ""
    others = f"; the leader{'s' * (led > 1)} of {led:,} other{'s are' if led > 1 else ' is'} replaced" if led else ""
    return f"until then only nodes that are to be vacated are: {moved:,} of their shards can be moved{rest}{others}"


def _without_room(namespace: str, left: Sequence[PlacedShard], nodes: Mapping[str, Node]) -> Iterator[Violation]:
    for shard in left[:MAX_LISTED]:
        owner, status = shard.owner_node_id, _status(nodes.get(shard.owner_node_id))
        message = f"{namespace}/{shard.shard_id} stays on {owner}, which is {status}: no other node has room for it"
        yield Violation("NO_PLACEMENT", namespace, shard.shard_id, owner, message)
    if len(left) > MAX_LISTED:
        message = f"{len(left) - MAX_LISTED:,} more shards stay where they are: no other node has room for them"
        yield Violation("NO_PLACEMENT", namespace, None, None, message)


def _nothing_placed(namespace: Namespace, shards: Sequence[PlacedShard], reason: str) -> NamespacePlacement:
    violation = Violation("NO_PLACEMENT", namespace.name, None, None, reason)
    return NamespacePlacement(namespace, shards, None, (), (), (violation,))


def _status(node: Node | None) -> NodeStatus:
    return NodeStatus.REMOVED if node is None else node.status


def held_after(placement: NamespacePlacement, moves: Sequence[Move]) -> Held:
    """What each eligible node owns of the namespace once `moves` (others' are ignored) have been made."""
    target = {move.shard_id: move.to_node_id for move in moves if move.namespace == placement.namespace.name}
    held: dict[str, list[float]] = {node.node_id: [] for node in placement.placer.nodes} if placement.placer else {}
    for shard in placement.shards:
        owner = target.get(shard.shard_id, shard.owner_node_id)
        if owner in held:
            held[owner].append(shard.capacity_hint)
    return held


def obstacle(node: Node, eligible: set[str]) -> str:
    """Why this node may not be given shards of the namespace."""
    if node.status is not NodeStatus.ACTIVE:
        return f"it is {node.status}"
    return "" if node.node_id in eligible else "the namespace's selector does not match it"


def _configuration_problem(namespace: Namespace, strategies: Registry) -> str | None:
    """Why this server cannot place the namespace, whatever nodes there are; another one may."""
    if problem := strategies.problem(namespace.strategy):
        return problem
    here = strategies[namespace.strategy].algorithm_version
    if here != namespace.algorithm_version:
        return (
            f"it was configured for version {namespace.algorithm_version} of {namespace.strategy}, "
            f"this server has version {here}: configure it again"
        )
    problems = strategies.parameter_problems(namespace.strategy, namespace.strategy_parameters)
    return next((f"strategyParameters.{name} {problem}" for name, problem in problems), None)


def _moves(
    namespace: Namespace,
    shards: Sequence[PlacedShard],
    targets: Sequence[str],
    unbounded: Sequence[str],
    nodes: Mapping[str, Node],
    eligible: set[str],
    separated: Separated,
    kept: Collection[int],
    scope: PlanScope,
) -> Iterator[Move]:
    unfit = _unfit_to_lead(shards, nodes, eligible)
    for position, (shard, target, first) in enumerate(zip(shards, targets, unbounded, strict=True)):
        owner = shard.owner_node_id
        if target == owner or stays(shard, nodes.get(owner)) or position in kept:
            if (led := _led_elsewhere(namespace, shard, unfit, scope)) is not None:
                yield led
            continue
        # A shard that its group sends elsewhere has not met a bound.
        preferred = target if position in separated.targets else first
        reason = _reason(namespace, shard, nodes.get(owner), eligible, preferred)
        leader = _leader_after(shard, target, unfit)
        yield Move(namespace.name, shard.shard_id, shard.version, owner, target, reason, leader=leader)


def _led_elsewhere(
    namespace: Namespace, shard: PlacedShard, unfit: Mapping[str | None, MoveReason], scope: PlanScope
) -> Move | None:
    """The move of a shard that stays and whose leader, which is another node, is not to lead any more."""
    owner, leader_id = shard.owner_node_id, shard.leader_id
    if leader_id is None or leader_id == owner or leader_id not in unfit:
        return None
    if not scope.vacates(leader_id) or not scope.allows(reason := unfit[leader_id]):
        return None
    leader = _leader_after(shard, owner, unfit)
    return Move(namespace.name, shard.shard_id, shard.version, owner, owner, reason, leader=leader)


def _unfit_to_lead(
    shards: Sequence[PlacedShard], nodes: Mapping[str, Node], eligible: set[str] | None
) -> Mapping[str | None, MoveReason]:
    """Of the nodes that own or lead these shards those that may not lead any, and why. A cordoned one keeps what it
    has. `eligible` null: where no node is, so that it means nothing."""
    unfit: dict[str | None, MoveReason] = {}
    leaders = {shard.leader_id for shard in shards if shard.leader_id is not None}
    for node_id in leaders | {shard.owner_node_id for shard in shards}:
        node = nodes.get(node_id)
        status = NodeStatus.REMOVED if node is None else node.status
        if status in _UNLED:
            unfit[node_id] = _UNLED[status]
        elif status is NodeStatus.ACTIVE and eligible is not None and node_id not in eligible:
            unfit[node_id] = MoveReason.LEADER_INELIGIBLE
    return unfit


def _leader_after(shard: PlacedShard, owner_after: str, unfit: Mapping[str | None, MoveReason]) -> LeaderChange | None:
    """Null where the leader stays. An owner that leads does so wherever the shard is moved. Another leader is replaced
    where its node is unfit: by the owner, or by none where the owner is unfit itself."""
    leader, owner = shard.leader_id, shard.owner_node_id
    if leader is None or (owner == owner_after if leader == owner else leader not in unfit):
        return None
    return LeaderChange(leader, None if owner_after in unfit else owner_after)


def _reason(
    namespace: Namespace, shard: PlacedShard, owner: Node | None, eligible: set[str], preferred: str
) -> MoveReason:
    status = _status(owner)
    if status in _VACATED:
        return _VACATED[status]
    if shard.owner_node_id not in eligible:
        return MoveReason.OWNER_INELIGIBLE
    if preferred == shard.owner_node_id:
        return MoveReason.OWNER_OVERLOADED
    if shard.strategy != namespace.strategy:
        return MoveReason.STRATEGY_CHANGED
    return MoveReason.PLACEMENT_CHANGED


def _overfull_by_rules(placement: NamespacePlacement) -> Iterator[Violation]:
    """Nodes that are above a bound when all is done, because of what is pinned to them, or what groups put there."""
    placer, name = placement.placer, placement.namespace.name
    pinned = Counter(shard.owner_node_id for shard in placement.shards if shard.pinned)
    grouped = Counter(placement.separated.targets.values())
    if placer is None or not placer.bounded or not (pinned or grouped):
        return
    for node_id, message in placer.exceeded(held_after(placement, placement.moves)):
        for count, what in ((pinned[node_id], "pinned"), (grouped[node_id], "kept apart from others")):
            if count:
                because = f"{count:,} of its shards {'is' if count == 1 else 'are'} {what}"
                yield Violation("BOUND_EXCEEDED", name, None, node_id, f"{message}: {because}")
                break


def _misplaced_pins(placement: NamespacePlacement, nodes: Mapping[str, Node]) -> Iterator[Violation]:
    """Pins that keep a shard on a node that is to be vacated."""
    namespace = placement.namespace
    for shard in placement.shards:
        status = _status(nodes.get(shard.owner_node_id))
        if shard.pinned and status in _VACATED:
            name = f"{namespace.name}/{shard.shard_id}"
            message = f"{name} is pinned to {shard.owner_node_id}, which is {status}: unpin it to move it"
            yield Violation("PINNED_TO_UNAVAILABLE", namespace.name, shard.shard_id, shard.owner_node_id, message)
