"""Plug-ins are run, but not believed: what they answer is held to the laws that ours are tested for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from heapq import nsmallest
from typing import Any, Final

import numpy as np

from strategies.model import Infeasible, Node, Owners, Placement, Shard, Shards, Strategy, shard_at, taken

_SAMPLE: Final = 64
_LONGEST: Final = 500


class PlacementFailed(Exception):
    """A plug-in raised, or answered what is no answer. `strategy` is its name; `what` it did is a predicate."""

    def __init__(self, strategy: str, what: str) -> None:
        self.strategy = strategy
        self.what = what
        super().__init__(f"strategy {strategy} {what}")


class Checked:
    """The strategy given, except that it keeps the laws, or else raises PlacementFailed.

    So does whatever it raises itself, but for Infeasible. Every assignment is worked out twice, the second time with
    nodes and shards in the opposite order, and compared with what `place` gives for its first shards by id.
    """

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self.name = strategy.name
        self.algorithm_version = strategy.algorithm_version
        self.parameters = strategy.parameters
        self.movement = strategy.movement
        self.keeps_owners = getattr(strategy, "keeps_owners", False) is True

    def prepare(self, nodes: Sequence[Node], parameters: Mapping[str, Any]) -> Placement:
        return _CheckedPlacement(self.name, self._strategy, nodes, parameters)


class _CheckedPlacement:
    def __init__(self, name: str, strategy: Strategy, nodes: Sequence[Node], parameters: Mapping[str, Any]) -> None:
        self._name = name
        self._strategy = strategy
        self._parameters = parameters
        self.nodes: Sequence[Node] = tuple(sorted(nodes, key=lambda node: node.node_id))
        self._ids = [node.node_id for node in self.nodes]
        self._known = frozenset(self._ids)
        self._placement = self._prepare(self.nodes)

    def place(self, namespace: str, shard: Shard) -> str:
        with self._calling("place"):
            owner: object = self._placement.place(namespace, shard)
        if not isinstance(owner, str) or owner not in self._known:
            raise self._failed(f"placed shard {shard.shard_id} on {owner!a}, which is none of the nodes")
        return owner

    def rank(self, namespace: str, shard: Shard) -> Sequence[str]:
        with self._calling("rank"):
            rank = list(self._placement.rank(namespace, shard))
            complete = len(rank) == len(self._ids) and set(rank) == self._known
        if not complete:
            raise self._failed(f"did not rank each node once for shard {shard.shard_id}")
        if (owner := self.place(namespace, shard)) != rank[0]:
            raise self._failed(f"ranked {rank[0]} first for shard {shard.shard_id}, but placed it on {owner}")
        return rank

    def assign(self, shards: Shards) -> Owners:
        first = self._assign(self._placement, shards)
        backwards = taken(shards, np.arange(len(shards))[::-1])
        second = self._assign(self._prepare(self.nodes[::-1]), backwards)[::-1]
        differing = np.flatnonzero(first != second)
        if differing.size:
            at = differing[0]
            raise self._failed(
                f"assigned {differing.size:,} of {len(shards):,} shards differently when run again with nodes and "
                f"shards in the opposite order: {shards.ids[at]} to {self._ids[first[at]]}, then to "
                f"{self._ids[second[at]]}"
            )
        self._compare_with_place(shards, first)
        return first

    def reassign(self, shards: Shards, owners: Owners, before: Placement) -> Owners:  # noqa: ARG002 - the Protocol's
        """Anew: a plug-in's shortcut could only be believed if the whole were run beside it."""
        return self.assign(shards)

    def _compare_with_place(self, shards: Shards, owners: Owners) -> None:
        """Of a sample, as `place` may take as long for each shard as `assign` for thousands."""
        for at in nsmallest(_SAMPLE, range(len(shards)), key=shards.ids.__getitem__):
            owner, assigned = self.place(shards.namespace, shard_at(shards, at)), self._ids[owners[at]]
            if owner != assigned:
                raise self._failed(f"assigned shard {shards.ids[at]} to {assigned}, but placed it on {owner}")

    def _prepare(self, nodes: Sequence[Node]) -> Placement:
        with self._calling("prepare"):
            placement = self._strategy.prepare(nodes, dict(self._parameters))
            ids = [node.node_id for node in placement.nodes]
        if ids != self._ids:
            raise self._failed("prepared a placement over other nodes than it was given, or not ordered by id")
        return placement

    def _assign(self, placement: Placement, shards: Shards) -> Owners:
        with self._calling("assign"):
            owners: object = placement.assign(shards)
        if not isinstance(owners, np.ndarray) or owners.dtype != np.int32 or owners.shape != (len(shards),):
            raise self._failed(f"did not assign {len(shards):,} shards with an int32 array of as many places")
        wrong = np.flatnonzero((owners < 0) | (owners >= len(self._ids)))
        if wrong.size:
            at = wrong[0]
            raise self._failed(
                f"assigned shard {shards.ids[at]} to place {owners[at]}, where places are 0 to {len(self._ids) - 1}"
            )
        return owners.copy()  # it may be an array that the plug-in will use again

    @contextmanager
    def _calling(self, method: str) -> Iterator[None]:
        try:
            yield
        except Infeasible as error:
            raise Infeasible(text_of(error)) from error
        except Exception as error:
            raise self._failed(f"raised {type(error).__name__} in {method}: {text_of(error)}") from error

    def _failed(self, what: str) -> PlacementFailed:
        return PlacementFailed(self._name, what)


def text_of(by: object) -> str:
    """The text of an exception, or of anything else of a plug-in's: at most 500 characters, all of which UTF-8 has.

    Text may hold halves of surrogate pairs, as do paths that could not be decoded; those are written as escapes.
    """
    try:
        text = str(by)
    except Exception as error:  # noqa: BLE001 - the plug-in's, whatever it is
        return f"(it cannot be shown: {type(error).__name__})"
    return text.encode("utf-8", "backslashreplace").decode()[:_LONGEST]
