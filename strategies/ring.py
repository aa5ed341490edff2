"""Consistent hashing on a ring (Karger et al., STOC 1997): a shard belongs to the next point clockwise.

A node's points are the first outputs of SplitMix64 seeded with its key, `virtualNodes` for each unit of its weight.
They depend on nothing else, so a change to one node leaves all other points where they are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from strategies.circle import Circle
from strategies.hashing import node_key, shard_key, splitmix64_block
from strategies.model import Infeasible, Keys, Movement, Node, Owners, Placement, Shard, Shards
from strategies.overflow import Circular, Overflow
from strategies.parameters import IntegerParameter, Parameter
from strategies.walks import first_met, onwards

MAX_POINTS: Final = 2**22


class Ring:
    """Shares differ by about 1 / sqrt(virtualNodes) of the mean. Raises Infeasible for more than 2^22 points."""

    name: Final = "ring"
    algorithm_version: Final = 1
    movement: Final = Movement.MINIMAL
    parameters: Final[Mapping[str, Parameter]] = {"virtualNodes": IntegerParameter(160, 1, 4_096)}

    def prepare(self, nodes: Sequence[Node], parameters: Mapping[str, Any]) -> Placement:
        if obstacle := self.obstacle(nodes, parameters):
            raise Infeasible(obstacle[1])
        return RingPlacement(nodes, parameters["virtualNodes"])

    def obstacle(self, nodes: Sequence[Node], parameters: Mapping[str, Any]) -> tuple[str, str] | None:
        virtual_nodes: int = parameters["virtualNodes"]
        weights = sum(node.weight for node in nodes)
        if virtual_nodes * weights <= MAX_POINTS:
            return None
        return "virtualNodes", (
            f"the ring would have {virtual_nodes * weights:,} points, virtualNodes {virtual_nodes:,} times weights "
            f"of {weights:,} in all, and may have {MAX_POINTS:,}: lower virtualNodes or the nodes' weights"
        )


class RingPlacement:
    """Points that collide are kept, in the order of their nodes' ids. Memory: about 30 bytes a point."""

    def __init__(self, nodes: Sequence[Node], virtual_nodes: int) -> None:
        self.nodes: Sequence[Node] = tuple(sorted(nodes, key=lambda node: node.node_id))
        self._counts = {node.node_id: virtual_nodes * node.weight for node in self.nodes}
        points = _points({node_id: range(count) for node_id, count in self._counts.items()})
        order = np.argsort(points, kind="stable")
        indexes = np.repeat(np.arange(len(self.nodes), dtype=np.int32), list(self._counts.values()))
        self._owners: Owners = indexes[order]
        self._circle = Circle(points[order])

    def place(self, namespace: str, shard: Shard) -> str:
        return self._clockwise(namespace, shard, 1)[0]

    def rank(self, namespace: str, shard: Shard) -> Sequence[str]:
        """Nodes as they are met clockwise."""
        return self._clockwise(namespace, shard, len(self.nodes))

    def assign(self, shards: Shards) -> Owners:
        return self._owners_of(shards.keys)

    def overflow(self, shards: Shards) -> Overflow:
        return Circular(self._owners, self._circle.successors(shards.keys), len(self.nodes))

    def reassign(self, shards: Shards, owners: Owners, before: Placement) -> Owners:
        """Only shards next to a point that came or went are looked up again; those of all others stay."""
        if not isinstance(before, RingPlacement):
            return self.assign(shards)
        indexes = {node.node_id: index for index, node in enumerate(self.nodes)}
        # Whatever stands for a node that is gone: all its points went.
        result: Owners = np.array([indexes.get(node.node_id, 0) for node in before.nodes], np.int32)[owners]
        came, went = self._arcs_besides(before), before._arcs_besides(self)  # noqa: SLF001 - one of its own kind
        starts, ends = (np.concatenate(both) for both in zip(came, went, strict=True))
        if len(starts):
            keys = shards.keys
            again = self._circle.among(keys, starts, ends)
            result[again] = self._owners_of(keys[again])
        return result

    def _owners_of(self, keys: Keys) -> Owners:
        return self._owners[self._circle.successors(keys)]

    def _arcs_besides(self, other: RingPlacement) -> tuple[Keys, Keys]:
        """Arcs to the points that the other ring has not got. A lighter node's points are a heavier one's first."""
        had = other._counts
        return self._circle.arcs_to(
            _points({name: range(had.get(name, 0), count) for name, count in self._counts.items()})
        )

    def _clockwise(self, namespace: str, shard: Shard, enough: int) -> list[str]:
        """The definition, but that the points come from the arrays: as Python's integers they would take microseconds
        each, and there may be millions. The search and the walk are plain."""
        points, indexes = self._circle.points.data, self._owners.data
        start = bisect_left(points, shard_key(namespace, shard.shard_id))
        return [self.nodes[index].node_id for index in first_met(onwards(indexes, start), enough)]


def _points(numbers: Mapping[str, range]) -> Keys:
    """Each node's points of these numbers, node after node."""
    blocks = [
        splitmix64_block(node_key(node_id), wanted.stop)[wanted.start :]
        for node_id, wanted in numbers.items()
        if wanted
    ]
    return np.concatenate([np.empty(0, np.uint64), *blocks])
