"""Which namespaces a mesh can place, and which it could not without one of its nodes: what edits are held to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from persistence.model.outcomes import AdmissionWarning, WarningCode
from persistence.model.records import Namespace, Node, NodeStatus
from persistence.planning.targets import strategy_node
from strategies import model
from strategies.feasibility import Feasibility, Obstacle
from strategies.registry import Registry

MOST_WARNINGS: Final = 20


def warnings_of(
    namespaces: Iterable[Namespace], nodes: Sequence[Node], strategies: Registry
) -> Mapping[tuple[str, WarningCode], AdmissionWarning]:
    """By namespace and code. Namespaces without shards, of strategies that are not known here, and all of them where no
    node may own shards, are left out."""
    active = [strategy_node(node) for node in nodes if node.status is NodeStatus.ACTIVE]
    known: dict[str, Feasibility | None] = {}
    found: dict[tuple[str, WarningCode], AdmissionWarning] = {}
    for namespace in namespaces if active else ():
        if not namespace.shard_count:
            continue
        digest = namespace.parameters_digest
        if digest not in known:
            known[digest] = _feasibility(namespace, active, strategies)
        if (feasibility := known[digest]) is not None:
            found |= {(namespace.name, warning.code): warning for warning in _warnings(namespace, feasibility)}
    return found


def _feasibility(namespace: Namespace, nodes: Sequence[model.Node], strategies: Registry) -> Feasibility | None:
    """Null where this server does not know the strategy or its parameters."""
    if strategies.problem(namespace.strategy) or any(
        strategies.parameter_problems(namespace.strategy, namespace.strategy_parameters)
    ):
        return None
    complete = strategies.complete(namespace.strategy, namespace.strategy_parameters)
    return Feasibility(strategies[namespace.strategy], complete, nodes)


def _warnings(namespace: Namespace, feasibility: Feasibility) -> Iterator[AdmissionWarning]:
    name = namespace.name
    if obstacle := feasibility.obstacle(namespace.shard_count):
        message = f"{name} cannot be placed: {obstacle.message}"
        yield AdmissionWarning(WarningCode.NAMESPACE_UNPLACEABLE, None, message, namespace=name)
    if obstacle := feasibility.obstacle_after_a_loss(namespace.shard_count):
        message = f"{name} could not be placed any more without one of its nodes: {obstacle.message}"
        yield AdmissionWarning(WarningCode.NAMESPACE_WITHOUT_RESERVE, None, message, namespace=name)


def own_obstacle(
    namespace: Namespace, strategy: str, parameters: Mapping[str, Any], nodes: Sequence[Node], strategies: Registry
) -> Obstacle | None:
    """What the namespace's shards could not be placed for if it were configured so, whatever becomes of the nodes: they
    could not on those that are ACTIVE, and not if all were. Null where they cannot be placed as it is, where it has no
    shards, and where no node is ACTIVE.

    Strategy and parameters are known to be right.
    """
    if not namespace.shard_count:
        return None
    active = [strategy_node(node) for node in nodes if node.status is NodeStatus.ACTIVE]
    present = [strategy_node(node) for node in nodes if node.status is not NodeStatus.REMOVED]
    if not active:
        return None
    complete = strategies.complete(strategy, parameters)
    of_all, obstacle = (
        Feasibility(strategies[strategy], complete, some).obstacle(namespace.shard_count) for some in (present, active)
    )
    if of_all is None or obstacle is None:
        return None
    before = _feasibility(namespace, active, strategies)
    is_placeable = before is not None and before.obstacle(namespace.shard_count) is None
    return obstacle if is_placeable else None


def new_warnings(
    before: Mapping[tuple[str, WarningCode], AdmissionWarning],
    after: Mapping[tuple[str, WarningCode], AdmissionWarning],
) -> tuple[AdmissionWarning, ...]:
    """Those of `after` that `before` has not, at most so many."""
    fresh = [warning for key, warning in after.items() if key not in before]
    rest = len(fresh) - MOST_WARNINGS
    if rest > 0:
        last = fresh[MOST_WARNINGS]
        more = f"{rest:,} more namespaces cannot be placed, or not without one of their nodes, from {last.namespace} on"
        fresh = [*fresh[:MOST_WARNINGS], replace(last, message=more)]
    return tuple(fresh)
