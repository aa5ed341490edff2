"""The planner: from a snapshot to a proposal, and what its moves do to namespaces and nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import fsum
from typing import Any, Final

from persistence.model.fields import MAX_SHARDS_PER_CHANGE
from persistence.model.records import Node
from persistence.planning.namespaces import place_namespace
from persistence.planning.proposal import (
    Move,
    NodeLoad,
    PlannedNamespace,
    PlannedNode,
    Proposal,
    Violation,
    inputs_digest,
    placement_digest,
)
from persistence.planning.schedule import schedule
from persistence.planning.scope import EVERYTHING, PlanScope
from persistence.planning.snapshot import PlacedShard, PlacementSnapshot, snapshot_inputs
from strategies.registry import Registry

MAX_MOVES: Final = MAX_SHARDS_PER_CHANGE
"""A plan is applied as one change, so it holds what one change can."""


class PlacementImpossible(Exception):
    """None of the namespaces can be placed. `violations` are the reasons, one for each."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{violation.namespace}: {violation.message}" for violation in violations))

    def __reduce__(self) -> tuple[type[PlacementImpossible], tuple[Sequence[Violation]]]:
        """Exceptions are pickled by the arguments of Exception, which here are not the constructor's."""
        return PlacementImpossible, (self.violations,)


def propose(
    snapshot: PlacementSnapshot,
    strategies: Registry,
    *,
    max_moves: int = MAX_MOVES,
    scope: PlanScope = EVERYTHING,
    threshold: int | None = None,
) -> Proposal:
    """The moves that bring every shard to the node that its strategy prefers, as far as pins and cordons let it.

    A namespace that cannot be placed is left alone, but for shards of nodes that are to be vacated and find room, and
    listed among the violations. Raises PlacementImpossible if no shard can be placed of any that `scope` concerns.

    `scope` narrows it, `threshold` balances the namespaces whose strategy keeps owners.
    """
    nodes = {node.node_id: node for node in snapshot.nodes}
    placements = [
        place_namespace(namespace, snapshot.shards[namespace.name], nodes, strategies, scope, threshold)
        for namespace in snapshot.namespaces
    ]
    violations = [violation for placement in placements for violation in placement.violations]
    if violations and all(placement.placer is None and not placement.moves for placement in placements):
        raise PlacementImpossible(violations)  # what the scope does not concern has no placer either, and no violations
    placers = {placement.namespace.name: placement.placer for placement in placements}
    needed = [move for placement in placements for move in placement.moves]
    order = schedule(snapshot, needed, placers, max_moves)
    return Proposal(
        max((namespace.revision for namespace in snapshot.namespaces), default=0),
        inputs_digest(*snapshot_inputs(snapshot), [max_moves], *_narrowed_inputs(scope, threshold)),
        tuple(planned_namespaces(snapshot, order.moves)),
        order.moves,
        len(needed) - len(order.moves),
        tuple(node_loads(snapshot.shards, order.moves, nodes)),
        (*violations, *order.violations),
        tuple(planned_nodes(order.moves, nodes)),
        together=order.together,
        waves=order.waves,
        scope=None if scope.is_everything else scope,
        threshold=threshold,
    )


def _narrowed_inputs(scope: PlanScope, threshold: int | None) -> Iterator[Sequence[Any]]:
    """Nothing for a plan of everything, whose digest is what it was before there were others."""
    if not scope.is_everything:
        yield ["scope", list(scope.vacate), list(scope.only_reasons)]
    if threshold is not None:
        yield ["threshold", threshold]


def planned_nodes(
    moves: Iterable[Move], nodes: Mapping[str, Node], restored: Iterable[str] = ()
) -> Iterator[PlannedNode]:
    """Those registered that shards, or their leaders, are moved between, by id; also those `restored` as leaders."""
    for node_id in sorted({node_id for move in moves for node_id in move.nodes_touched} | set(restored)):
        if node_id in nodes:
            yield PlannedNode(node_id, nodes[node_id].version, placement_digest(nodes[node_id]))


def planned_namespaces(snapshot: PlacementSnapshot, moves: Iterable[Move]) -> Iterator[PlannedNamespace]:
    moved = Counter(move.namespace for move in moves)
    for space in snapshot.namespaces:
        yield PlannedNamespace(
            space.name,
            space.version,
            space.strategy,
            space.algorithm_version,
            space.parameters_digest,
            space.digest,
            len(snapshot.shards[space.name]),
            moved[space.name],
        )


def node_loads(
    shards: Mapping[str, Sequence[PlacedShard]], moves: Sequence[Move], nodes: Mapping[str, Node]
) -> Iterator[NodeLoad]:
    """By node id. Sums are exact before they are rounded (`fsum`), so they do not depend on the order of shards."""
    made: dict[tuple[str, str], Move] = {move.key: move for move in moves}
    before: dict[str, list[float]] = {node_id: [] for node_id in nodes}
    after: dict[str, list[float]] = {node_id: [] for node_id in nodes}
    for name, placed in shards.items():
        for shard in placed:
            owner, capacity = shard.owner_node_id, shard.capacity_hint
            before.setdefault(owner, []).append(capacity)
            if (move := made.get((name, shard.shard_id))) is not None:
                owner = move.to_node_id
                capacity = capacity if move.restore is None else move.restore.capacity_hint
            after.setdefault(owner, []).append(capacity)
    for node_id in sorted(before.keys() | after.keys()):
        had, has = before.get(node_id, []), after.get(node_id, [])
        yield NodeLoad(node_id, len(had), len(has), _sum(had), _sum(has))


def _sum(capacities: Sequence[float]) -> float:
    """Bounded: capacities are finite, and so must their sum be, or JSON could not write it."""
    try:
        return fsum(capacities)
    except OverflowError:
        return _LARGEST


_LARGEST: Final = 1.7976931348623157e308
