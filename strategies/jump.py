"""Jump consistent hash (Lamping and Veach, "A fast, minimal memory, consistent hash algorithm", arXiv:1406.2294).

The paper divides in double precision; here the quotients are those of integers, so that every language and machine has
the same ones. The two differ only where rounding takes a quotient across a whole number.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, chain, islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from strategies.hashing import MASK, shard_key, splitmix64, splitmix64_block
from strategies.model import Infeasible, Keys, Movement, Node, Owners, Placement, Shard, Shards
from strategies.overflow import Overflow
from strategies.parameters import Parameter
from strategies.walks import first_met

# Fewer than 2^33, so that a bucket times 2^31 fits 64 bits.
MAX_BUCKETS: Final = 2**33 - 1

_MULTIPLIER: Final = 2862933555777941757
_DRAWN_SHIFT: Final = 33
_SCALE_BITS: Final = 31
_DRAWS_PER_NODE: Final = 16
# Keys worked on at a time, so that their columns stay in a core's cache.
_BLOCK: Final = 65_536
# So many draws one by one take about as long as the calls for many at once.
_FEW_DRAWS: Final = 64


class Jump:
    """Buckets are the nodes in natural order, each as many times as it weighs: no table, and even shares.

    Raises Infeasible for weights of 2^33 or more in all.
    """

    name: Final = "jump"
    algorithm_version: Final = 1
    movement: Final = Movement.AT_THE_END
    parameters: Final[Mapping[str, Parameter]] = {}

    def prepare(self, nodes: Sequence[Node], parameters: Mapping[str, Any]) -> Placement:
        if obstacle := self.obstacle(nodes, parameters):
            raise Infeasible(obstacle[1])
        return JumpPlacement(nodes)

    def obstacle(self, nodes: Sequence[Node], parameters: Mapping[str, Any]) -> tuple[str | None, str] | None:  # noqa: ARG002 - takes none
        buckets = sum(node.weight for node in nodes)
        if buckets <= MAX_BUCKETS:
            return None
        return None, f"the nodes' weights are {buckets:,} in all, and may be {MAX_BUCKETS:,}: lower them in proportion"


class JumpPlacement:
    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes: Sequence[Node] = tuple(sorted(nodes, key=lambda node: node.node_id))
        self._line = sorted(range(len(self.nodes)), key=lambda index: natural_key(self.nodes[index].node_id))
        self._ends = list(accumulate(self.nodes[index].weight for index in self._line))

    def place(self, namespace: str, shard: Shard) -> str:
        return self.nodes[self._owner(shard_key(namespace, shard.shard_id))].node_id

    def rank(self, namespace: str, shard: Shard) -> Sequence[str]:
        """The owner, then nodes as they would own the shard under other keys: the outputs of SplitMix64 seeded with
        its key, 16 for each node at most. A node that is not among those follows in natural order."""
        key = shard_key(namespace, shard.shard_id)
        draws = chain([key], islice(splitmix64(key), _DRAWS_PER_NODE * len(self.nodes)))
        walk = chain(map(self._owner, draws), self._line)
        return [self.nodes[index].node_id for index in first_met(walk, len(self.nodes))]

    def assign(self, shards: Shards) -> Owners:
        return _holders(np.array(self._line, np.int32), np.array(self._ends), shards.keys)

    def overflow(self, shards: Shards) -> Overflow:
        return _Drawn(self._line, self._ends, shards.keys)

    def reassign(self, shards: Shards, owners: Owners, before: Placement) -> Owners:  # noqa: ARG002 - the Protocol's
        """A tenth of a microsecond a shard, which knowing its last owner would not spare."""
        return self.assign(shards)

    def _owner(self, key: int) -> int:
        return _holder(self._line, self._ends, key)


class _Drawn:
    """An Overflow that draws until a node is open; after the first few, more at a time each time."""

    def __init__(self, line: Sequence[int], ends: Sequence[int], keys: Keys) -> None:
        self._line, self._ends = line, ends
        self._columns = np.array(line, np.int32), np.array(ends)
        self._keys = keys
        self._closed = np.zeros(len(line), np.bool_)

    def close(self, index: int) -> None:
        self._closed[index] = True

    def first_open(self, shard: int) -> int:
        key = int(self._keys[shard])
        draws = _DRAWS_PER_NODE * len(self._line)
        drawn = min(_FEW_DRAWS, draws)
        for number in chain([key], islice(splitmix64(key), drawn)):
            index = _holder(self._line, self._ends, number)
            if not self._closed[index]:
                return index
        while drawn < draws:
            upto = min(4 * drawn, draws)
            found = self._open_among(_holders(*self._columns, splitmix64_block(key, upto)[drawn:]))
            if found is not None:
                return found
            drawn = upto
        return next(index for index in self._line if not self._closed[index])

    def _open_among(self, indexes: Owners) -> int | None:
        at = np.flatnonzero(~self._closed[indexes])
        return int(indexes[at[0]]) if len(at) else None


def _holder(line: Sequence[int], ends: Sequence[int], key: int) -> int:
    """The index of the node whose bucket the key falls into. `ends` are the first buckets beyond those of each."""
    return line[bisect_right(ends, jump_hash(key, ends[-1]))]


def _holders(line: Owners, ends: NDArray[np.int64], keys: Keys) -> Owners:
    """`_holder` of each key."""
    return line[np.searchsorted(ends, jump_hashes(keys, int(ends[-1])), side="right")]


def jump_hash(key: int, buckets: int) -> int:
    """The bucket, below `buckets`, of a 64-bit key. With one bucket more, a key stays or goes to the new one."""
    bucket, following = 0, 0
    while following < buckets:
        bucket = following
        key = key * _MULTIPLIER + 1 & MASK
        following = (bucket + 1 << _SCALE_BITS) // ((key >> _DRAWN_SHIFT) + 1)
    return bucket


def jump_hashes(keys: Keys, buckets: int) -> NDArray[np.int64]:
    """`jump_hash` of each key; `buckets` up to 2^33 - 1."""
    found = np.empty(len(keys), np.int64)
    for start in range(0, len(keys), _BLOCK):
        block = slice(start, start + _BLOCK)
        _jump_into(found[block], keys[block], np.uint64(buckets))
    return found


def _jump_into(found: NDArray[np.int64], keys: Keys, buckets: np.uint64) -> None:
    """Each round takes all keys that have not come to rest one jump further. Fits 64 bits throughout."""
    multiplier, one = np.uint64(_MULTIPLIER), np.uint64(1)
    shift, scale = np.uint64(_DRAWN_SHIFT), np.uint64(_SCALE_BITS)
    lanes = np.arange(len(keys))
    following = np.zeros(len(keys), np.uint64)
    while len(lanes):
        found[lanes] = following
        keys = keys * multiplier + one
        following = (following + one << scale) // ((keys >> shift) + one)
        jumping = following < buckets
        lanes, keys, following = lanes[jumping], keys[jumping], following[jumping]


_ELEMENT: Final = re.compile(r"[0-9]+|[^0-9]")


def natural_key(text: str) -> tuple[tuple[tuple[int, int], ...], str]:
    """Sorts texts element by element, where an element is a run of ASCII digits or one other character.

    Two runs of digits compare as numbers, anything else as bytes of UTF-8 do; a text that another begins with comes
    before it. Those that differ by zeros only, as node-9 and node-09, compare as bytes.
    """
    elements = (
        (ord("0"), int(element)) if element[0] in "0123456789" else (ord(element), 0)
        for element in _ELEMENT.findall(text)
    )
    return tuple(elements), text
