"""What moves do to namespaces and nodes: the parts of a proposal that follow from its moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import fsum
from typing import Final

from persistence.planning.proposal import Move, NodeLoad, PlannedNamespace, PlannedNode
from persistence.planning.snapshot import PlacedShard, PlacementSnapshot
from persistence.records import Node


def planned_nodes(moves: Iterable[Move], nodes: Mapping[str, Node]) -> Iterator[PlannedNode]:
    """Those registered that shards are moved between, by id."""
    touched = {node_id for move in moves if move.changes_owner for node_id in (move.from_node_id, move.to_node_id)}
    for node_id in sorted(touched):
        if node_id in nodes:
            yield PlannedNode(node_id, nodes[node_id].version)


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
