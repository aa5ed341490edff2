"""Draining a node: what plans would do about it, and the mutation, with its input and its outcomes."""

from dataclasses import replace
from typing import Annotated, TypeAlias

import strawberry

from graph.auth.principal import Principal
from graph.execution.context import Info
from graph.schema import commands, messages, proposals
from graph.schema.changes import Change
from graph.schema.commands import CHANGE, ChangeInput
from graph.schema.node_mutations import NodeVersionConflict
from graph.schema.nodes import EXPECTED_VERSION, NODE_ID, Node, NodeIdArgument
from graph.schema.proposals import MoveConnection, Violation
from graph.schema.results import REPLAYED, IdempotencyKeyReused, InvalidInput, NotFound, Refusal, describes
from graph.schema.scalars import Revision
from persistence.commands import nodes as node_commands
from persistence.model import outcomes
from persistence.model.outcomes import NodeChanged
from persistence.planning import what_if
from persistence.planning.what_if import NOTHING_TO_DRAIN


@strawberry.type(description="What plans would do if the node were being drained, and what stands in the way.")
class DrainPreflight:
    node_id: str = strawberry.field(description="The node.")
    shard_count: int = strawberry.field(description="How many shards it owns.")
    leader_count: int = strawberry.field(description="How many shards it leads.")
    moves = strawberry.field(
        resolver=proposals.moves,
        graphql_type=MoveConnection,
        description="Where its shards would go, and who would lead those that it leads.",
    )
    move_count = strawberry.field(resolver=proposals.move_count, description="How many moves are listed.")
    remaining_moves: int = strawberry.field(description="How many more it takes: they do not fit into one plan.")
    blockers: list[Violation] = strawberry.field(
        description="The shards that would have to stay, and the namespaces that could not be placed without it."
    )


async def drain_preflight(info: Info, node_id: NodeIdArgument) -> what_if.DrainPreflight | None:
    found = await info.context.services.rebalancer.preflight(node_id)
    return None if isinstance(found, outcomes.NotFound) else found


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
    """Raises InvalidArgument."""
    command = request.command(info.context.principal)
    answered = await info.context.services.writer.replayed(command)
    preflight = await info.context.services.rebalancer.preflight(command.node_id)
    if answered is None:
        if isinstance(preflight, outcomes.NotFound):
            return preflight
        if preflight.blockers and not request.accept_blockers:
            return commands.DrainBlocked(preflight)
        answered = await info.context.services.writer.execute(command)
    if isinstance(answered, NodeChanged):
        seen = NOTHING_TO_DRAIN if isinstance(preflight, outcomes.NotFound) else preflight
        return commands.NodeDrained(
            answered.change, answered.node, replace(seen, node_id=command.node_id), answered.replayed
        )
    return answered
