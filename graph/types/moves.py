"""Moves and what is wrong with a placement, as the API shows them; records: `persistence.planning.proposal`."""

import strawberry

import graph.enums  # noqa: F401 - registers the enums these types name
from graph.scalars import Revision
from graph.types.paging import Paged, Placed
from persistence.records import MoveReason, ShardStatus


@strawberry.type(description="What a shard is given back beside its owner.")
class RestoredFields:
    leader_id: str | None = strawberry.field(description="The replica that leads it.")
    capacity_hint: float = strawberry.field(description="How much of a node it takes.")
    locality_hint: str | None = strawberry.field(description="Where it would rather be.")
    status: ShardStatus = strawberry.field(description="What its owner may do with it.")


@strawberry.type(description="One shard to be moved from one node to another; of a rollback, also to be restored.")
class Move:
    namespace: str = strawberry.field(description="The namespace of the shard.")
    shard_id: str = strawberry.field(description="The shard's id.")
    version: Revision = strawberry.field(description="The version the shard is moved at, and at no other.")
    from_node_id: str = strawberry.field(description="The node that owns it.")
    to_node_id: str = strawberry.field(description="The node that shall own it.")
    reason: MoveReason = strawberry.field(description="Why.")
    restore: RestoredFields | None = strawberry.field(
        description="What else a rollback gives back; null if it is the owner alone. Then the owner may also stay."
    )


@strawberry.type(description="A move and its place in the list.")
class MoveEdge(Placed):
    node: Move = strawberry.field(description="The move.")


@strawberry.type(description="A page of moves, the most urgent first, then by namespace and shard id.")
class MoveConnection(Paged):
    edges: list[MoveEdge] = strawberry.field(description="The moves with their cursors.")
    nodes: list[Move] = strawberry.field(description="The moves alone.")


@strawberry.type(description="Something that moving shards cannot put right.")
class Violation:
    code: str = strawberry.field(
        description=(
            "`NO_PLACEMENT`: the namespace cannot be placed and is left alone. `PINNED_TO_UNAVAILABLE`: a shard is "
            "pinned to a node that is to be vacated. `BOUND_EXCEEDED`: the plan leaves a node above a bound."
        )
    )
    namespace: str = strawberry.field(description="The namespace.")
    shard_id: str | None = strawberry.field(description="The shard; null if it is about the whole namespace.")
    node_id: str | None = strawberry.field(description="The node; null if it is about no single one.")
    message: str = strawberry.field(description="What is wrong, in a sentence for the operator.")
