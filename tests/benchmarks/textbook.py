"""Rendezvous as a textbook has it, in NumPy: what an afternoon's work gives, as a limit in the same run.

Equal weights: the greatest hash wins. Others: the least -log(u) / w, in floating point.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from strategies.model import Keys, Owners

_SHIFT: Final = np.uint64(33)
_FIRST: Final = np.uint64(0xFF51AFD7ED558CCD)
_SECOND: Final = np.uint64(0xC4CEB9FE1A85EC53)


def greatest_hash(shards: Keys, nodes: Keys) -> Owners:
    best, owners = np.zeros(len(shards), np.uint64), np.zeros(len(shards), np.int32)
    for place, node in enumerate(nodes):
        mixed = _mixed(shards, node)
        better = mixed > best
        best[better] = mixed[better]
        owners[better] = place
    return owners


def least_logarithm(shards: Keys, nodes: Keys, weights: NDArray[np.int64]) -> Owners:
    best, owners = np.full(len(shards), np.inf), np.zeros(len(shards), np.int32)
    for place, (node, weight) in enumerate(zip(nodes, weights, strict=True)):
        score = -np.log((_mixed(shards, node) + 0.5) / 2.0**64) / weight
        better = score < best
        best[better] = score[better]
        owners[better] = place
    return owners


def _mixed(shards: Keys, node: np.uint64) -> Keys:
    """MurmurHash3's finaliser of the two keys' exclusive or."""
    mixed = shards ^ node
    mixed ^= mixed >> _SHIFT
    mixed *= _FIRST
    mixed ^= mixed >> _SHIFT
    mixed *= _SECOND
    mixed ^= mixed >> _SHIFT
    return mixed
