"""Draining a node: what plans would do about it, and the mutation, with its input and its outcomes."""

from dataclasses import replace
from typing import Annotated, TypeAlias

import strawberry

from graph.auth.principal import Principal
from graph.execution.context import Info
from graph.schema import commands, messages, proposals
from graph.schema.arguments import invalid, missing
from graph.schema.changes import Change
from graph.schema.commands import CHANGE, ChangeInput
from graph.schema.node_mutations import NodeVersionConflict
from graph.schema.nodes import EXPECTED_VERSION, NODE_ID, Node
from graph.schema.pagination import selects
from graph.schema.placement_warnings import read_mesh
from graph.schema.proposals import MoveConnection, Violation
from graph.schema.results import (
    PLACEMENT_WARNINGS,
    REPLAYED,
    AdmissionWarning,
    IdempotencyKeyReused,
    InvalidInput,
    NotFound,
    Refusal,
    describes,
)
from graph.schema.scalars import Revision
from persistence.commands import nodes as node_commands
from persistence.model import outcomes
from persistence.model.fields import check_identifiers
from persistence.model.outcomes import NodeChanged
from persistence.planning import what_if
from persistence.planning.scope import NOT_NARROWED, Narrowing
from persistence.planning.what_if import NOTHING_TO_DRAIN


def node_id(parent: strawberry.Parent[what_if.DrainPreflight]) -> str:
    return parent.node_ids[0]


@strawberry.type(
    description="What the plan narrowed to these nodes would do if they were being drained, and what stands in the way."
)
class DrainPreflight:
    node_id = strawberry.field(resolver=node_id, description="The node; of several the first by id.")
    node_ids: list[str] = strawberry.field(description="The nodes, by id.")
    shard_count: int = strawberry.field(description="How many shards they own.")
    leader_count: int = strawberry.field(description="How many shards they lead.")
    moves = strawberry.field(
        resolver=proposals.moves,
        graphql_type=MoveConnection,
        description="Where their shards would go, and who would lead those that they lead.",
    )
    move_count = strawberry.field(resolver=proposals.move_count, description="How many moves are listed.")
    remaining_moves: int = strawberry.field(description="How many more it takes: they do not fit into one plan.")
    blockers: list[Violation] = strawberry.field(
        description="The shards that would have to stay, and the namespaces that could not be placed without them."
    )


async def drain_preflight(
    info: Info,
    node_id: Annotated[str | None, strawberry.argument(description="A node's id.")] = None,
    node_ids: Annotated[
        list[str] | None, strawberry.argument(description="Several nodes at once, at most 1,000.")
    ] = None,
    zone: Annotated[
        str | None, strawberry.argument(description="Every node of this zone: `zone`, or `region/zone`.")
    ] = None,
    region: Annotated[str | None, strawberry.argument(description="Every node of this region.")] = None,
) -> what_if.DrainPreflight | None:
    if node_id is not None:
        check_identifiers(nodeId=node_id)
    named = [*([] if node_id is None else [node_id]), *(node_ids or ())]
    nodes = Narrowing(tuple(named) or None, None if zone is None else (zone,), None if region is None else (region,))
    if nodes == NOT_NARROWED:
        raise invalid("nodeId", "is required, unless nodeIds, zone or region say which nodes")
    found = await info.context.services.rebalancer.preflight(nodes)
    if not isinstance(found, outcomes.NotFound):
        return found
    if named == [node_id]:
        return None
    raise await missing(info, found)


@strawberry.input(description="A node to be drained, if it still is at the version expected.")
class DrainNodeInput:
    node_id: str = strawberry.field(description=NODE_ID)
    expected_version: Revision = strawberry.field(description=EXPECTED_VERSION)
    accept_blockers: bool | None = strawberry.field(
        default=False, description="Whether to drain it although some of its shards would have to stay."
    )
    change: ChangeInput = strawberry.field(description=CHANGE)

    def command(self, principal: Principal) -> node_commands.DrainNode:
        return node_commands.DrainNode(self.node_id, self.expected_version, self.change.request(principal))


@strawberry.type(description="Committed: the next plans vacate the node.")
class NodeDrained:
    is_type_of = staticmethod(describes(commands.NodeDrained))

    change: Change = strawberry.field(description="The change it was committed as.")
    node: Node = strawberry.field(description="The node after the change.")
    preflight: DrainPreflight = strawberry.field(description="What plans will do about it, seen right before.")
    replayed: bool = strawberry.field(description=REPLAYED)
    warnings: list[AdmissionWarning] = strawberry.field(description=PLACEMENT_WARNINGS)


@strawberry.type(description="Shards of the node would have to stay. Nothing was written.")
class DrainBlocked(Refusal):
    is_type_of = staticmethod(describes(commands.DrainBlocked))

    message = strawberry.field(resolver=messages.drain_blocked, description="What is in the way, in a sentence.")
    preflight: DrainPreflight = strawberry.field(description="What plans would do, and what blocks it.")


DrainNodeResult: TypeAlias = Annotated[
    NodeDrained | DrainBlocked | NodeVersionConflict | NotFound | InvalidInput | IdempotencyKeyReused,
    strawberry.union("DrainNodeResult", description="What became of a request to drain a node."),
]


async def drain_node(info: Info, request: DrainNodeInput) -> commands.Answer:
    """Raises InvalidArgument.

    Where blockers are accepted, and what would move is not selected, that is not worked out: it takes a look at every
    shard, and of several nodes that are drained together one pre-flight says more than one of each.
    """
    command = request.command(info.context.principal)
    answered = await info.context.services.writer.replayed(command)
    preflight: what_if.DrainPreflight | outcomes.NotFound = NOTHING_TO_DRAIN
    if not request.accept_blockers or selects(info, "preflight"):
        preflight = await info.context.services.rebalancer.preflight(Narrowing((command.node_id,)))
    if answered is None:
        if isinstance(preflight, outcomes.NotFound):
            return preflight
        if preflight.blockers and not request.accept_blockers:
            return commands.DrainBlocked(preflight)
    mesh = await read_mesh(info)
    if answered is None:
        answered = await info.context.services.writer.execute(command)
    if isinstance(answered, NodeChanged):
        seen = NOTHING_TO_DRAIN if isinstance(preflight, outcomes.NotFound) else preflight
        drained = commands.NodeDrained(
            answered.change, answered.node, replace(seen, node_ids=(command.node_id,)), answered.replayed
        )
        return drained if mesh is None else await mesh.with_warnings(drained)
    return answered
