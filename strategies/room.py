"""Whether nodes have room left while shards are given to them one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from strategies.bounds import Bounds
from strategies.model import Node


class Room:
    """`held` are the capacities of shards that the nodes hold already, by node id, `coming` those of all others."""

    def __init__(
        self, bounds: Bounds, nodes: Sequence[Node], held: Mapping[str, Sequence[float]], coming: Sequence[float]
    ) -> None:
        own = [bounds.sizes(held.get(node.node_id, ())) for node in nodes]
        total = sum(map(sum, own)) + sum(bounds.sizes(coming))
        most = sum(map(len, own)) + len(coming) if bounds.max_shards is None else bounds.max_shards
        self._bounds = bounds
        self._counts = {node.node_id: most - len(sizes) for node, sizes in zip(nodes, own, strict=True)}
        full_at = bounds.full_at(total, nodes)
        self._loads = {node.node_id: limit - sum(sizes) for node, sizes, limit in zip(nodes, own, full_at, strict=True)}

    def is_open(self, node_id: str) -> bool:
        """Whether the node is not full, whatever the size of the shard."""
        return self._counts[node_id] > 0 and self._loads[node_id] > 0

    def take(self, node_id: str, capacity: float) -> None:
        self._counts[node_id] -= 1
        self._loads[node_id] -= self._bounds.sizes([capacity])[0]
