"""Rendezvous hashing (Thaler and Ravishankar 1998): every node bids for a shard with a hash of both, the best bid wins.

Weighted as in weighted.py. Adding, removing or re-weighting a node moves the shards it wins or loses and no others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from strategies.hashing import node_key, shard_key
from strategies.model import Movement, Node, Owners, Placement, Shard, Shards
from strategies.parameters import Parameter
from strategies.weighted import Contest, Entrant, Standing, first, standings, whereabouts


class Rendezvous:
    name: Final = "rendezvous"
    algorithm_version: Final = 1
    parameters: Mapping[str, Parameter] = {}
    movement: Final = Movement.MINIMAL

    def prepare(self, nodes: Sequence[Node], parameters: Mapping[str, Any]) -> RendezvousPlacement:  # noqa: ARG002
        return RendezvousPlacement(nodes)


class RendezvousPlacement:
    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes: Final[Sequence[Node]] = sorted(nodes, key=lambda node: node.node_id)
        self._entrants = [Entrant(node.node_id, node_key(node.node_id), node.weight) for node in self.nodes]
        self._contest = _contest(self.nodes)

    def place(self, namespace: str, shard: Shard) -> str:
        return first(self._entrants, shard_key(namespace, shard.shard_id)).node_id

    def rank(self, namespace: str, shard: Shard) -> Sequence[str]:
        return [standing.node_id for standing in self.standings(namespace, shard)]

    def standings(self, namespace: str, shard: Shard) -> Sequence[Standing]:
        """In the order of `rank`."""
        return standings(self._entrants, shard_key(namespace, shard.shard_id))

    def assign(self, shards: Shards) -> Owners:
        return self._contest.winners(shards.keys)

    def reassign(self, shards: Shards, owners: Owners, before: Placement) -> Owners:
        return self._contest.winners_after(
            _contest(before.nodes), whereabouts(before.nodes, self.nodes), shards.keys, owners
        )


def _contest(nodes: Sequence[Node]) -> Contest:
    """`nodes` ordered by id."""
    keys = np.array([node_key(node.node_id) for node in nodes], np.uint64)
    return Contest(keys, np.array([node.weight for node in nodes], np.int64))
