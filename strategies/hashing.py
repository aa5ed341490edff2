"""The 64-bit keys of shards and nodes, and the mixing of the two that rendezvous is decided by.

A key is the first 64-bit word of MurmurHash3 x64 128, seed 0. Identifiers hold no NUL, so namespace and shard id joined
by one never mean two shards. docs/strategies.md has the same definitions for other languages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import mmh3
import numpy as np
from numpy.typing import NDArray

MASK: Final = (1 << 64) - 1

# MurmurHash3's own finalising multipliers. Both are odd, so `mix` can be undone (`unmix`): vectorised code keeps only
# the greatest mixed value of a shard and finds the node it came from afterwards.
_FIRST: Final = 0xFF51AFD7ED558CCD
_SECOND: Final = 0xC4CEB9FE1A85EC53
_FIRST_INVERSE: Final = pow(_FIRST, -1, 1 << 64)
_SECOND_INVERSE: Final = pow(_SECOND, -1, 1 << 64)
_HALF: Final = 32
_SLICE: Final = 4_096

_FIRST_U: Final = np.uint64(_FIRST)
_SECOND_U: Final = np.uint64(_SECOND)
_HALF_U: Final = np.uint64(_HALF)

_GAMMA: Final = 0x9E3779B97F4A7C15
_SPLIT_FIRST: Final = 0xBF58476D1CE4E5B9
_SPLIT_SECOND: Final = 0x94D049BB133111EB


def node_key(node_id: str) -> int:
    return mmh3.hash64(node_id.encode(), seed=0, x64arch=True, signed=False)[0]


def node_keys(node_id: str) -> tuple[int, int]:
    """Both 64-bit words, for strategies that need two independent values."""
    first, second = mmh3.hash64(node_id.encode(), seed=0, x64arch=True, signed=False)
    return first, second


def shard_key(namespace: str, shard_id: str) -> int:
    return node_key(f"{namespace}\0{shard_id}")


def shard_keys(namespace: str, shard_ids: Sequence[str]) -> NDArray[np.uint64]:
    """`shard_key` of each."""
    digest = mmh3.mmh3_x64_128_digest
    prefix = namespace.encode() + b"\0"
    keys = np.empty(len(shard_ids), np.uint64)
    # A slice at a time: a million digests as objects are 150 MB, and twice as slow for it.
    for start in range(0, len(shard_ids), _SLICE):
        ids = shard_ids[start : start + _SLICE]
        words = np.frombuffer(b"".join([digest(prefix + shard_id.encode()) for shard_id in ids]), "<u8")
        keys[start : start + len(ids)] = words[::2]
    return keys


def mix(shard: int, node: int) -> int:
    """The value of the pair of keys: uniform over 64 bits, independent from node to node, greatest wins."""
    value = (shard ^ node) * _FIRST & MASK
    return (value ^ value >> _HALF) * _SECOND & MASK


def mix_into(
    shards: NDArray[np.uint64], node: np.uint64 | NDArray[np.uint64], out: NDArray[np.uint64], spare: NDArray[np.uint64]
) -> None:
    """`mix` of every shard key with one node key, or each with its own, into `out`; `spare` is scratch as long."""
    np.bitwise_xor(shards, node, out=out)
    np.multiply(out, _FIRST_U, out=out)
    np.right_shift(out, _HALF_U, out=spare)
    np.bitwise_xor(out, spare, out=out)
    np.multiply(out, _SECOND_U, out=out)


def unmix(mixed: NDArray[np.uint64], shards: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The node keys that gave `mixed` with these shard keys."""
    value = mixed * np.uint64(_SECOND_INVERSE)
    value ^= value >> _HALF_U
    value *= np.uint64(_FIRST_INVERSE)
    return value ^ shards


def splitmix64(seed: int) -> Iterator[int]:
    """Steele, Lea and Flood's SplitMix64 (OOPSLA 2014): an endless stream of 64-bit values."""
    state = seed
    while True:
        state = state + _GAMMA & MASK
        value = (state ^ state >> 30) * _SPLIT_FIRST & MASK
        value = (value ^ value >> 27) * _SPLIT_SECOND & MASK
        yield value ^ value >> 31


def splitmix64_block(seed: int, count: int) -> NDArray[np.uint64]:
    """The first `count` values of `splitmix64(seed)`."""
    state = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GAMMA)
    value = (state ^ state >> np.uint64(30)) * np.uint64(_SPLIT_FIRST)
    value = (value ^ value >> np.uint64(27)) * np.uint64(_SPLIT_SECOND)
    return value ^ value >> np.uint64(31)
