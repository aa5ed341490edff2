"""A second implementation of what decides, written from the definitions in docs/strategies.md: plain integers, and
logarithms from `decimal` with 50 digits.

Slow and obvious on purpose; nothing here is shared with the package it is held against, but the data classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_FLOOR, Decimal, localcontext
from fractions import Fraction
from functools import cache
from math import ceil
from typing import Any, Final

from strategies.model import Node, Shard

WORD: Final = 2**64
Words = tuple[int, int]


def murmur3(data: bytes) -> Words:
    """MurmurHash3 x64 128 (Appleby, public domain), seed 0: both words."""
    first = second = 0
    whole = len(data) - len(data) % 16
    for at in range(0, whole, 16):
        first ^= _scramble(data[at : at + 8], 0x87C37B91114253D5, 31, 0x4CF5AD432745937F)
        first = ((_rotate(first, 27) + second) * 5 + 0x52DCE729) % WORD
        second ^= _scramble(data[at + 8 : at + 16], 0x4CF5AD432745937F, 33, 0x87C37B91114253D5)
        second = ((_rotate(second, 31) + first) * 5 + 0x38495AB5) % WORD
    first ^= _scramble(data[whole : whole + 8], 0x87C37B91114253D5, 31, 0x4CF5AD432745937F)
    second ^= _scramble(data[whole + 8 :], 0x4CF5AD432745937F, 33, 0x87C37B91114253D5)
    first, second = first ^ len(data), second ^ len(data)
    first = (first + second) % WORD
    second = (second + first) % WORD
    first, second = _avalanche(first), _avalanche(second)
    first = (first + second) % WORD
    return first, (second + first) % WORD


def _scramble(block: bytes, before: int, by: int, after: int) -> int:
    return _rotate(int.from_bytes(block, "little") * before % WORD, by) * after % WORD


def _rotate(value: int, by: int) -> int:
    return (value << by | value >> 64 - by) % WORD


def _avalanche(value: int) -> int:
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD % WORD
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 % WORD
    return value ^ value >> 33


@cache
def table() -> Sequence[int]:
    """floor(2^48 * log2(1 + i / 2^14)) for i from 0 to 2^14."""
    with localcontext(prec=50):
        two = Decimal(2).ln()
        scale = Decimal(2**48)
        logarithms = [(1 + Decimal(place) / 2**14).ln() / two * scale for place in range(2**14)]
        return [int(value.to_integral_value(ROUND_FLOOR)) for value in logarithms] + [2**48]


def mix(shard: int, node: int) -> int:
    value = (shard ^ node) * 0xFF51AFD7ED558CCD % WORD
    return (value ^ value >> 32) * 0xC4CEB9FE1A85EC53 % WORD


def score(mixed: int, weight: int) -> int:
    known = table()
    top = mixed // 2**20 | 1
    exponent = top.bit_length() - 1
    place, rest = divmod((top << 43 - exponent) - 2**43, 2**29)
    logarithm = exponent * 2**48 + known[place] + (known[place + 1] - known[place]) * rest // 2**29
    return (44 * 2**48 - logarithm) * 1024 // weight


def weighted_rank(shard: int, weights: Mapping[str, int]) -> Sequence[str]:
    """Node ids, best first, for the key of a shard and each node's effective weight."""

    def order(node_id: str) -> tuple[int, int, bytes]:
        mixed = mix(shard, murmur3(node_id.encode())[0])
        return score(mixed, weights[node_id]), -mixed, node_id.encode()

    return sorted(weights, key=order)


def bounded(
    nodes: Sequence[Node],
    shards: Iterable[tuple[int, Shard]],
    rank: Callable[[Shard], Sequence[str]],
    parameters: Mapping[str, Any],
) -> Mapping[str, str] | None:
    """Owner of each shard id under the bounds, from shards with their keys; None if one has nowhere to go."""
    rows = sorted(shards, key=lambda row: (row[0], row[1].shard_id.encode()))
    bounds = load_bounds(nodes, [shard for _, shard in rows], parameters)
    most = parameters["maxShardsPerNode"]
    load, count, owners = Counter[str](), Counter[str](), dict[str, str]()
    for _, shard in rows:
        free = [
            node_id
            for node_id in rank(shard)
            if (bounds is None or load[node_id] < bounds[node_id]) and (most is None or count[node_id] < most)
        ]
        if not free:
            return None
        owners[shard.shard_id] = free[0]
        load[free[0]] += size(shard, parameters)
        count[free[0]] += 1
    return owners


def load_bounds(
    nodes: Sequence[Node], shards: Sequence[Shard], parameters: Mapping[str, Any]
) -> Mapping[str, int] | None:
    if parameters["maxLoadPercent"] is None:
        return None
    total = sum(size(shard, parameters) for shard in shards)
    weight = sum(node.weight for node in nodes)
    return {
        node.node_id: max(1, ceil(Fraction(total * node.weight * parameters["maxLoadPercent"], 100 * weight)))
        for node in nodes
    }


def size(shard: Shard, parameters: Mapping[str, Any]) -> int:
    """Python's `round` is half to even."""
    return 1 if parameters["loadBy"] == "count" else max(1, min(round(shard.capacity * 1_000_000), 2**52))


def replicas(rank: Sequence[Node], owner: Node, count: int, spread: str) -> Sequence[Node]:
    """The owner and those that follow it: each the first in rank of the places used least."""
    chosen = [owner]
    while len(chosen) < count:
        uses = Counter(place(node, spread) for node in chosen)
        chosen.append(min((node for node in rank if node not in chosen), key=lambda node: uses[place(node, spread)]))
    return chosen


def place(node: Node, spread: str) -> object:
    """Zones of one name in two regions are two; nodes that name none are in one of their own."""
    return {"none": None, "zone": (node.region, node.zone), "region": node.region}[spread]


def ring_points(nodes: Iterable[Node], virtual_nodes: int) -> Sequence[tuple[int, str]]:
    """Every point with the id of its node, in the order of the ring."""
    return sorted(
        (point, node.node_id)
        for node in nodes
        for point in splitmix64(murmur3(node.node_id.encode())[0], virtual_nodes * node.weight)
    )


def splitmix64(seed: int, count: int) -> Sequence[int]:
    """The first `count` outputs of SplitMix64 (Steele, Lea and Flood 2014)."""
    values = [(seed + turn * 0x9E3779B97F4A7C15) % WORD for turn in range(1, count + 1)]
    values = [(value ^ value >> 30) * 0xBF58476D1CE4E5B9 % WORD for value in values]
    values = [(value ^ value >> 27) * 0x94D049BB133111EB % WORD for value in values]
    return [value ^ value >> 31 for value in values]


def jump(key: int, buckets: int) -> int:
    """Lamping and Veach 2014, in integers."""
    bucket, following = -1, 0
    while following < buckets:
        bucket = following
        key = (key * 2862933555777941757 + 1) % WORD
        following = (bucket + 1) * 2**31 // ((key >> 33) + 1)
    return bucket
