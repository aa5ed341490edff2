"""Placement that is computed and not stored: why a shard is where it is, and plans for a mesh that is supposed."""

from dataclasses import replace
from typing import Annotated, Final

import strawberry

from graph.execution.context import Info
from graph.schema.arguments import NamespaceName, json_object, missing
from graph.schema.broken_rules import BrokenRule
from graph.schema.enums import StayReason
from graph.schema.namespaces import Namespace
from graph.schema.node_mutations import labels_of
from graph.schema.nodes import LABELS, NODE_ID, REGION, WEIGHT, ZONE
from graph.schema.plan_mutations import MOST_MOVES_TO_PLAN, NAMESPACES_TO_PLAN, NarrowingFields, plan_request
from graph.schema.proposals import Move, Violation
from graph.schema.scalars import JSON
from persistence.model.fields import check_identifiers
from persistence.model.outcomes import NotFound
from persistence.model.records import NodeStatus, ShardKey
from persistence.planning.explanation import Explanation
from persistence.planning.proposal import Proposal
from persistence.planning.what_if import MAX_SUPPOSED, SupposedNode, WhatIf
from persistence.service.rebalancer import PlanRequest


@strawberry.type(description="One node, for one shard.")
class PlacementCandidate:
    node_id: str = strawberry.field(description="The node.")
    rank: int | None = strawberry.field(
        description="Its place in the strategy's order of preference, from 1; null if it may not own the shard."
    )
    status: NodeStatus = strawberry.field(description="Whether it may own shards.")
    weight: int = strawberry.field(description="How much it takes, relative to other nodes.")
    region: str | None = strawberry.field(description="The region it is in.")
    zone: str | None = strawberry.field(description="The zone it is in.")
    obstacle: str | None = strawberry.field(description="Why it may not own the shard; null if it may.")


def stays(parent: strawberry.Parent[Explanation]) -> StayReason | None:
    return None if parent.stays is None else StayReason(parent.stays)


def owner_node_id(parent: strawberry.Parent[Explanation]) -> str:
    return parent.shard.owner_node_id


def shard_id(parent: strawberry.Parent[Explanation]) -> str:
    return parent.shard.shard_id


@strawberry.type(description="Why a shard is where it is, from what the planner itself computes.")
class PlacementExplanation:
    namespace: Namespace = strawberry.field(description="The namespace, whose strategy decides.")
    shard_id = strawberry.field(resolver=shard_id, description="The shard's id.")
    owner_node_id = strawberry.field(resolver=owner_node_id, description="The node that owns it.")
    target_node_id: str | None = strawberry.field(
        description="The node its strategy places it on; null if the namespace cannot be placed."
    )
    move: Move | None = strawberry.field(
        description=(
            "What a plan of its namespace that is made now, with the default of moves, would do with it; null if it "
            "would leave it where it is."
        )
    )
    number: int | None = strawberry.field(description="Which of that plan's moves it is, from 1; null if it is none.")
    planned: int = strawberry.field(description="How many moves that plan would have.")
    wave: int | None = strawberry.field(
        description="In which wave it would be made, from 1, if each is as large as the budgets let it be."
    )
    waves: int = strawberry.field(description="In how many waves the plan would be made then.")
    waits: list[BrokenRule] = strawberry.field(
        description="The rules that keep that move from being made now; the budget of one change is kept by waves."
    )
    stays = strawberry.field(
        resolver=stays,
        description="Why it stays although its strategy places it elsewhere; null if nothing keeps it.",
    )
    summary: str = strawberry.field(description="All of this in a sentence or two.")
    candidates: list[PlacementCandidate] = strawberry.field(
        description="Every node: those that may own it by rank, then the others by id."
    )
    replica_node_ids: list[str] = strawberry.field(
        description="Where its copies belong, the owner first; empty if the namespace cannot be placed."
    )
    violations: list[Violation] = strawberry.field(description="What is wrong with its placement.")


async def explain_shard(
    info: Info,
    namespace: NamespaceName,
    shard_id: Annotated[str, strawberry.argument(description="The shard's id within the namespace.")],
) -> Explanation:
    check_identifiers(namespace=namespace, shardId=shard_id)
    found = await info.context.services.rebalancer.explain(ShardKey(namespace, shard_id))
    if isinstance(found, NotFound):
        raise await missing(info, found)
    return found


_UNCHANGED: Final = "By default as it is."


@strawberry.input(description="A node as it might be. What is left out or null is as it is.")
class SupposedNodeInput:
    node_id: str = strawberry.field(description=f"{NODE_ID} One that is not registered is supposed to be there.")
    region: str | None = strawberry.field(default=None, description=f"{REGION} {_UNCHANGED}")
    zone: str | None = strawberry.field(default=None, description=f"{ZONE} {_UNCHANGED}")
    labels: JSON | None = strawberry.field(
        default=None, description=f"{LABELS} In place of all that it has. {_UNCHANGED}"
    )
    weight: int | None = strawberry.field(default=None, description=f"{WEIGHT} {_UNCHANGED}")
    status: NodeStatus | None = strawberry.field(
        default=None, description=f"REMOVED supposes that it is not there. {_UNCHANGED}"
    )

    def supposed(self, path: str) -> SupposedNode:
        labels = None if self.labels is None else labels_of(f"{path}labels", self.labels)
        return SupposedNode(self.node_id, self.region, self.zone, labels, self.weight, self.status)


@strawberry.input(description="A mesh to suppose, and what to plan for in it.")
class SimulateRebalanceInput(NarrowingFields):
    namespaces: list[str] | None = strawberry.field(default=None, description=NAMESPACES_TO_PLAN)
    max_moves: int | None = strawberry.field(default=None, description=MOST_MOVES_TO_PLAN)
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

    def plan_request(self) -> PlanRequest:
        request = plan_request(self.namespaces, self.max_moves)
        return replace(request, narrowing=self.narrowing(), threshold=self.threshold)

    def what_if(self) -> WhatIf:
        """Raises InvalidArgument for what should be an object and is none; everything else is the store's to check."""
        parameters = json_object("strategyParameters", self.strategy_parameters, '{"virtualNodes": 160}')
        supposed = tuple(node.supposed(f"nodes[{index}].") for index, node in enumerate(self.nodes or ()))
        return WhatIf(supposed, self.strategy, parameters)


async def simulate_rebalance(
    info: Info,
    input: Annotated[  # noqa: A002 - by schema
        SimulateRebalanceInput, strawberry.argument(description="What to suppose, and what to plan for.")
    ],
) -> Proposal:
    found = await info.context.services.rebalancer.simulate(input.plan_request(), input.what_if())
    if isinstance(found, NotFound):
        raise await missing(info, found)
    return found
