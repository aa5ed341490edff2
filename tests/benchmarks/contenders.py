"""Who places shards on nodes of equal weight: our strategies, and libraries that others wrote, on the same work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

import jump
import mmh3
import numpy as np
from numpy.typing import NDArray
from uhashring import HashRing  # type: ignore[import-untyped]

from strategies.jump import Jump
from strategies.locality import Locality
from strategies.maglev import Maglev
from strategies.model import Node, Placement, Shard, Shards, Strategy
from strategies.registry import Registry
from strategies.rendezvous import Rendezvous
from strategies.ring import Ring

NAMESPACE: Final = "orders"
Names: TypeAlias = NDArray[np.str_]


class Built(Protocol):
    """Ready to place shards, by id."""

    def assign(self, ids: Sequence[str]) -> Any:
        """The owner of each, hashing included, in whatever form it comes."""
        ...

    def names(self, assigned: Any) -> Names:
        """Node ids, of what `assign` gave."""
        ...

    def lookup(self, shard_id: str) -> object: ...


class Contender(Protocol):
    @property
    def name(self) -> str: ...

    def build(self, nodes: Sequence[str]) -> Built: ...


@dataclass(frozen=True)
class Ours:
    strategy: Strategy
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return " ".join([self.strategy.name, *(f"{name}={value}" for name, value in self.given.items())])

    def build(self, nodes: Sequence[str]) -> Built:
        return Prepared(prepare(self.strategy, [Node(node_id) for node_id in nodes], **self.given))


class Prepared:
    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    def assign(self, ids: Sequence[str]) -> Any:
        return self._placement.assign(Shards.named(NAMESPACE, ids))

    def names(self, assigned: Any) -> Names:
        named: Names = np.array([node.node_id for node in self._placement.nodes])[assigned]
        return named

    def lookup(self, shard_id: str) -> object:
        return self._placement.place(NAMESPACE, Shard(shard_id))


def prepare(strategy: Strategy, nodes: Sequence[Node], **given: object) -> Placement:
    complete = Registry().complete(strategy.name, given)
    return strategy.prepare(nodes, {name: complete[name] for name in strategy.parameters})


@dataclass(frozen=True)
class Peer:
    name: str
    build: Callable[[Sequence[str]], Built]


class _Uhashring:
    def __init__(self, nodes: Sequence[str], hash_fn: str | None) -> None:
        self.lookup = HashRing(list(nodes), hash_fn=hash_fn).get_node

    def assign(self, ids: Sequence[str]) -> Any:
        lookup = self.lookup
        return [lookup(shard_id) for shard_id in ids]

    def names(self, assigned: Any) -> Names:
        return np.array(assigned)


class _JumpConsistentHash:
    """The package numbers buckets and takes whole numbers as keys: mmh3 makes them here, as it does for ours."""

    def __init__(self, nodes: Sequence[str]) -> None:
        self._nodes = nodes

    def assign(self, ids: Sequence[str]) -> Any:
        buckets, hash64 = len(self._nodes), mmh3.hash64
        return [jump.hash(hash64(shard_id.encode(), 0, True, False)[0], buckets) for shard_id in ids]  # noqa: FBT003 - by place is what a hurry would write

    def names(self, assigned: Any) -> Names:
        named: Names = np.array(self._nodes)[assigned]
        return named

    def lookup(self, shard_id: str) -> object:
        key = mmh3.hash64(shard_id.encode(), 0, True, False)[0]  # noqa: FBT003 - as above
        return self._nodes[jump.hash(key, len(self._nodes))]


OURS: Final[Sequence[Contender]] = (Ours(Rendezvous()), Ours(Locality()), Ours(Ring()), Ours(Maglev()), Ours(Jump()))
UHASHRING: Final = Peer("uhashring", lambda nodes: _Uhashring(nodes, None))
PEERS: Final[Sequence[Contender]] = (
    UHASHRING,
    Peer("uhashring ketama", lambda nodes: _Uhashring(nodes, "ketama")),
    Peer("jump-consistent-hash", _JumpConsistentHash),
)
