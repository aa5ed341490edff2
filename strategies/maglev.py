"""Maglev hashing (Eisenbud et al., "Maglev: A fast and reliable software network load balancer", NSDI 2016): nodes take
turns in filling a table, each in an order of its own; a shard belongs to the node in its slot.

Shares are as even as a table of that size allows. In exchange a change moves a few shards more than it has to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from strategies.hashing import node_keys, shard_key
from strategies.model import Infeasible, Movement, Node, Owners, Placement, Shard, Shards
from strategies.overflow import Circular, Overflow
from strategies.parameters import Parameter
from strategies.walks import first_met, onwards

# Weights are 2^20 at most, so times that differ do so by 2^-40 or more. Turns are fewer than 2^21, so they fit.
_TIME_BITS: Final = np.uint64(43)

_TABLES: Final = 4
"""Kept: of 12 bytes a slot, so 3 MB, or 48 MB at the largest tableSize."""


@dataclass(frozen=True, slots=True)
class PrimeParameter:
    """`default` and `maximum` are primes."""

    default: int
    minimum: int
    maximum: int

    @property
    def rule(self) -> str:
        return f"a prime number from {self.minimum:,} to {self.maximum:,}"

    def problem(self, value: object) -> str | None:
        if not isinstance(value, int) or isinstance(value, bool) or not self.minimum <= value <= self.maximum:
            return f"must be {self.rule}"
        if is_prime(value):
            return None
        following = next(number for number in range(value, self.maximum + 1) if is_prime(number))
        return f"must be {self.rule}; the next one is {following:,}"


def is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, isqrt(number) + 1))


class Maglev:
    """Raises Infeasible for more nodes than the table has slots."""

    name: Final = "maglev"
    algorithm_version: Final = 1
    movement: Final = Movement.NEARLY_MINIMAL
    parameters: Final[Mapping[str, Parameter]] = {"tableSize": PrimeParameter(65_537, 101, 1_000_003)}

    def prepare(self, nodes: Sequence[Node], parameters: Mapping[str, Any]) -> Placement:
        if obstacle := self.obstacle(nodes, parameters):
            raise Infeasible(obstacle[1])
        return MaglevPlacement(nodes, parameters["tableSize"])

    def obstacle(self, nodes: Sequence[Node], parameters: Mapping[str, Any]) -> tuple[str, str] | None:
        size: int = parameters["tableSize"]
        if len(nodes) <= size:
            return None
        return "tableSize", f"{len(nodes):,} nodes do not fit into a table of {size:,} slots: raise tableSize"


class MaglevPlacement:
    def __init__(self, nodes: Sequence[Node], size: int) -> None:
        self.nodes: Sequence[Node] = tuple(sorted(nodes, key=lambda node: node.node_id))
        self._table, self._owners, self._present = _table(
            tuple((node.node_id, node.weight) for node in self.nodes), size
        )

    def place(self, namespace: str, shard: Shard) -> str:
        return self.nodes[self._table[self._slot(namespace, shard)]].node_id

    def rank(self, namespace: str, shard: Shard) -> Sequence[str]:
        """Nodes as they are met from the shard's slot on, then those without any slot by id."""
        met = first_met(onwards(self._table, self._slot(namespace, shard)), self._present)
        absent = [] if self._present == len(self.nodes) else sorted(set(range(len(self.nodes))) - set(met))
        return [self.nodes[index].node_id for index in met + absent]

    def assign(self, shards: Shards) -> Owners:
        return self._owners[self._slots(shards)]

    def overflow(self, shards: Shards) -> Overflow:
        return Circular(self._owners, self._slots(shards), len(self.nodes))

    def reassign(self, shards: Shards, owners: Owners, before: Placement) -> Owners:  # noqa: ARG002 - the Protocol's
        """A few nanoseconds a shard: there is nothing to save."""
        return self.assign(shards)

    def _slots(self, shards: Shards) -> NDArray[np.intp]:
        return (shards.keys % np.uint64(len(self._owners))).astype(np.intp)

    def _slot(self, namespace: str, shard: Shard) -> int:
        return shard_key(namespace, shard.shard_id) % len(self._table)


@lru_cache(_TABLES)
def _table(nodes: tuple[tuple[str, int], ...], size: int) -> tuple[Sequence[int], Owners, int]:
    """Of these ids, in order, and weights: each slot's node, twice, and how many nodes have a slot. A plan and each
    explanation of a shard place over the same nodes two or three times, and filling a table takes 70 ms."""
    slots = fill([permutation(node_id, size) for node_id, _ in nodes], turns([weight for _, weight in nodes], size))
    owners = np.array(slots, np.int32)
    owners.flags.writeable = False
    return slots, owners, len(set(slots))


def turns(weights: Sequence[int], size: int) -> list[int]:
    """Which node's turn it is, as an index into `weights`, `size` times over.

    A node's k-th turn comes at the time k / weight; at equal times the lower index goes first. Times are compared as
    floor(2^43 * k / weight), which orders them as the fractions themselves are ordered.
    """
    # At the time (size + n) / total, n nodes have had `size` turns or more, as each has lost less than one to rounding.
    most = [(size + len(weights)) * weight // sum(weights) for weight in weights]
    times = np.concatenate(
        [
            (np.arange(1, count + 1, dtype=np.uint64) << _TIME_BITS) // np.uint64(weight)
            for count, weight in zip(most, weights, strict=True)
        ]
    )
    indexes = np.repeat(np.arange(len(weights)), most)
    first: list[int] = indexes[np.argsort(times, kind="stable")[:size]].tolist()
    return first


def permutation(node_id: str, size: int) -> tuple[int, int]:
    """Offset and skip: the node prefers slot `offset`, then each time the one `skip` further on, round the table."""
    first, second = node_keys(node_id)
    return first % size, second % (size - 1) + 1


def fill(permutations: Sequence[tuple[int, int]], takers: Sequence[int]) -> list[int]:
    """The table, a slot for each turn: its taker takes the next free slot of its permutation.

    That is about n * ln(n) steps for n slots, of a tenth of a microsecond each.
    """
    size = len(takers)
    at = [offset for offset, _ in permutations]
    skips = [skip for _, skip in permutations]
    table = [0] * size
    taken = bytearray(size)  # a fraction of the table's memory, so it stays in a core's cache
    for taker in takers:
        slot = at[taker]
        skip = skips[taker]
        while taken[slot]:
            slot += skip
            if slot >= size:
                slot -= size
        taken[slot] = 1
        table[slot] = taker
        at[taker] = slot
    return table
