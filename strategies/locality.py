"""Rendezvous with a preference for nodes near to where a shard's hint places it.

A node's weight is multiplied for a shard whose hint names its zone, or else its region, and for labels the namespace
prefers. The contest stays a flat one: choosing a zone first and a node in it second, as hierarchies do, moves shards
between other zones whenever the weight of one changes, where here only the node that changed wins or loses any.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from strategies.hashing import node_key, shard_key
from strategies.hints import ANYWHERE, Hint, read_hint
from strategies.model import Keys, Movement, Node, Owners, Placement, Shard, Shards
from strategies.parameters import ChoiceParameter, IntegerParameter, Parameter, TextParameter
from strategies.selectors import MAX_LENGTH, read_selector
from strategies.weighted import Contest, Entrant, Standing, first, standings, whereabouts

STRICT: Final = "strict"

_MAX_BOOST: Final = 1_024

Meaning = TypeVar("Meaning", bound=Hashable)


class Locality:
    name: Final = "locality"
    algorithm_version: Final = 1
    parameters: Mapping[str, Parameter] = {
        "mode": ChoiceParameter("prefer", ("prefer", STRICT)),
        "regionBoost": IntegerParameter(16, 1, _MAX_BOOST),
        "zoneBoost": IntegerParameter(64, 1, _MAX_BOOST),
        "preferredLabels": TextParameter("", f"a label selector of at most {MAX_LENGTH:,} characters", read_selector),
        "labelBoost": IntegerParameter(4, 1, _MAX_BOOST),
    }
    movement: Final = Movement.MINIMAL

    def prepare(self, nodes: Sequence[Node], parameters: Mapping[str, Any]) -> LocalityPlacement:
        return LocalityPlacement(nodes, parameters)


class LocalityPlacement:
    def __init__(self, nodes: Sequence[Node], parameters: Mapping[str, Any]) -> None:
        self.nodes: Final[Sequence[Node]] = sorted(nodes, key=lambda node: node.node_id)
        self._parameters = parameters
        self._strict = parameters["mode"] == STRICT
        self._boosts: Final[Sequence[int]] = (1, parameters["regionBoost"], parameters["zoneBoost"])
        self._keys = [node_key(node.node_id) for node in self.nodes]
        self._weights = _weights(self.nodes, parameters)

    def place(self, namespace: str, shard: Shard) -> str:
        entrants = self._entrants(shard)
        if self._strict:
            best = max(entrant.level for entrant in entrants)
            entrants = [entrant for entrant in entrants if entrant.level == best]
        return first(entrants, shard_key(namespace, shard.shard_id)).node_id

    def rank(self, namespace: str, shard: Shard) -> Sequence[str]:
        return [standing.node_id for standing in self.standings(namespace, shard)]

    def standings(self, namespace: str, shard: Shard) -> Sequence[Standing]:
        """In the order of `rank`."""
        ranked = standings(self._entrants(shard), shard_key(namespace, shard.shard_id))
        return sorted(ranked, key=lambda standing: -standing.level) if self._strict else ranked

    def _entrants(self, shard: Shard) -> list[Entrant]:
        hint = read_hint(shard.locality_hint)
        levels = [_level(node, hint) for node in self.nodes]
        return [
            Entrant(node.node_id, key, weight * self._boosts[level], level)
            for node, key, weight, level in zip(self.nodes, self._keys, self._weights, levels, strict=True)
        ]

    def assign(self, shards: Shards) -> Owners:
        result = np.empty(len(shards), np.int32)
        for hint, at in _by_meaning(shards, self._meaning):
            result[at] = self._contest(hint).winners(shards.keys[at])
        return result

    def reassign(self, shards: Shards, owners: Owners, before: Placement) -> Owners:
        earlier = LocalityPlacement(before.nodes, self._parameters)
        indexes = whereabouts(before.nodes, self.nodes)
        result = np.empty(len(shards), np.int32)
        for (then, now), at in _by_meaning(shards, lambda hint: (earlier._meaning(hint), self._meaning(hint))):
            contest, was = self._contest(now), earlier._contest(then)
            result[at] = contest.winners_after(was, indexes, shards.keys[at], owners[at])
        return result

    def _meaning(self, hint: Hint) -> Hint:
        """The least specific hint that means the same for these nodes: there are fewer of them than localities."""
        return next((known for known in (hint, Hint(hint.region)) if known in self._places), ANYWHERE)

    def _contest(self, hint: Hint) -> Contest:
        """Among which nodes, with which weights, the owner of a shard with this hint, one of `_meaning`, is decided."""
        levels = np.zeros(len(self.nodes), np.intp)
        levels[self._places.get(Hint(hint.region), [])] = 1
        if hint.zone is not None:
            levels[self._places.get(hint, [])] = 2
        keys, weights = self._columns
        weights = weights * np.array(self._boosts, np.int64)[levels]
        if self._strict:
            weights[levels < levels.max()] = 0
        return Contest(keys, weights)

    @cached_property
    def _columns(self) -> tuple[Keys, NDArray[np.int64]]:
        return np.array(self._keys, np.uint64), np.array(self._weights, np.int64)

    @cached_property
    def _places(self) -> Mapping[Hint, Sequence[int]]:
        """Which nodes are in a region, in a zone of a region, in a zone of any region."""
        indexes: dict[Hint, list[int]] = {}
        for at, node in enumerate(self.nodes):
            for hint in {Hint(node.region), Hint(node.region, node.zone), Hint(None, node.zone)} - {ANYWHERE}:
                indexes.setdefault(hint, []).append(at)
        return indexes


def _weights(nodes: Sequence[Node], parameters: Mapping[str, Any]) -> list[int]:
    """For shards without hint."""
    preferred, boost = parameters["preferredLabels"], parameters["labelBoost"]
    if preferred == "":
        return [node.weight for node in nodes]
    selector = read_selector(preferred)
    return [node.weight * (boost if selector.matches(node) else 1) for node in nodes]


def _level(node: Node, hint: Hint) -> int:
    """2 if the node is in the zone of the hint, 1 if in the region, else 0."""
    in_region = hint.region is not None and node.region == hint.region
    if hint.zone is not None and node.zone == hint.zone and (in_region or hint.region is None):
        return 2
    return 1 if in_region else 0


def _by_meaning(
    shards: Shards, meaning: Callable[[Hint], Meaning]
) -> Iterator[tuple[Meaning, NDArray[np.intp] | slice]]:
    """Each meaning that hints of these shards have, with the indexes of the shards."""
    numbers: dict[Meaning, int] = {}
    number_of = np.array([numbers.setdefault(meaning(hint), len(numbers)) for hint in shards.hint_table], np.intp)
    if len(numbers) <= 1:
        yield from ((only, slice(None)) for only in numbers)
        return
    # Small unsigned integers are sorted by radix: many times faster.
    numbered = number_of.astype(np.min_scalar_type(len(numbers))).take(shards.hints)
    order = np.argsort(numbered, kind="stable")
    ends = np.cumsum(np.bincount(numbered, minlength=len(numbers)))
    for number, indexes in zip(numbers, np.split(order, ends[:-1]), strict=True):
        if len(indexes):
            yield number, indexes
