"""What mutations of nodes answer."""

from typing import Annotated, TypeAlias

import strawberry

from graph import outcomes as own
from graph import rebalancing_refusals as sentences
from graph.scalars import Revision
from graph.types.changes import Change
from graph.types.nodes import Node
from graph.types.preflights import DrainPreflight
from graph.types.refusals import REPLAYED, IdempotencyKeyReused, InvalidInput, NotFound, Refusal, describes
from persistence import outcomes


@strawberry.type(description="Committed.")
class NodeChanged:
    is_type_of = staticmethod(describes(outcomes.NodeChanged))

    change: Change = strawberry.field(description="The change it was committed as.")
    node: Node = strawberry.field(description="The node after the change.")
    replayed: bool = strawberry.field(description=REPLAYED)


@strawberry.type(description="Committed: the next plans vacate the node.")
class NodeDrained:
    is_type_of = staticmethod(describes(own.NodeDrained))

    change: Change = strawberry.field(description="The change it was committed as.")
    node: Node = strawberry.field(description="The node after the change.")
    preflight: DrainPreflight = strawberry.field(description="What plans will do about it, seen right before.")
    replayed: bool = strawberry.field(description=REPLAYED)


@strawberry.type(description="The node is not at the version expected. Nothing was written.")
class NodeVersionConflict(Refusal):
    is_type_of = staticmethod(describes(outcomes.StaleNode))

    message = strawberry.field(resolver=sentences.stale_node, description="What is stale, in a sentence.")
    node_id: str = strawberry.field(description="The node.")
    expected: Revision = strawberry.field(
        name="expectedVersion", description="The version the request expected; 0 for a node to be registered."
    )
    actual: Revision = strawberry.field(
        name="actualVersion", description="The version it is at; 0 if it is not registered."
    )
    current: Node | None = strawberry.field(description="The node as it is; null if it is not registered.")
    last_change: Change | None = strawberry.field(description="Who changed it last, and why.")


@strawberry.type(description="The node owns shards, so it cannot be removed. Nothing was written.")
class NodeInUse(Refusal):
    is_type_of = staticmethod(describes(outcomes.NodeInUse))

    message = strawberry.field(resolver=sentences.node_in_use, description="What is in the way, in a sentence.")
    node: Node = strawberry.field(description="The node as it is.")


@strawberry.type(description="Shards of the node would have to stay. Nothing was written.")
class DrainBlocked(Refusal):
    is_type_of = staticmethod(describes(own.DrainBlocked))

    message = strawberry.field(resolver=sentences.drain_blocked, description="What is in the way, in a sentence.")
    preflight: DrainPreflight = strawberry.field(description="What plans would do, and what blocks it.")


NodeMutationResult: TypeAlias = Annotated[
    NodeChanged | NodeVersionConflict | NodeInUse | NotFound | InvalidInput | IdempotencyKeyReused,
    strawberry.union("NodeMutationResult", description="What became of a request to register or change a node."),
]
DrainNodeResult: TypeAlias = Annotated[
    NodeDrained | DrainBlocked | NodeVersionConflict | NotFound | InvalidInput | IdempotencyKeyReused,
    strawberry.union("DrainNodeResult", description="What became of a request to drain a node."),
]
