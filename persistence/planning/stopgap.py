"""What is moved in a namespace that its strategy cannot place: shards and leaders of nodes that are to be vacated."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from persistence.model.records import MoveReason, Namespace, Node, NodeStatus
from persistence.planning.anti_affinity import Separated, separate
from persistence.planning.leaders import leader_after, led_elsewhere, unfit_to_lead
from persistence.planning.placement import VACATING_REASONS, NamespacePlacement, misplaced_pins, obstacle, status_of
from persistence.planning.proposal import Move, Violation
from persistence.planning.scope import PlanScope
from persistence.planning.snapshot import PlacedShard
from persistence.planning.targets import (
    owners_beside,
    strategy_node,
    strategy_shard,
)
from strategies import model
from strategies.bounded import NOWHERE
from strategies.checking import PlacementFailed
from strategies.constraints import CONSTRAINTS
from strategies.model import Infeasible
from strategies.placing import Placer
from strategies.registry import DEFAULT_STRATEGY, Registry

_COPIES: Final = frozenset({"replicas", "spread"})

MAX_LISTED: Final = 1_000
"""Shards of a namespace that find no room, listed one by one."""


def place_stopgap(
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
        position: VACATING_REASONS[status]
        for position, shard in enumerate(shards)
        if (status := status_of(nodes.get(shard.owner_node_id))) in VACATING_REASONS
        and not shard.pinned
        and scope.vacates(shard.owner_node_id)
        and scope.allows(VACATING_REASONS[status])
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

    A selector that matches none does not mean that shards are to be without leaders.
    """
    unfit = unfit_to_lead(shards, nodes, None)
    led = (led_elsewhere(namespace, shard, unfit, scope) for shard in shards)
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
    moves = tuple(_vacating_moves(namespace, shards, homes, homeless, unfit_to_lead(shards, nodes, eligible), scope))
    if not moves:
        return None
    targets = [homes.get(position, shard.owner_node_id) for position, shard in enumerate(shards)]
    left = [shards[position] for position in sorted(homeless.keys() - homes.keys())]
    obstacles = {node_id: obstacle(node, eligible) for node_id, node in nodes.items() if node_id not in eligible}
    placement = NamespacePlacement(namespace, shards, placer, targets, moves, (), obstacles, separated, stopgap=True)
    meanwhile = _meanwhile(len(homes), len(left), sum(not move.changes_owner for move in moves))
    violations = (
        Violation("NO_PLACEMENT", namespace.name, None, None, f"{reason}; {meanwhile}"),
        *misplaced_pins(placement, nodes),
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
            leader = leader_after(shard, home, unfit)
            owner, reason = shard.owner_node_id, homeless[position]
            yield Move(namespace.name, shard.shard_id, shard.version, owner, home, reason, leader=leader)
        elif (led := led_elsewhere(namespace, shard, unfit, scope)) is not None:
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
    node_ids = [node.node_id for node in placer.nodes]
    for position, choice in zip(grouped, choices.tolist(), strict=True):
        first[position] = node_ids[choice]
    targets = separate(namespace.name, shards, first, staying, placer, even_on_full=False).targets
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
        owner, status = shard.owner_node_id, status_of(nodes.get(shard.owner_node_id))
        message = f"{namespace}/{shard.shard_id} stays on {owner}, which is {status}: no other node has room for it"
        yield Violation("NO_PLACEMENT", namespace, shard.shard_id, owner, message)
    if len(left) > MAX_LISTED:
        message = f"{len(left) - MAX_LISTED:,} more shards stay where they are: no other node has room for them"
        yield Violation("NO_PLACEMENT", namespace, None, None, message)
