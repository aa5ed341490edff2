"""For authors of plug-ins: the rest of a Placement, once there is a `rank`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from strategies.model import Node, Owners, Placement, Shard, Shards, shard_at


class ScalarPlacement(ABC):
    """A Placement that ranks shard by shard: a few microseconds each, and as many as the ranking itself takes.

    With more than some 100,000 shards to place, override `place` where the best node is found sooner than a
    ranking, or `assign` where NumPy can do all shards at once. The laws in `strategies.model` hold for both.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = tuple(sorted(nodes, key=lambda node: node.node_id))

    @property
    def nodes(self) -> Sequence[Node]:
        return self._nodes

    @abstractmethod
    def rank(self, namespace: str, shard: Shard) -> Sequence[str]:
        """Every node id once, best first; determined by nothing but nodes, parameters, namespace and shard."""

    def place(self, namespace: str, shard: Shard) -> str:
        return self.rank(namespace, shard)[0]

    def assign(self, shards: Shards) -> Owners:
        index_of = {node.node_id: index for index, node in enumerate(self._nodes)}
        owners = (index_of[self.place(shards.namespace, shard_at(shards, index))] for index in range(len(shards)))
        return np.fromiter(owners, np.int32, len(shards))

    def reassign(self, shards: Shards, owners: Owners, before: Placement) -> Owners:  # noqa: ARG002 - the Protocol's
        return self.assign(shards)
