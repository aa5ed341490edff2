"""Which nodes hold the copies of a shard: the owner, and those after it in rank, spread over zones or regions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final

from strategies.model import Node

# Zones of the same name in two regions are two zones. Nodes that tell no zone (region) count as in one of their own.
_DOMAINS: Final[Mapping[str, Callable[[Node], Hashable]]] = {
    "none": lambda node: node.node_id,
    "zone": lambda node: (node.region, node.zone),
    "region": lambda node: node.region,
}


def choose_replicas(owner: Node, rank: Sequence[Node], count: int, spread: str) -> Sequence[Node]:
    """`count` distinct nodes, at most as many as `rank` has: the owner, then each time the first in rank, not yet
    chosen, whose zone or region (`spread`) has been chosen least often."""
    domain = _DOMAINS[spread]
    chosen = [owner]
    used = Counter([domain(owner)])
    rest = [node for node in rank if node.node_id != owner.node_id]
    while len(chosen) < count:
        # `min` keeps the first of equals, which is the best in rank.
        best = min(rest, key=lambda node: used[domain(node)])
        rest.remove(best)
        chosen.append(best)
        used[domain(best)] += 1
    return chosen
