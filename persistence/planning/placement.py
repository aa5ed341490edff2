"""The shards of one namespace as they are placed, whether by its strategy or only for the time being."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from persistence.model.records import MoveReason, Namespace, Node, NodeStatus
from persistence.planning.anti_affinity import Separated
from persistence.planning.proposal import Move, Violation
from persistence.planning.snapshot import PlacedShard
from strategies.placing import Placer

VACATING_REASONS: Final = {
    NodeStatus.REMOVED: MoveReason.OWNER_REMOVED,
    NodeStatus.DOWN: MoveReason.OWNER_DOWN,
    NodeStatus.DRAINING: MoveReason.OWNER_DRAINING,
}
"""Why shards are moved off a node of this status."""


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


def status_of(node: Node | None) -> NodeStatus:
    """One that was never registered counts as removed."""
    return NodeStatus.REMOVED if node is None else node.status


def obstacle(node: Node, eligible: set[str]) -> str:
    """Why this node may not be given shards of the namespace."""
    if node.status is not NodeStatus.ACTIVE:
        return f"it is {node.status}"
    return "" if node.node_id in eligible else "the namespace's selector does not match it"


def misplaced_pins(placement: NamespacePlacement, nodes: Mapping[str, Node]) -> Iterator[Violation]:
    """Pins that keep a shard on a node that is to be vacated."""
    namespace = placement.namespace
    for shard in placement.shards:
        status = status_of(nodes.get(shard.owner_node_id))
        if shard.pinned and status in VACATING_REASONS:
            name = f"{namespace.name}/{shard.shard_id}"
            message = f"{name} is pinned to {shard.owner_node_id}, which is {status}: unpin it to move it"
            yield Violation("PINNED_TO_UNAVAILABLE", namespace.name, shard.shard_id, shard.owner_node_id, message)
