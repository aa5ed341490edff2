"""Why a shard is where it is, as the API shows it; records: `persistence.planning.explanation`."""

import strawberry

import graph.enums  # noqa: F401 - registers the enums these types name
from graph.resolvers import explanations
from graph.types.moves import Move, Violation
from graph.types.namespaces import Namespace
from persistence.records import NodeStatus


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


@strawberry.type(description="Why a shard is where it is, told from what the planner itself computes.")
class PlacementExplanation:
    namespace: Namespace = strawberry.field(description="The namespace, whose strategy decides.")
    shard_id = strawberry.field(resolver=explanations.shard_id, description="The shard's id.")
    owner_node_id = strawberry.field(resolver=explanations.owner_node_id, description="The node that owns it.")
    target_node_id: str | None = strawberry.field(
        description="The node its strategy wants it on; null if the namespace cannot be placed."
    )
    move: Move | None = strawberry.field(
        description="What a plan made now would do with it; null if it would leave it where it is."
    )
    stays = strawberry.field(
        resolver=explanations.stays,
        description="Why it stays although its strategy wants it elsewhere; null if nothing keeps it.",
    )
    summary: str = strawberry.field(description="All of this in a sentence or two.")
    candidates: list[PlacementCandidate] = strawberry.field(
        description="Every node: those that may own it by rank, then the others by id."
    )
    replica_node_ids: list[str] = strawberry.field(
        description="Where its copies belong, the owner first; empty if the namespace cannot be placed."
    )
    violations: list[Violation] = strawberry.field(description="What is wrong with its placement.")
