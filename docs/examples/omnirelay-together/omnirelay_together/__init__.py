"""Shards of one group on one node: the group is what the shard's id starts with, up to a separator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from strategies.model import Movement, Node, Owners, Placement, Shard, Shards
from strategies.parameters import ChoiceParameter, Parameter
from strategies.plug_in import ScalarPlacement
from strategies.rendezvous import Rendezvous


class Together:
    """Rendezvous hashing of groups. As few groups move as with rendezvous, each with all its shards."""

    name: Final = "together"
    algorithm_version: Final = 1
    parameters: Final[Mapping[str, Parameter]] = {"separator": ChoiceParameter(":", (":", ".", "-", "_"))}
    movement: Final = Movement.MINIMAL

    def prepare(self, nodes: Sequence[Node], parameters: Mapping[str, Any]) -> Placement:
        return _TogetherPlacement(nodes, parameters["separator"])


class _TogetherPlacement(ScalarPlacement):
    def __init__(self, nodes: Sequence[Node], separator: str) -> None:
        super().__init__(nodes)
        self._by_group = Rendezvous().prepare(nodes, {})
        self._separator = separator

    def rank(self, namespace: str, shard: Shard) -> Sequence[str]:
        return self._by_group.rank(namespace, Shard(self._group(shard.shard_id)))

    # Optional, as ScalarPlacement has one that ranks every shard: this is a thousand times as fast.
    def assign(self, shards: Shards) -> Owners:
        groups = [self._group(shard_id) for shard_id in shards.ids]
        return self._by_group.assign(Shards.named(shards.namespace, groups))

    def _group(self, shard_id: str) -> str:
        return shard_id.partition(self._separator)[0]
