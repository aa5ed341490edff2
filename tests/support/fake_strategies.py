"""Strategies for tests of what surrounds strategies: one that keeps the laws, to be broken by its subclasses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from strategies.hashing import mix, node_key, shard_key
from strategies.model import Movement, Node, Placement, Shard
from strategies.parameters import IntegerParameter, Parameter
from strategies.plug_in import ScalarPlacement


class MixedPlacement(ScalarPlacement):
    """Greatest mixed key first, whatever the weights."""

    def rank(self, namespace: str, shard: Shard) -> Sequence[str]:
        key = shard_key(namespace, shard.shard_id)
        ids = [node.node_id for node in self.nodes]
        return sorted(ids, key=lambda node_id: mix(key, node_key(node_id)), reverse=True)


class Mixed:
    """A Strategy; `prepared` remembers the parameters it was last run with."""

    name = "mixed"
    algorithm_version = 1
    movement = Movement.MINIMAL
    parameters: Mapping[str, Parameter] = {"depth": IntegerParameter(3, 1, 9)}

    def __init__(self) -> None:
        self.prepared: Mapping[str, Any] | None = None

    def prepare(self, nodes: Sequence[Node], parameters: Mapping[str, Any]) -> Placement:
        self.prepared = parameters
        return MixedPlacement(nodes)
