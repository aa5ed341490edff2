"""A namespace's configuration at work over a set of nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from strategies.bounded import bounded
from strategies.bounds import Bounds, exceeded
from strategies.checking import Checked
from strategies.model import Infeasible, Movement, Node, Owners, Shard, Shards, Strategy
from strategies.overflow import Overflow, overflow_of
from strategies.parameters import MAX_WEIGHT
from strategies.selectors import read_selector
from strategies.sticky import Present, settled


class Placer:
    """The nodes that may own, the strategy among those, then the bounds. Immutable.

    `parameters` are valid and complete: the strategy's own and the constraints. The order of `nodes` means nothing.

    Raises ValueError for nodes that `check_nodes` refuses; Infeasible where no node is eligible, fewer are than there
    are to be replicas, or the strategy cannot place over them; PlacementFailed where a plug-in breaks its promises.
    """

    def __init__(self, strategy: Strategy, parameters: Mapping[str, Any], nodes: Sequence[Node]) -> None:
        check_nodes(nodes)
        eligible = eligible_nodes(nodes, parameters)
        if obstacle := nodes_obstacle(len(eligible), len(nodes), parameters):
            raise Infeasible(obstacle[1])
        own = {name: parameters[name] for name in strategy.parameters}
        prepare = partial(strategy.prepare, parameters=own)
        self._placement = prepare(eligible)
        # A plug-in's own claim of its movement is not checked. Its ranks are.
        hands_on = strategy.movement is Movement.MINIMAL and not isinstance(strategy, Checked)
        self._succession = prepare if hands_on else None
        self.keeps_owners = keeps_owners(strategy)
        self._nodes = {node.node_id: node for node in sorted(eligible, key=lambda node: node.node_id)}
        self._replicas: int = parameters["replicas"]
        self._spread: str = parameters["spread"]
        self._bounds = Bounds(
            parameters["maxLoadPercent"], parameters["loadBy"] == "capacity", parameters["maxShardsPerNode"]
        )

    @property
    def nodes(self) -> Sequence[Node]:
        """Those that may own shards, by id."""
        return tuple(self._nodes.values())

    @property
    def bounded(self) -> bool:
        """Whether a node can be full."""
        return not self._bounds.unbounded

    @property
    def bounds(self) -> Bounds:
        """When a node is full."""
        return self._bounds

    def owners(
        self,
        shards: Shards,
        staying: Mapping[str, Sequence[float]] | None = None,
        present: Present | None = None,
        *,
        partly: bool = False,
    ) -> Owners:
        """For each shard the index of its owner in `nodes`. Raises Infeasible where the bounds leave too little room,
        unless that is to be done `partly`: then the shards that find none are `NOWHERE`.

        With bounds, where a shard goes depends on the others: give all shards of the namespace. Those that keep their
        owner in any case are not among `shards`, but their capacities are `staying`, by the owner's id: they are
        part of its load and of the whole. What stays on nodes that are not among `nodes` counts nowhere.

        `present` is needed, and used, where the strategy keeps owners; without it all shards are placed.
        """
        if self.keeps_owners and present is not None:
            return settled(self._placement, shards, present, self._bounds, self._succession, staying)
        owners = self._placement.assign(shards)
        if self._bounds.unbounded:
            return owners
        return bounded(self._placement, shards, owners, self._bounds, self._succession, staying, partly=partly)

    def exceeded(self, held: Mapping[str, Sequence[float]]) -> Sequence[tuple[str, str]]:
        """(node id, message) of each of `nodes` that is above a bound, by id, from the capacities that each holds.

        A load is above its bound if it would have reached it even without its largest shard: whatever `owners` gives
        to a node by itself is not.
        """
        return () if self._bounds.unbounded else tuple(exceeded(self.nodes, held, self._bounds))

    def first_choices(self, shards: Shards) -> Owners:
        """For each shard the index in `nodes` of the first in its rank. Bounds are not considered."""
        return self._placement.assign(shards)

    def overflow(self, shards: Shards, order: NDArray[np.intp]) -> Overflow:
        """The next open node of each, while nodes are closed one by one. `order` is that in which they will be looked
        for."""
        return overflow_of(self._placement, shards, order, self._placement.assign(shards), self._succession)

    def rank(self, namespace: str, shard: Shard) -> Sequence[str]:
        """Every eligible node id once, best first. Bounds are not considered."""
        return self._placement.rank(namespace, shard)

    def replicas(self, namespace: str, shard: Shard, owner: str) -> Sequence[str]:
        """The node ids that hold the shard, `owner` first. Raises ValueError if that is none of `nodes`."""
        if owner not in self._nodes:
            raise ValueError(f"{owner} is not among the nodes that may own shards")
        rank = [self._nodes[node_id] for node_id in self.rank(namespace, shard)]
        chosen = choose_replicas(self._nodes[owner], rank, self._replicas, self._spread)
        return [node.node_id for node in chosen]


def keeps_owners(strategy: Strategy) -> bool:
    """Plug-ins may leave the member out."""
    return getattr(strategy, "keeps_owners", False) is True


def check_nodes(nodes: Sequence[Node]) -> None:
    """Raises ValueError naming a node whose id another has too, or whose weight is no whole number from 1 to 2^20."""
    seen = set()
    for node in nodes:
        if node.node_id in seen:
            raise ValueError(f"{node.node_id}: there are two nodes of this id")
        seen.add(node.node_id)
        weight: object = node.weight
        if not isinstance(weight, int) or isinstance(weight, bool) or not 1 <= weight <= MAX_WEIGHT:
            raise ValueError(f"{node.node_id}: weight must be a whole number from 1 to {MAX_WEIGHT:,}, not {weight!r}")


def eligible_nodes(nodes: Sequence[Node], parameters: Mapping[str, Any]) -> Sequence[Node]:
    """Those that the selector of the parameters, which are complete, matches."""
    selector = read_selector(parameters["selector"])
    return [node for node in nodes if selector.matches(node)]


def nodes_obstacle(eligible: int, nodes: int, parameters: Mapping[str, Any]) -> tuple[str | None, str] | None:
    """Null, or why so many eligible nodes, of so many, are too few: the constraint (null if it is none) and why."""
    selector, replicas = parameters["selector"], parameters["replicas"]
    if not nodes:
        return None, "there are no nodes"
    if not eligible:
        return "selector", f"selector '{selector}' matches none of {nodes:,} node{'s' * (nodes != 1)}"
    if eligible < replicas:
        matching = f"selector '{selector}' matches {eligible:,} of {nodes:,}"
        why = matching if eligible < nodes else f"there are {nodes}"
        return "replicas", f"{replicas} replicas need {replicas} nodes: {why}"
    return None


# Zones of the same name in two regions are two zones. Nodes without a zone (region) count as in one of their own.
_DOMAINS: Final[Mapping[str, Callable[[Node], Hashable]]] = {
    "none": lambda node: node.node_id,
    "zone": lambda node: (node.region, node.zone),
    "region": lambda node: node.region,
}


def choose_replicas(owner: Node, rank: Sequence[Node], count: int, spread: str) -> Sequence[Node]:
    """`count` distinct nodes, at most as many as `rank` has: the owner, then each time the first in rank, not yet
    chosen, whose zone or region (`spread`) has been chosen least often."""
    domain = _DOMAINS[spread]
    chosen = [owner]
    used = Counter([domain(owner)])
    rest = [node for node in rank if node.node_id != owner.node_id]
    while len(chosen) < count:
        # `min` keeps the first of equals, which is the best in rank.
        best = min(rest, key=lambda node: used[domain(node)])
        rest.remove(best)
        chosen.append(best)
        used[domain(best)] += 1
    return chosen
