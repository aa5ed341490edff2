"""What nodes are entitled to of a namespace, and when they are full: by weight, among those that may own its shards."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from persistence.model.records import Namespace, Node, NodeStatus
from persistence.planning.targets import strategy_node
from strategies.bounds import UNITS, load_bounds
from strategies.model import Node as StrategyNode
from strategies.registry import Registry
from strategies.selectors import read_selector


@dataclass(frozen=True, slots=True)
class Share:
    """Of one node. `shards` is its share of them by weight, which need not be whole. `bound` is with how many shards it
    is full, `capacity_bound` with how much capacity, each null where there is no such limit."""

    shards: float
    bound: int | None
    capacity_bound: float | None


class Shares:
    """Of a mesh with these nodes. Nodes that are not active may own nothing."""

    def __init__(self, nodes: Iterable[Node], strategies: Registry) -> None:
        self._strategies = strategies
        self._active = [strategy_node(node) for node in nodes if node.status is NodeStatus.ACTIVE]
        self._eligible: dict[str, Mapping[str, StrategyNode]] = {}

    def may_own(self, namespace: Namespace) -> Mapping[str, StrategyNode]:
        """The nodes that may own shards of the namespace, by id. None where its strategy is not known here."""
        if namespace.strategy not in self._strategies:
            return {}
        selector = str(self._complete(namespace)["selector"])
        if selector not in self._eligible:
            matches = read_selector(selector).matches
            self._eligible[selector] = {node.node_id: node for node in self._active if matches(node)}
        return self._eligible[selector]

    def of(self, namespace: Namespace, node_ids: Collection[str], shards: int, capacity: int) -> Mapping[str, Share]:
        """Those of these nodes that may own shards of the namespace, which has so many of this capacity, in
        millionths."""
        eligible = self.may_own(namespace)
        if eligible.keys().isdisjoint(node_ids):
            return {}
        parameters = self._complete(namespace)
        percent, most = parameters["maxLoadPercent"], parameters["maxShardsPerNode"]
        by_capacity = parameters["loadBy"] == "capacity"
        whole = sum(node.weight for node in eligible.values())
        full_at: Mapping[str, int] = {}
        if percent is not None:
            bounds = load_bounds(capacity if by_capacity else shards, list(eligible.values()), percent)
            full_at = dict(zip(eligible, bounds, strict=True))
        shares: dict[str, Share] = {}
        for node_id in eligible.keys() & set(node_ids):
            full = full_at.get(node_id)
            shares[node_id] = Share(
                shards * eligible[node_id].weight / whole,
                _least(most, None if by_capacity else full),
                full / UNITS if by_capacity and full is not None else None,
            )
        return shares

    def _complete(self, namespace: Namespace) -> Mapping[str, Any]:
        return self._strategies.complete(namespace.strategy, namespace.strategy_parameters)


def _least(*bounds: int | None) -> int | None:
    return min((bound for bound in bounds if bound is not None), default=None)
