"""The same mesh with other nodes or another configuration, and what stands in the way of draining a node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from persistence.model import fields as rules
from persistence.model.fields import Problems
from persistence.model.records import Namespace, Node, NodeStatus
from persistence.planning.planner import MAX_MOVES, PlacementImpossible, propose
from persistence.planning.proposal import Move, Violation
from persistence.planning.scope import PlanScope
from persistence.planning.snapshot import PlacementSnapshot
from strategies.registry import Registry

MAX_SUPPOSED: Final = 1_000


@dataclass(frozen=True, slots=True)
class SupposedNode:
    """A node as it might be. What is null is as it is, or the default for a node that is not there."""

    node_id: str
    region: str | None = None
    zone: str | None = None
    labels: Mapping[str, str] | None = None
    weight: int | None = None
    status: NodeStatus | None = None


@dataclass(frozen=True, slots=True)
class WhatIf:
    """`strategy` and `strategy_parameters`, where a strategy is given, replace those of every namespace."""

    nodes: Sequence[SupposedNode] = field(default_factory=tuple)
    strategy: str | None = None
    strategy_parameters: Mapping[str, Any] = field(default_factory=dict)

    def add_problems(self, problems: Problems, strategies: Registry) -> None:
        if len(self.nodes) > MAX_SUPPOSED:
            problems.add("nodes", f"holds {len(self.nodes):,} nodes; at most {MAX_SUPPOSED:,} are allowed")
            return
        seen: set[str] = set()
        for index, node in enumerate(self.nodes):
            path = f"nodes[{index}]."
            problems.add(f"{path}nodeId", rules.identifier_problem(node.node_id))
            if node.node_id in seen:
                problems.add(f"{path}nodeId", "is named twice")
            seen.add(node.node_id)
            if node.weight is not None:
                problems.add(f"{path}weight", rules.weight_problem(node.weight))
            if node.region is not None:
                problems.add(f"{path}region", rules.place_problem(node.region))
            if node.zone is not None:
                problems.add(f"{path}zone", rules.place_problem(node.zone))
            rules.add_label_problems(problems, node.labels or {}, f"{path}labels")
        self._add_strategy_problems(problems, strategies)

    def _add_strategy_problems(self, problems: Problems, strategies: Registry) -> None:
        if self.strategy is None:
            if self.strategy_parameters:
                problems.add("strategyParameters", "need a strategy that they belong to")
            return
        unknown = strategies.problem(self.strategy)
        problems.add("strategy", unknown)
        unwritable = rules.json_problem(self.strategy_parameters, limit=rules.MAX_PARAMETERS)
        problems.add("strategyParameters", unwritable)
        if unknown is None and unwritable is None:
            for name, message in strategies.parameter_problems(self.strategy, self.strategy_parameters):
                problems.add(f"strategyParameters.{name}", message)


_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


def suppose(snapshot: PlacementSnapshot, what_if: WhatIf, strategies: Registry) -> PlacementSnapshot:
    """The snapshot as it would be. `what_if` has been checked."""
    nodes = {node.node_id: node for node in snapshot.nodes}
    for supposed in what_if.nodes:
        nodes[supposed.node_id] = _node(nodes.get(supposed.node_id), supposed)
    present = [node for node in nodes.values() if node.status is not NodeStatus.REMOVED]
    namespaces = snapshot.namespaces
    if what_if.strategy is not None:
        namespaces = [_namespace(namespace, what_if, strategies) for namespace in namespaces]
    return replace(snapshot, namespaces=namespaces, nodes=sorted(present, key=lambda node: node.node_id))


def _node(current: Node | None, supposed: SupposedNode) -> Node:
    given: dict[str, Any] = {
        "region": supposed.region,
        "zone": supposed.zone,
        "labels": supposed.labels,
        "weight": supposed.weight,
        "status": supposed.status,
    }
    known = current or _unknown(supposed.node_id)
    return replace(known, **{name: value for name, value in given.items() if value is not None})


def _unknown(node_id: str) -> Node:
    return Node(node_id, None, None, {}, 1, NodeStatus.ACTIVE, None, 0, 0, _NEVER, _NEVER)


def _namespace(namespace: Namespace, what_if: WhatIf, strategies: Registry) -> Namespace:
    assert what_if.strategy is not None  # noqa: S101 - checked by the caller
    return replace(
        namespace,
        strategy=what_if.strategy,
        strategy_parameters=what_if.strategy_parameters,
        algorithm_version=strategies[what_if.strategy].algorithm_version,
        parameters_digest=strategies.digest(what_if.strategy, what_if.strategy_parameters),
    )


def vacated(snapshot: PlacementSnapshot, scope: PlanScope) -> PlacementSnapshot:
    """As if the nodes to be vacated that would keep their shards were DRAINING."""
    kept = (NodeStatus.ACTIVE, NodeStatus.CORDONED)
    return replace(
        snapshot,
        nodes=[
            replace(node, status=NodeStatus.DRAINING) if node.node_id in scope.vacate and node.status in kept else node
            for node in snapshot.nodes
        ],
    )


@dataclass(frozen=True, slots=True)
class DrainPreflight:
    """`moves` take a shard, or its lead, off the nodes; `blockers` are the shards that would have to stay, or
    the namespaces that would.

    `remaining_moves` did not fit into one plan.
    """

    node_ids: tuple[str, ...]
    shard_count: int
    moves: Sequence[Move]
    remaining_moves: int
    blockers: tuple[Violation, ...]
    leader_count: int = 0


NOTHING_TO_DRAIN: Final = DrainPreflight((), 0, (), 0, ())
"""Of a node that is gone by now."""


def preflight(snapshot: PlacementSnapshot, node_ids: Sequence[str], strategies: Registry) -> DrainPreflight:
    """For nodes of the snapshot: the plan, narrowed to vacating them, that would be made if they were DRAINING."""
    scope = PlanScope(tuple(sorted(node_ids)))
    owned: Counter[str] = Counter()
    led: Counter[str] = Counter()
    for name, shards in snapshot.shards.items():
        owned[name] = sum(shard.owner_node_id in scope.vacated for shard in shards)
        led[name] = sum(shard.leader_id in scope.vacated for shard in shards)
    affected = {name for name, count in (owned + led).items() if count}
    drained = [SupposedNode(node_id, status=NodeStatus.DRAINING) for node_id in scope.vacate]
    supposed = suppose(snapshot, WhatIf(drained), strategies)
    moves: Sequence[Move] = ()
    remaining = 0
    try:
        proposal = propose(supposed, strategies, max_moves=MAX_MOVES, scope=scope)
        moves, remaining, violations = proposal.moves, proposal.remaining_moves, proposal.violations
    except PlacementImpossible as impossible:
        violations = impossible.violations
    blockers = tuple(
        one
        for one in violations
        if one.node_id in scope.vacate or (one.code == "NO_PLACEMENT" and one.namespace in affected)
    )
    return DrainPreflight(scope.vacate, owned.total(), moves, remaining, blockers, led.total())
