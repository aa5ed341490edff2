"""What loads are, and what bounds them: no node gets more than so many per cent of its share, or so many shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from strategies.model import Node

UNITS: Final = 1_000_000
"""Units of load that a capacity of 1 is counted as."""
MAX_SIZE: Final = 2**52

Capacities: TypeAlias = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bounds:
    """`max_load_percent` of a node's share by weight, from 100, in shards or in capacity. None: no such bound."""

    max_load_percent: int | None = None
    by_capacity: bool = False
    max_shards: int | None = None

    @property
    def unbounded(self) -> bool:
        return self.max_load_percent is None and self.max_shards is None

    @property
    def load_name(self) -> str:
        return f"maxLoadPercent {self.max_load_percent}" + " by capacity" * self.by_capacity

    @property
    def count_name(self) -> str:
        return f"maxShardsPerNode {self.max_shards}"

    def __str__(self) -> str:
        load = [] if self.max_load_percent is None else [self.load_name]
        count = [] if self.max_shards is None else [self.count_name]
        return " and ".join(load + count)

    def sizes(self, capacities: Capacities) -> list[int]:
        """What shards of these capacities add to the load of their node."""
        return sizes(capacities) if self.by_capacity else [1] * len(capacities)

    def full_at(self, total: int, nodes: Sequence[Node]) -> list[int]:
        """The load at which each node is full, where `total` is the load of all. Without a bound, more than that."""
        if self.max_load_percent is None:
            return [total + 1] * len(nodes)
        return load_bounds(total, nodes, self.max_load_percent)

    def excess(self, count: int, load: int, largest: int, bound: int) -> str | None:
        """What a node holds too much: so many shards with a load in all, the `largest` of which has that size, where
        the node is full at `bound`. Null if it is within the bounds.

        The last shard that a node is given may take it past its bound, and it may be any of them. So a load is too
        much where even without its largest shard the node would have been full.
        """
        wrong = []
        if self.max_shards is not None and count > self.max_shards:
            wrong.append(f"{_shards(count)}, above {self.count_name}")
        if count and load - largest >= bound:
            held = f"a load of {_capacity(load)}" if self.by_capacity else _shards(count)
            limit = _capacity(bound) if self.by_capacity else f"{bound:,}"
            wrong.append(f"{held}, above its bound of {limit} ({self.load_name})")
        return f"{', and '.join(wrong)}" if wrong else None


def sizes(capacities: Capacities) -> list[int]:
    """Each capacity in millionths: 1 to 2^52.

    Rounded half to even, as IEEE 754 does. At least 1, so that the shards left find the nodes not full yet: as long as
    one has a size, what is placed stays below the sum of the bounds.
    """
    largest = float(MAX_SIZE)
    rounded = np.rint(np.minimum(np.asarray(capacities, np.float64), largest) * UNITS)
    whole: list[int] = np.clip(rounded, 1.0, largest).astype(np.int64).tolist()
    return whole


def most_of(total: int, nodes: Sequence[Node], bounds: Bounds) -> list[int]:
    """How many of `total` shards each node may have, where loads are numbers of shards."""
    most = total if bounds.max_shards is None else bounds.max_shards
    return [min(bound, most) for bound in bounds.full_at(total, nodes)]


def load_bounds(total: int, nodes: Sequence[Node], percent: int) -> list[int]:
    """Each node's share of `total` by weight, times `percent`, rounded up; at least 1."""
    whole = sum(node.weight for node in nodes)
    return [load_bound(total, node.weight, whole, percent) for node in nodes]


def load_bound(total: int, weight: int, whole: int, percent: int) -> int:
    """As `load_bounds`, for one node of that weight, where all weigh `whole`."""
    return max(1, -(-total * weight * percent // (100 * whole)))


def exceeded(nodes: Sequence[Node], held: Mapping[str, Sequence[float]], bounds: Bounds) -> Iterator[tuple[str, str]]:
    """(node id, message) of each node that holds more than placing may leave it with, from the capacities it holds."""
    sizes_of = [bounds.sizes(held.get(node.node_id, ())) for node in nodes]
    full_at = bounds.full_at(sum(map(sum, sizes_of)), nodes)
    for node, own, bound in zip(nodes, sizes_of, full_at, strict=True):
        if excess := bounds.excess(len(own), sum(own), max(own, default=0), bound):
            yield node.node_id, f"{node.node_id} holds {excess}"


def _shards(count: int) -> str:
    return f"{count:,} shard{'s' * (count != 1)}"


def _capacity(load: int) -> str:
    return f"{(Decimal(load) / UNITS).normalize():,f}"
