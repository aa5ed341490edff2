"""Weighted rendezvous over nodes and effective weights: what `rendezvous` and `locality` have in common.

The nodes of a shard are ordered by score, least first, then by hash, greatest first, then by id. The definition is
`Entrant.precedence`, in plain integers; `Contest` finds the first for many shards at once. Source: Thaler and
Ravishankar, "Using name-based mappings to increase hit rates", 1998; weights as in logarithm.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from strategies.challenges import Desk, blocks, classes_of, pairs_of
from strategies.hashing import mix, unmix
from strategies.logarithm import score, scores
from strategies.model import Keys, Node, Owners

# Scoring so many pairs of shard and node takes about as long as the calls for one class of nodes.
_PAIRS: Final = 1_000
_MOST_PAIRS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Standing:
    """Why a node stands where it does for a shard. `level`: 2 the zone is that of the hint, 1 the region, else 0."""

    node_id: str
    effective_weight: int
    score: int
    level: int


@dataclass(frozen=True, slots=True)
class Entrant:
    """A node as one shard sees it. `weight` is effective, `key` the hash of the id."""

    node_id: str
    key: int
    weight: int
    level: int = 0

    def precedence(self, shard: int) -> tuple[int, int, str]:
        """The node of the least comes first for the shard of this key."""
        mixed = mix(shard, self.key)
        return score(mixed, self.weight), -mixed, self.node_id


def first(entrants: Iterable[Entrant], shard: int) -> Entrant:
    """The entrant that wins. Among those of one weight the greatest hash does, so one score a weight is enough."""
    best: dict[int, tuple[int, Entrant]] = {}
    for entrant in entrants:
        mixed = mix(shard, entrant.key)
        held = best.get(entrant.weight)
        if held is None or mixed > held[0] or (mixed == held[0] and entrant.node_id < held[1].node_id):
            best[entrant.weight] = mixed, entrant
    return min((entrant for _, entrant in best.values()), key=lambda entrant: entrant.precedence(shard))


def standings(entrants: Iterable[Entrant], shard: int) -> list[Standing]:
    """In rank order, whatever the levels."""
    ranked = sorted((entrant.precedence(shard), entrant) for entrant in entrants)
    return [Standing(entrant.node_id, entrant.weight, least[0], entrant.level) for least, entrant in ranked]


def whereabouts(before: Sequence[Node], after: Sequence[Node]) -> NDArray[np.int32]:
    """For each node of `before` its index in `after`, or -1."""
    indexes = {node.node_id: index for index, node in enumerate(after)}
    return np.array([indexes.get(node.node_id, -1) for node in before], np.int32)


class Contest:
    """The nodes that take part for some shards, ready to be compared for any number of them.

    `keys` are the hashes of the nodes, in the order of their ids; `weights` the effective ones: 0 takes no part, one at
    least does. Memory: the result, and a few columns for one block of shards.
    """

    def __init__(self, keys: Keys, weights: NDArray[np.int64]) -> None:
        self._keys = keys
        self._weights = weights

    def winners(self, shards: Keys) -> Owners:
        """For each shard key the index of its first node."""
        heaviest, *others = classes = classes_of(self._keys, self._weights)
        if others and len(shards) * len(self._keys) < min(_PAIRS * len(classes), _MOST_PAIRS):
            return self._winners_of_few(shards)
        owners = np.empty(len(shards), np.int32)
        desk = Desk()
        for block in blocks(len(shards)):
            keys = shards[block]
            best = desk.greatest(keys, heaviest.keys).copy()
            if others:
                desk.challenge(keys, best, scores(best, np.uint64(heaviest.weight)), others)
            owners[block] = self._places(best, keys)
        return owners

    def _winners_of_few(self, shards: Keys) -> Owners:
        """By scoring every pair."""
        keys, indexes = self._by_key
        mixed = pairs_of(keys, shards)
        score_of = scores(mixed, self._weights[indexes].astype(np.uint64)[:, np.newaxis])
        best = np.where(score_of == score_of.min(axis=0), mixed, 0).max(axis=0)
        return self._places(best, shards)

    def winners_after(self, before: Contest, now: NDArray[np.int32], shards: Keys, owners: Owners) -> Owners:
        """`winners(shards)`, knowing that `before.winners(shards)` are `owners`. `now` is as `whereabouts` gives it.

        A node that is no lighter than it was still comes before every other that is no heavier: it has to be compared
        with the heavier and the new ones alone. Only the shards of the other nodes are looked at afresh.
        """
        if self._twins:
            return self.winners(shards)
        staying = np.flatnonzero(now >= 0)
        was = np.zeros_like(self._weights)
        was[now[staying]] = before._weights[staying]
        lost = np.ones(len(now), np.bool_)
        lost[staying] = self._weights[now[staying]] < before._weights[staying]
        gained = self._weights > was

        result: Owners = now.take(owners)
        moving = lost.take(owners)
        afresh = np.flatnonzero(moving)
        if gained.any():
            kept = np.flatnonzero(~moving) if len(afresh) else slice(None)
            result[kept] = self._defended(shards[kept], result[kept], gained)
        if len(afresh):
            result[afresh] = self.winners(shards[afresh])
        return result

    def _defended(self, shards: Keys, owners: Owners, challengers: NDArray[np.bool_]) -> Owners:
        """The first of owner and `challengers`, for each shard."""
        classes = classes_of(self._keys[challengers], self._weights[challengers])
        weights = self._weights.astype(np.uint64)
        equal = len(np.unique(weights)) == 1
        result = owners.copy()
        desk = Desk()
        for block in blocks(len(shards)):
            keys, held = shards[block], result[block]
            mine = desk.mixed(keys, self._keys.take(held))
            if equal:
                best = np.maximum(mine, desk.greatest(keys, classes[0].keys))
            else:
                best = mine.copy()
                desk.challenge(keys, best, scores(best, weights.take(held)), classes)
            changed = np.flatnonzero(best != mine)
            held[changed] = self._places(best[changed], keys[changed])
        return result

    def _places(self, mixed: Keys, shards: Keys) -> Owners:
        """Of the nodes whose hashes with the shards are `mixed`: which nodes they are follows from the hashes."""
        keys, indexes = self._by_key
        owners = indexes.take(np.searchsorted(keys, unmix(mixed, shards)))
        if self._twins:
            for at in np.flatnonzero(np.isin(owners, list(self._twins))).tolist():
                hashed, weights = int(mixed[at]), self._weights
                owners[at] = min(self._twins[owners[at]], key=lambda index: (score(hashed, int(weights[index])), index))
        return owners

    @cached_property
    def _by_key(self) -> tuple[Keys, NDArray[np.int32]]:
        """The keys of those that take part, ascending, and where they are. Equal keys in the order of ids."""
        indexes = np.flatnonzero(self._weights)
        indexes = indexes[np.argsort(self._keys[indexes], kind="stable")]
        return self._keys[indexes], indexes.astype(np.int32)

    @cached_property
    def _twins(self) -> Mapping[int, Sequence[int]]:
        """Nodes of equal keys, which have equal hashes: all their indexes by the first. Usually there are none."""
        keys, indexes = self._by_key
        first = np.searchsorted(keys, keys)
        twins: dict[int, list[int]] = {}
        for at in np.flatnonzero(np.bincount(first, minlength=len(keys))[first] > 1).tolist():
            twins.setdefault(int(indexes[first[at]]), []).append(int(indexes[at]))
        return twins
