"""Where the shards of one namespace belong, and which of them have to move for that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import numpy as np

from persistence.model.records import MoveReason, Namespace, Node, NodeStatus
from persistence.planning.anti_affinity import Separated, separate
from persistence.planning.proposal import Move, Violation
from persistence.planning.snapshot import PlacedShard
from strategies import model
from strategies.checking import PlacementFailed
from strategies.model import Infeasible, taken
from strategies.placing import Placer
from strategies.registry import Registry

_VACATED: Final = {
    NodeStatus.REMOVED: MoveReason.OWNER_REMOVED,
    NodeStatus.DOWN: MoveReason.OWNER_DOWN,
    NodeStatus.DRAINING: MoveReason.OWNER_DRAINING,
}

_BOUNDS: Final = frozenset({"maxLoadPercent", "maxShardsPerNode"})

Held: TypeAlias = Mapping[str, Sequence[float]]
"""The capacities of shards, by node id."""


@dataclass(frozen=True, slots=True)
class NamespacePlacement:
    """`targets` are node ids in the order of `shards`, empty where there is no placement because of `violations`.

    The target of a shard that stays in any case is its strategy's first choice, bounds aside. `obstacles` has, for each
    node that may not own shards here, the reason.
    """

    namespace: Namespace
    shards: Sequence[PlacedShard]
    placer: Placer | None
    targets: Sequence[str]
    moves: Sequence[Move]
    violations: Sequence[Violation]
    obstacles: Mapping[str, str] = field(default_factory=dict)
    separated: Separated = field(default_factory=Separated)


def place_namespace(
    namespace: Namespace, shards: Sequence[PlacedShard], nodes: Mapping[str, Node], strategies: Registry
) -> NamespacePlacement:
    """The one path by which owners are decided: plans, simulations and explanations all come through here."""
    active = _active(nodes.values())
    try:
        placer = _placer(namespace, active, strategies)
        batch = model.Shards.of(namespace.name, map(strategy_shard, shards))
        unbounded = _owners(_unbounded(namespace, active, strategies) if placer.bounded else placer, batch)
        targets, separated = _targets(placer, namespace, shards, batch, unbounded, nodes)
    except (Infeasible, PlacementFailed) as reason:
        violation = Violation("NO_PLACEMENT", namespace.name, None, None, str(reason))
        return NamespacePlacement(namespace, shards, None, (), (), (violation,))
    eligible = {node.node_id for node in placer.nodes}
    moves = tuple(_moves(namespace, shards, targets, unbounded, nodes, eligible, separated))
    obstacles = {node_id: obstacle(node, eligible) for node_id, node in nodes.items() if node_id not in eligible}
    placement = NamespacePlacement(namespace, shards, placer, targets, moves, (), obstacles, separated)
    violations = (*_misplaced_pins(placement, nodes), *separated.violations, *_overfull_by_rules(placement))
    return replace(placement, violations=violations)


def placer_of(namespace: Namespace, nodes: Iterable[Node], strategies: Registry) -> Placer | None:
    """Null where the namespace cannot be placed."""
    try:
        return _placer(namespace, _active(nodes), strategies)
    except (Infeasible, PlacementFailed):
        return None


def held_after(placement: NamespacePlacement, moves: Sequence[Move]) -> Held:
    """What each eligible node owns of the namespace once `moves` (others' are ignored) have been made."""
    target = {move.shard_id: move.to_node_id for move in moves if move.namespace == placement.namespace.name}
    held: dict[str, list[float]] = {node.node_id: [] for node in placement.placer.nodes} if placement.placer else {}
    for shard in placement.shards:
        owner = target.get(shard.shard_id, shard.owner_node_id)
        if owner in held:
            held[owner].append(shard.capacity_hint)
    return held


def stays(shard: PlacedShard, owner: Node | None) -> str | None:
    """Why the shard stays where it is, whatever its strategy prefers; None if nothing holds it."""
    if shard.pinned:
        return "PINNED"
    # A cordoned node takes nothing and gives nothing away.
    return "CORDONED" if owner is not None and owner.status is NodeStatus.CORDONED else None


def obstacle(node: Node, eligible: set[str]) -> str:
    """Why this node may not be given shards of the namespace."""
    if node.status is not NodeStatus.ACTIVE:
        return f"it is {node.status}"
    return "" if node.node_id in eligible else "the namespace's selector does not match it"


def strategy_node(node: Node) -> model.Node:
    return model.Node(node.node_id, node.weight, node.region, node.zone, node.labels)


def strategy_shard(shard: PlacedShard) -> model.Shard:
    return model.Shard(shard.shard_id, shard.capacity_hint, shard.locality_hint)


def _active(nodes: Iterable[Node]) -> Sequence[model.Node]:
    return [strategy_node(node) for node in nodes if node.status is NodeStatus.ACTIVE]


def _placer(namespace: Namespace, active: Sequence[model.Node], strategies: Registry) -> Placer:
    """Raises Infeasible, PlacementFailed."""
    if problem := strategies.problem(namespace.strategy):
        raise Infeasible(problem)
    here = strategies[namespace.strategy].algorithm_version
    if here != namespace.algorithm_version:
        raise Infeasible(
            f"it was configured for version {namespace.algorithm_version} of {namespace.strategy}, "
            f"this server has version {here}: configure it again"
        )
    for name, problem in strategies.parameter_problems(namespace.strategy, namespace.strategy_parameters):
        raise Infeasible(f"strategyParameters.{name} {problem}")
    return strategies.placer(namespace.strategy, namespace.strategy_parameters, active)


def _owners(placer: Placer, batch: model.Shards) -> Sequence[str]:
    node_ids = [node.node_id for node in placer.nodes]
    return [node_ids[position] for position in placer.owners(batch).tolist()]


def _unbounded(namespace: Namespace, active: Sequence[model.Node], strategies: Registry) -> Placer:
    """As if no node could be full: so a shard that its owner has no room for differs from others."""
    free = {name: value for name, value in namespace.strategy_parameters.items() if name not in _BOUNDS}
    return strategies.placer(namespace.strategy, free, active)


def _targets(
    placer: Placer,
    namespace: Namespace,
    shards: Sequence[PlacedShard],
    batch: model.Shards,
    unbounded: Sequence[str],
    nodes: Mapping[str, Node],
) -> tuple[Sequence[str], Separated]:
    """The strategy's node for each shard, given the others: first those of groups, then what the bounds leave."""
    grouped = any(shard.group is not None for shard in shards)
    if not grouped and not placer.bounded:
        return unbounded, Separated()
    staying = {position for position, shard in enumerate(shards) if stays(shard, nodes.get(shard.owner_node_id))}
    separated = separate(namespace.name, shards, unbounded, staying, placer) if grouped else Separated()
    targets = list(unbounded)
    for position, target in separated.targets.items():
        targets[position] = target
    return _bounded(placer, shards, batch, targets, staying, separated) if placer.bounded else targets, separated


def _bounded(
    placer: Placer,
    shards: Sequence[PlacedShard],
    batch: model.Shards,
    settled: Sequence[str],
    staying: Collection[int],
    separated: Separated,
) -> list[str]:
    """The owners of the shards that nothing holds, given what the nodes must hold; of the others as in `settled`.

    What stays on a node that takes part counts towards its bounds, and so does what a group puts there: groups come
    first, for they have fewer nodes to choose from. What stays elsewhere counts nowhere: as long as it is there, it
    takes no other shard's room.
    """
    occupied: dict[str, list[float]] = {node.node_id: [] for node in placer.nodes}
    free: list[int] = []
    for position, shard in enumerate(shards):
        if position in staying or position in separated.stuck:
            where = shard.owner_node_id
        elif position in separated.targets:
            where = separated.targets[position]
        else:
            free.append(position)
            continue
        if where in occupied:
            occupied[where].append(shard.capacity_hint)
    held = {node_id: capacities for node_id, capacities in occupied.items() if capacities}
    node_ids = [node.node_id for node in placer.nodes]
    some = batch if len(free) == len(shards) else taken(batch, np.array(free, np.intp))
    targets = list(settled)
    for position, owner in zip(free, placer.owners(some, held).tolist(), strict=True):
        targets[position] = node_ids[owner]
    return targets


def _moves(
    namespace: Namespace,
    shards: Sequence[PlacedShard],
    targets: Sequence[str],
    unbounded: Sequence[str],
    nodes: Mapping[str, Node],
    eligible: set[str],
    separated: Separated,
) -> Iterator[Move]:
    for position, (shard, target, first) in enumerate(zip(shards, targets, unbounded, strict=True)):
        if target == shard.owner_node_id or stays(shard, nodes.get(shard.owner_node_id)) or position in separated.stuck:
            continue
        # A shard that its group sends elsewhere has not met a bound.
        preferred = target if position in separated.targets else first
        reason = _reason(namespace, shard, nodes.get(shard.owner_node_id), eligible, preferred)
        yield Move(namespace.name, shard.shard_id, shard.version, shard.owner_node_id, target, reason)


def _reason(
    namespace: Namespace, shard: PlacedShard, owner: Node | None, eligible: set[str], preferred: str
) -> MoveReason:
    status = NodeStatus.REMOVED if owner is None else owner.status
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
        owner = nodes.get(shard.owner_node_id)
        status = NodeStatus.REMOVED if owner is None else owner.status
        if shard.pinned and status in _VACATED:
            name = f"{namespace.name}/{shard.shard_id}"
            message = f"{name} is pinned to {shard.owner_node_id}, which is {status}: unpin it to move it"
            yield Violation("PINNED_TO_UNAVAILABLE", namespace.name, shard.shard_id, shard.owner_node_id, message)
