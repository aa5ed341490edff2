"""Where the shards of one namespace belong, and which of them have to move for that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from persistence.model.records import MoveReason, Namespace, Node, NodeStatus
from persistence.planning.anti_affinity import Separated
from persistence.planning.leaders import UNLED_REASONS, leader_after, led_elsewhere, unfit_to_lead
from persistence.planning.placement import (
    VACATING_REASONS,
    NamespacePlacement,
    misplaced_pins,
    obstacle,
    status_of,
)
from persistence.planning.proposal import Move, Violation
from persistence.planning.scope import EVERYTHING, PlanScope
from persistence.planning.snapshot import PlacedShard
from persistence.planning.stopgap import place_stopgap
from persistence.planning.targets import (
    Wanted,
    stays,
    strategy_node,
    strategy_shard,
    targets_of,
    wanted_owners,
)
from strategies import model
from strategies.checking import PlacementFailed
from strategies.model import Infeasible
from strategies.placing import Placer
from strategies.registry import Registry


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
        return place_stopgap(namespace, shards, nodes, strategies, scope, str(reason)) or _nothing_placed(
            namespace, shards, str(reason)
        )


def _is_concerned(shards: Sequence[PlacedShard], nodes: Mapping[str, Node], scope: PlanScope) -> bool:
    """Whether a shard may be moved, or be led by another, as far as that is known without placing any: what is on nodes
    that are not to be vacated may have to go elsewhere for any of the other reasons."""
    by_status = {*VACATING_REASONS.values(), *UNLED_REASONS.values()}
    by_placement = not scope.only_reasons or not by_status.issuperset(scope.only_reasons)
    known: dict[tuple[str, bool], bool] = {}

    def concerns(node_id: str, reasons: Mapping[NodeStatus, MoveReason]) -> bool:
        key = node_id, reasons is UNLED_REASONS
        if key not in known:
            reason = reasons.get(status_of(nodes.get(node_id)))
            known[key] = scope.vacates(node_id) and (by_placement if reason is None else scope.allows(reason))
        return known[key]

    return any(
        concerns(shard.owner_node_id, VACATING_REASONS)
        or (shard.leader_id is not None and concerns(shard.leader_id, UNLED_REASONS))
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
    violations = (*misplaced_pins(placement, nodes), *separated.violations, *_overfull_by_rules(placement))
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


def _nothing_placed(namespace: Namespace, shards: Sequence[PlacedShard], reason: str) -> NamespacePlacement:
    violation = Violation("NO_PLACEMENT", namespace.name, None, None, reason)
    return NamespacePlacement(namespace, shards, None, (), (), (violation,))


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
    unfit = unfit_to_lead(shards, nodes, eligible)
    for position, (shard, target, first) in enumerate(zip(shards, targets, unbounded, strict=True)):
        owner = shard.owner_node_id
        if target == owner or stays(shard, nodes.get(owner)) or position in kept:
            if (led := led_elsewhere(namespace, shard, unfit, scope)) is not None:
                yield led
            continue
        # A shard that its group sends elsewhere has not met a bound.
        preferred = target if position in separated.targets else first
        reason = _reason(namespace, shard, nodes.get(owner), eligible, preferred)
        leader = leader_after(shard, target, unfit)
        yield Move(namespace.name, shard.shard_id, shard.version, owner, target, reason, leader=leader)


def _reason(
    namespace: Namespace, shard: PlacedShard, owner: Node | None, eligible: set[str], preferred: str
) -> MoveReason:
    status = status_of(owner)
    if status in VACATING_REASONS:
        return VACATING_REASONS[status]
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
    for node_id, message in placer.exceeded(_held_after(placement)):
        for count, what in ((pinned[node_id], "pinned"), (grouped[node_id], "kept apart from others")):
            if count:
                because = f"{count:,} of its shards {'is' if count == 1 else 'are'} {what}"
                yield Violation("BOUND_EXCEEDED", name, None, node_id, f"{message}: {because}")
                break


def _held_after(placement: NamespacePlacement) -> Mapping[str, Sequence[float]]:
    """The capacities of the shards that each eligible node owns of the namespace once its moves have been made."""
    target = {move.shard_id: move.to_node_id for move in placement.moves}
    held: dict[str, list[float]] = {node.node_id: [] for node in placement.placer.nodes} if placement.placer else {}
    for shard in placement.shards:
        owner = target.get(shard.shard_id, shard.owner_node_id)
        if owner in held:
            held[owner].append(shard.capacity_hint)
    return held
