"""The demo mesh at its beginning: nodes, namespaces, and every shard but one where its strategy wants it.

region      nodes
eu-west     node-eu-1, node-eu-2; later node-eu-3
us-east     node-us-1, node-us-2
ap-south    node-ap-1, node-ap-2
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from persistence.commands import NewShard
from persistence.policy import NamespacePolicy
from strategies.model import Node, Shard
from strategies.registry import Registry

SHARDS_EACH: Final = 512
NAMESPACES: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "orders": ("ring", {"virtualNodes": 256}),
    "sessions": ("rendezvous", {}),
    "telemetry": ("locality", {"mode": "prefer"}),
}
POLICY: Final = NamespacePolicy(move_budget_percent=25)
"""Enough to vacate a node in one change: each has some 17 % of the shards."""
BY_HAND: Final = {"orders-007": "node-us-1"}
"""Near its customer, and not where its strategy wants it: explainShard says so, and a plan would take it back."""

_REGIONS: Final = {"eu": "eu-west", "us": "us-east", "ap": "ap-south"}


def _node(place: str, number: int) -> Node:
    region = _REGIONS[place]
    return Node(f"node-{place}-{number}", 1, region, f"{region}-{number}", {"disk": "ssd"})


NODES: Final = tuple(_node(place, number) for place in _REGIONS for number in (1, 2))
NEWCOMER: Final = _node("eu", 3)


def demo_shards() -> Sequence[NewShard]:
    """The ownership table the story begins with."""
    return [shard for name in NAMESPACES for shard in _placed(name)]


def _placed(namespace: str) -> Iterator[NewShard]:
    """A namespace's shards, each with its best node as owner and the best of the others as leader."""
    placer = Registry().placer(*NAMESPACES[namespace], NODES)
    regions = tuple(_REGIONS.values())
    for number in range(SHARDS_EACH):
        hint = regions[number % len(regions)] if namespace == "telemetry" else None
        shard = Shard(f"{namespace}-{number:03}", locality_hint=hint)
        ranked = placer.rank(namespace, shard)
        owner = BY_HAND.get(shard.shard_id, ranked[0])
        leader = next(node_id for node_id in ranked if node_id != owner)
        yield NewShard(namespace, shard.shard_id, owner, leader, locality_hint=hint)
