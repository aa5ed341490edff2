"""Nodes against blocks of shards, the inner loops of weighted.py: greatest hashes, and which node beats which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from strategies.hashing import mix_into
from strategies.logarithm import scores
from strategies.model import Keys

# Shards worked on at a time: few enough for their columns to stay in a core's cache from one node to the next.
_BLOCK: Final = 32_768
# Up to so many shards, several nodes are worked on at a time: then it is calls that cost, not what they do.
_FEW: Final = 2_048

_NO_KEY: Final = np.uint64(0)
_UNIT_BITS: Final = 24
_LN_2_AND_A_BIT: Final = 0.6931471806
_SLACK: Final = 2.0**20 + 2
_FURTHEST: Final = 2.0**62


@dataclass(frozen=True, slots=True)
class NodeClass:
    """Nodes of equal weight. Among them the greatest hash wins, without any logarithm."""

    weight: int
    keys: Keys


def classes_of(keys: Keys, weights: NDArray[np.int64]) -> list[NodeClass]:
    """Heaviest first."""
    return [NodeClass(weight, keys[weights == weight]) for weight in np.unique(weights)[::-1].tolist() if weight]


def blocks(length: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, length, _BLOCK))


def pairs_of(nodes: Keys, shards: Keys) -> Keys:
    """`mix` of each node, a row, with each shard."""
    pairs: Keys = np.bitwise_xor.outer(nodes, shards)
    mix_into(pairs, _NO_KEY, pairs, np.empty_like(pairs))
    return pairs


class Desk:
    """Columns to work in, for one block of shards at a time."""

    def __init__(self) -> None:
        self._best, self._mixed, self._spare = np.empty((3, _BLOCK), np.uint64)
        self._flags = np.empty(_BLOCK, np.bool_)

    def mixed(self, shards: Keys, nodes: Keys) -> Keys:
        """`mix` of each shard with its node."""
        pairs = np.empty_like(shards)
        mix_into(shards, nodes, pairs, self._spare[: len(pairs)])
        return pairs

    def greatest(self, shards: Keys, nodes: Keys) -> Keys:
        """Each shard's greatest `mix` with any of the nodes. A view, good until the next call."""
        length = len(shards)
        best, mixed, spare = self._best[:length], self._mixed[:length], self._spare[:length]
        if length <= _FEW:
            best[:] = 0
            step = _BLOCK // max(length, 1)
            for start in range(0, len(nodes), step):
                np.maximum(best, pairs_of(nodes[start : start + step], shards).max(axis=0), out=best)
            return best
        mix_into(shards, nodes[0], best, spare)
        for node in nodes[1:]:
            mix_into(shards, node, mixed, spare)
            np.maximum(best, mixed, out=best)
        return best

    def challenge(self, shards: Keys, best: Keys, held: Keys, challengers: Sequence[NodeClass]) -> None:
        """Lets `challengers`, heaviest first, compete with nodes of hashes `best` and scores `held`. In place.

        The few of them that may win are scored. From -log2(x) >= (1 - x) / ln 2, and as the table never overstates a
        logarithm, a node of weight w has a score of S or less only if its hash is above

            2^64 - (S + 1) * w * ln 2 * 2^6 - 2^20.

        `least` holds that for each S and a weight of 2^-24 of the heaviest, modulo 2^64, so that one multiplication by
        a challenger's weight in that unit, rounded up, gives the least hash worth scoring. Where it would be negative
        no hash rules the challenger out: those are `open_to_all`.
        """
        heaviest = challengers[0].weight
        least = _least(held, heaviest)
        flags, spare = self._flags[: len(shards)], self._spare[: len(shards)]
        open_to_all = np.arange(len(shards))
        for challenger in challengers:
            mixed = self.greatest(shards, challenger.keys)
            units = -(-(challenger.weight << _UNIT_BITS) // heaviest)
            np.multiply(least, np.uint64(units), out=spare)
            np.greater_equal(mixed, spare, out=flags)
            if len(open_to_all):
                limit = np.uint64(2**64 - min(2**64 // units, int(_FURTHEST)))
                open_to_all = open_to_all[least[open_to_all] <= limit]
                flags[open_to_all] = True
            at = np.flatnonzero(flags)
            if len(at):
                theirs, ours = mixed[at], held[at]
                value = scores(theirs, np.uint64(challenger.weight))
                wins = (value < ours) | ((value == ours) & (theirs > best[at]))
                at, theirs, value = at[wins], theirs[wins], value[wins]
                best[at], held[at], least[at] = theirs, value, _least(value, heaviest)


def _least(held: Keys, heaviest: int) -> Keys:
    """As `Desk.challenge` defines. Doubles are rounded, but by less than is added for it here."""
    reach = held.astype(np.float64)
    reach += 1
    reach *= heaviest * (_LN_2_AND_A_BIT * 2.0 ** (6 - _UNIT_BITS))
    reach += _SLACK
    np.minimum(reach, _FURTHEST, out=reach)
    result: Keys = reach.astype(np.uint64)
    return np.negative(result, out=result)
