"""Inputs about rebalancing: plans to list, to make and to apply, and meshes to suppose."""

import strawberry

import graph.enums  # noqa: F401 - registers the enums these types name
from graph.auth.principal import Principal
from graph.inputs.nodes import LABELS, NODE_ID, REGION, WEIGHT, ZONE, labels_of
from graph.inputs.values import json_object
from graph.inputs.writing import ChangeInput
from graph.scalars import JSON
from persistence import plan_commands, queries
from persistence.fields import Problems
from persistence.planning.planner import MAX_MOVES
from persistence.planning.what_if import MAX_SUPPOSED, SupposedNode, WhatIf
from persistence.rebalancing import PlanRequest
from persistence.records import NodeStatus, PlanStatus

_NAMESPACES = "Only these, at most 1,000; all of them by default."
_MAX_MOVES = f"At most this many moves, the most urgent first: 1 to {MAX_MOVES:,}, which is the default."
_AS_IT_IS = "By default as it is."
_CHANGE = "By whom, why, and under which ticket."


@strawberry.input(description="Which plans. All fields must match.")
class RebalancePlanFilter:
    namespace: str | None = strawberry.field(default=None, description="That cover this namespace.")
    statuses: list[PlanStatus] | None = strawberry.field(
        default=None, description="In one of these states. Null or an empty list does not restrict."
    )


def plan_filter(asked: RebalancePlanFilter | None) -> queries.PlanFilter:
    """Raises InvalidArgument naming `filter.` and the field."""
    if asked is None:
        return queries.PlanFilter()
    where = queries.PlanFilter(asked.namespace, asked.statuses or None)
    problems = Problems()
    where.add_problems(problems)
    problems.raise_if_any()
    return where


@strawberry.input(description="What to plan for.")
class PlanRebalanceInput:
    namespaces: list[str] | None = strawberry.field(default=None, description=_NAMESPACES)
    max_moves: int | None = strawberry.field(default=None, description=_MAX_MOVES)
    change: ChangeInput = strawberry.field(description=_CHANGE)

    def request(self) -> PlanRequest:
        return _request(self.namespaces, self.max_moves)


@strawberry.input(description="A plan to be applied.")
class ApplyPlanInput:
    plan_id: strawberry.ID = strawberry.field(description="The plan's id.")
    change: ChangeInput = strawberry.field(description=_CHANGE)

    def command(self, principal: Principal) -> plan_commands.ApplyPlan:
        return plan_commands.ApplyPlan(self.plan_id, self.change.request(principal))


@strawberry.input(description="A node as it might be. What is left out or null is as it is.")
class SupposedNodeInput:
    node_id: str = strawberry.field(description=f"{NODE_ID} One that is not registered is supposed to be there.")
    region: str | None = strawberry.field(default=None, description=f"{REGION} {_AS_IT_IS}")
    zone: str | None = strawberry.field(default=None, description=f"{ZONE} {_AS_IT_IS}")
    labels: JSON | None = strawberry.field(
        default=None, description=f"{LABELS} In place of all that it has. {_AS_IT_IS}"
    )
    weight: int | None = strawberry.field(default=None, description=f"{WEIGHT} {_AS_IT_IS}")
    status: NodeStatus | None = strawberry.field(
        default=None, description=f"REMOVED supposes that it is not there. {_AS_IT_IS}"
    )

    def supposed(self, path: str) -> SupposedNode:
        labels = None if self.labels is None else labels_of(f"{path}labels", self.labels)
        return SupposedNode(self.node_id, self.region, self.zone, labels, self.weight, self.status)


@strawberry.input(description="A mesh to suppose, and what to plan for in it.")
class SimulateRebalanceInput:
    namespaces: list[str] | None = strawberry.field(default=None, description=_NAMESPACES)
    max_moves: int | None = strawberry.field(default=None, description=_MAX_MOVES)
    nodes: list[SupposedNodeInput] | None = strawberry.field(
        default=None,
        description=f"Nodes to suppose beside those there are, or in their place. At most {MAX_SUPPOSED:,}.",
    )
    strategy: str | None = strawberry.field(
        default=None, description="The strategy to suppose for every namespace: the name of one of `strategies`."
    )
    strategy_parameters: JSON | None = strawberry.field(
        default=None, description="A JSON object with that strategy's parameters; what is left out has its default."
    )

    def request(self) -> PlanRequest:
        return _request(self.namespaces, self.max_moves)

    def what_if(self) -> WhatIf:
        """Raises InvalidArgument for what should be an object and is none; everything else is the store's to check."""
        parameters = json_object("strategyParameters", self.strategy_parameters, '{"virtualNodes": 160}')
        supposed = tuple(node.supposed(f"nodes[{index}].") for index, node in enumerate(self.nodes or ()))
        return WhatIf(supposed, self.strategy, parameters)


def _request(namespaces: list[str] | None, max_moves: int | None) -> PlanRequest:
    return PlanRequest(namespaces, MAX_MOVES if max_moves is None else max_moves)
