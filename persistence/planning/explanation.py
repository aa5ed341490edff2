"""Why a shard is where it is, and where it would go: from the plan of its namespace, computed as every plan is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from persistence.model.fields import MAX_SHARDS_PER_CHANGE
from persistence.model.outcomes import BrokenRule
from persistence.model.policy import PolicyRule
from persistence.model.records import MoveReason, Namespace, Node, NodeStatus
from persistence.planning.namespaces import place_namespace
from persistence.planning.placement import NamespacePlacement
from persistence.planning.proposal import Move, Violation
from persistence.planning.schedule import Order, schedule
from persistence.planning.snapshot import PlacedShard, PlacementSnapshot
from persistence.planning.targets import stays, strategy_shard
from persistence.planning.waves import wave_moves
from strategies.registry import Registry


@dataclass(frozen=True, slots=True)
class Candidate:
    """One node, for one shard. `rank` counts from 1, null for a node that may not own it, with the `obstacle`."""

    node_id: str
    rank: int | None
    status: NodeStatus
    weight: int
    region: str | None
    zone: str | None
    obstacle: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """`target_node_id` is null where there is no placement; `move` is what a plan of its namespace that is made now,
    with the default of moves, would do with the shard, `number` (from 1) which of its moves that is, of `planned`, and
    `wave` in which of `waves` it would be made. Of the moves up to it, `limited` are such as its policy limits.

    `stays` is why it is left where it is although its strategy prefers another node: PINNED, CORDONED, ANTI_AFFINITY
    where no node is left for its group, or LATER_PLAN where the moves of the plan come first. `waits` are the rules
    that keep the move from being made now. `later` is the move that a later plan would make.
    """

    namespace: Namespace
    shard: PlacedShard
    target_node_id: str | None
    move: Move | None
    stays: str | None
    candidates: tuple[Candidate, ...]
    replica_node_ids: tuple[str, ...]
    violations: tuple[Violation, ...]
    number: int | None = None
    limited: int = 0
    planned: int = 0
    wave: int | None = None
    waves: int = 0
    waits: tuple[BrokenRule, ...] = ()
    later: Move | None = None

    @property
    def summary(self) -> str:
        """The answer for an operator, as text."""
        name, owner = f"{self.namespace.name}/{self.shard.shard_id}", self.shard.owner_node_id
        if self.target_node_id is None:
            why = "; ".join(violation.message for violation in self.violations)
            return " ".join([f"{name} is on {owner}. It cannot be placed: {why}.{self._led}", *self._when])
        if self.target_node_id == owner:
            where = f"{name} is on {owner}, where {self.namespace.strategy} places it.{self._led}"
            return " ".join([where, *self._when])
        wanted = f"{name} is on {owner}, {self.namespace.strategy} places it on {self.target_node_id}"
        if self.stays == "LATER_PLAN":
            return f"{wanted}. A later plan moves it: the next one has {self.planned:,} moves, which come first."
        if self.move is None or not self.move.changes_owner:
            stays = f"{wanted}. It stays, because {_STAYS[self.stays or ''].format(owner=owner)}.{self._led}"
            return " ".join([stays, *self._when])
        moves = f"The next plan moves it: {self._taken or _BECAUSE[self.move.reason].format(owner=owner)}.{self._led}"
        return " ".join([f"{wanted}. {moves}", *self._when])

    @property
    def _when(self) -> Iterator[str]:
        """What its move has to wait for."""
        if self.number is not None and self.wave is not None and self.waves > 1:
            yield f"It is move {self.number:,} of {self.planned:,}, in wave {self.wave:,} of {self.waves:,}."
        for broken in self.waits:
            yield f"It waits: {_WAITS[broken.rule].format(broken=broken)}."

    @property
    def _led(self) -> str:
        """What the plan does about its leader; empty if nothing."""
        if self.later is not None and self.later.leader is not None and not self.later.changes_owner:
            leader, planned = self.later.leader.from_node_id, f"{self.planned:,} moves, which come first"
            return f" It is led by {leader}. A later plan ends that: the next one has {planned}."
        if self.move is None or self.move.leader is None:
            return ""
        leader, after = self.move.leader.from_node_id, self.move.leader.to_node_id
        if self.move.changes_owner:
            return f" {after} leads it then, in place of {leader}."
        because = _BECAUSE[self.move.reason].format(owner=leader)
        return f" It is led by {leader}. The next plan {f'has {after} lead it' if after else 'ends that'}: {because}."

    @property
    def _taken(self) -> str | None:
        """That the owner, which could keep it, is for another shard of its group; null if it is not."""
        owner = self.shard.owner_node_id
        here = next((one for one in self.candidates if one.node_id == owner and one.rank is not None), None)
        return f"{owner} is {here.obstacle}" if here is not None and here.obstacle is not None else None


def explain(
    snapshot: PlacementSnapshot,
    namespace: str,
    shard_id: str,
    strategies: Registry,
    *,
    max_moves: int = MAX_SHARDS_PER_CHANGE,
) -> Explanation | None:
    """None where there is no such shard in the snapshot. The plan that it is explained by holds at most `max_moves`."""
    space = next((space for space in snapshot.namespaces if space.name == namespace), None)
    if space is None:
        return None
    nodes = {node.node_id: node for node in snapshot.nodes}
    placement = place_namespace(space, snapshot.shards[namespace], nodes, strategies)
    position = next((position for position, shard in enumerate(placement.shards) if shard.shard_id == shard_id), None)
    if position is None:
        return None
    shard = placement.shards[position]
    stuck = "ANTI_AFFINITY" if position in placement.separated.stuck else None
    owner = nodes.get(shard.owner_node_id)
    alone = replace(snapshot, namespaces=[space], shards={namespace: snapshot.shards[namespace]})
    order = schedule(alone, placement.moves, {namespace: placement.placer}, max_moves)
    number = next((number for number, move in enumerate(order.moves) if move.shard_id == shard_id), None)
    needed = next((move for move in placement.moves if move.shard_id == shard_id), None)
    if number is None and needed is not None and needed.changes_owner:
        stuck = "LATER_PLAN"
    target: str | None = None
    if placement.stopgap:
        target = needed.to_node_id if needed is not None and needed.changes_owner else None
    elif placement.placer is not None:
        target = placement.targets[position]
    batch = _batch(order, number)
    about = {None, *(move.shard_id for move in batch), shard_id}
    return Explanation(
        space,
        shard,
        target,
        None if number is None else order.moves[number],
        stays(shard, owner) or stuck if target is not None and target != shard.owner_node_id else None,
        tuple(_candidates(placement, position, nodes)),
        _replicas(placement, shard, target),
        tuple(one for one in (*placement.violations, *order.violations) if one.shard_id in about),
        None if number is None else number + 1,
        0 if number is None else sum(map(order.limits[namespace].counts, order.moves[: number + 1])),
        len(order.moves),
        None if number is None else _wave(order, number),
        order.waves,
        later=needed if number is None else None,
    )


def _batch(order: Order, number: int | None) -> Sequence[Move]:
    """The moves that are made together with that one, if any are."""
    for first, count in order.together or ():
        if number is not None and first <= number < first + count:
            return order.moves[first : first + count]
    return ()


def _wave(order: Order, number: int) -> int:
    """From 1."""
    made, wave = 0, 0
    while made <= number:
        made += len(wave_moves(order.moves, order.together, made, order.limits, MAX_SHARDS_PER_CHANGE))
        wave += 1
    return wave


def _candidates(placement: NamespacePlacement, position: int, nodes: Mapping[str, Node]) -> Iterator[Candidate]:
    """Every node: the eligible ones by rank, then the others by id."""
    shard = placement.shards[position]
    others = _group_mates(placement, position)
    ranked: Sequence[str] = ()
    if placement.placer is not None:
        ranked = placement.placer.rank(placement.namespace.name, strategy_shard(shard))
    for rank, node_id in enumerate(ranked, 1):
        other = others.get(node_id)
        yield _candidate(nodes[node_id], rank, None if other is None else f"for {other}, of group {shard.group} too")
    for node_id in sorted(nodes.keys() - set(ranked)):
        node = nodes[node_id]
        unusable = None if node.status is NodeStatus.ACTIVE else f"it is {node.status}"
        yield _candidate(node, None, placement.obstacles.get(node_id) or unusable or "the namespace cannot be placed")


def _candidate(node: Node, rank: int | None, obstacle: str | None) -> Candidate:
    return Candidate(node.node_id, rank, node.status, node.weight, node.region, node.zone, obstacle)


def _group_mates(placement: NamespacePlacement, position: int) -> Mapping[str, str]:
    """The nodes that are for other shards of its group, and for which."""
    group = placement.shards[position].group
    if group is None:
        return {}
    return {
        placement.separated.targets.get(other, shard.owner_node_id): shard.shard_id
        for other, shard in enumerate(placement.shards)
        if other != position and shard.group == group
    }


def _replicas(placement: NamespacePlacement, shard: PlacedShard, target: str | None) -> tuple[str, ...]:
    if placement.placer is None or target is None:
        return ()
    return tuple(placement.placer.replicas(placement.namespace.name, strategy_shard(shard), target))


_STAYS: Mapping[str, str] = {
    "PINNED": "it is pinned",
    "CORDONED": "{owner} is cordoned",
    "ANTI_AFFINITY": "no node is left for its group",
}

_WAITS: Mapping[PolicyRule, str] = {
    PolicyRule.FREEZE: "{broken.namespace} is frozen, which allows {broken.allowed}",
    PolicyRule.WINDOW_BUDGET: "{broken.namespace} allows {broken.allowed}, and it would be {broken.actual}",
    PolicyRule.SHARD_THRASH: "{broken.namespace} allows {broken.allowed}, and it would be {broken.actual}",
    PolicyRule.APPROVAL_REQUIRED: "a plan of {broken.namespace} has to be {broken.allowed}",
}

_BECAUSE: Mapping[MoveReason, str] = {
    MoveReason.OWNER_REMOVED: "{owner} is not registered",
    MoveReason.OWNER_DOWN: "{owner} is DOWN",
    MoveReason.LEADER_REMOVED: "{owner} is not registered",
    MoveReason.LEADER_DOWN: "{owner} is DOWN",
    MoveReason.LEADER_DRAINING: "{owner} is DRAINING",
    MoveReason.LEADER_INELIGIBLE: "the namespace's selector does not match {owner}",
    MoveReason.OWNER_DRAINING: "{owner} is DRAINING",
    MoveReason.OWNER_INELIGIBLE: "the namespace's selector does not match {owner}",
    MoveReason.OWNER_OVERLOADED: "{owner} has reached its bound",
    MoveReason.STRATEGY_CHANGED: "the namespace's strategy has changed since it was placed",
    MoveReason.PLACEMENT_CHANGED: "nodes or parameters have changed since it was placed, or it was placed by hand",
}
