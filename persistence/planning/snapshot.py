"""What a plan is computed from: namespaces, nodes and shards at one revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from persistence.model.records import Namespace, Node, StreamPosition


class PlacedShard(NamedTuple):
    """What planning needs of a shard. `pinned`: it has a pin that had not ended when the snapshot was made.
    Shards of one `group` are to be on different nodes.
    """

    shard_id: str
    owner_node_id: str
    version: int
    strategy: str
    capacity_hint: float
    locality_hint: str | None
    pinned: bool
    group: str | None = None
    leader_id: str | None = None


@dataclass(frozen=True, slots=True)
class PlacementSnapshot:
    """One consistent state. `nodes` are all but the removed ones, by id; `shards` are by namespace, each by id.

    The shards of `nodes` are not counted, their counts are 0: planning counts those of the namespaces it is about.
    """

    position: StreamPosition
    namespaces: Sequence[Namespace]
    nodes: Sequence[Node]
    shards: Mapping[str, Sequence[PlacedShard]]


def snapshot_inputs(snapshot: PlacementSnapshot) -> Sequence[Sequence[Any]]:
    """What plans depend on, for their digest of inputs.

    Shards are in it through their namespaces' digests; of pins what counts is which are in force.
    """
    return (
        [
            [space.name, space.version, space.strategy, space.algorithm_version, space.parameters_digest, space.digest]
            for space in snapshot.namespaces
        ],
        [
            [node.node_id, node.version, node.region, node.zone, dict(node.labels), node.weight, node.status]
            for node in snapshot.nodes
        ],
        [[name, [shard.shard_id for shard in shards if shard.pinned]] for name, shards in snapshot.shards.items()],
    )
