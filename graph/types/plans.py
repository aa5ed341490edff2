"""Plans as the API shows them; records: `persistence.records.RebalancePlan`, `persistence.planning.proposal`."""

import strawberry

import graph.enums  # noqa: F401 - registers the enums these types name
from graph.resolvers import proposals
from graph.scalars import Revision
from graph.types.changes import Change
from graph.types.moves import MoveConnection, Violation
from graph.types.paging import Paged, Placed
from persistence.records import PlanStatus


@strawberry.type(description="A namespace as a plan found it.")
class PlannedNamespace:
    name: str = strawberry.field(description="Its name.")
    version: Revision = strawberry.field(
        description="The version of its configuration: the plan does not fit another one."
    )
    strategy: str = strawberry.field(description="Its placement strategy.")
    algorithm_version: int = strawberry.field(description="The version of the strategy's algorithm.")
    parameters_digest: str = strawberry.field(
        description="SHA-256 (hex) of strategy, algorithm version and all parameters with their defaults."
    )
    digest: str = strawberry.field(description="32 hex digits over its shards, see `Namespace.digest`.")
    shard_count: int = strawberry.field(description="How many shards it has.")
    moved: int = strawberry.field(description="How many of them the plan moves.")


@strawberry.type(description="What a node owns of the planned namespaces, before and after.")
class NodeLoad:
    node_id: str = strawberry.field(description="The node.")
    shards_before: int = strawberry.field(description="How many shards it owns.")
    shards_after: int = strawberry.field(description="How many it would own.")
    capacity_before: float = strawberry.field(description="The sum of their capacity hints.")
    capacity_after: float = strawberry.field(description="The sum of their capacity hints then.")


@strawberry.type(description="Which shards to move, and what that was computed from. Equal inputs give an equal one.")
class RebalanceProposal:
    id: strawberry.ID = strawberry.field(
        description="The first 32 hex digits of the SHA-256 of `document`; a plan made of it has the same id."
    )
    base_revision: Revision = strawberry.field(description="The newest revision of the planned namespaces.")
    inputs_digest: str = strawberry.field(description="SHA-256 (hex) of everything it was computed from.")
    move_count = strawberry.field(resolver=proposals.move_count, description="How many shards it moves.")
    remaining_moves: int = strawberry.field(description="How many moves were left for a later plan by `maxMoves`.")
    shard_count: int = strawberry.field(description="How many shards there are in the planned namespaces.")
    moved_percent: float = strawberry.field(description="`moveCount` as a percentage of `shardCount`.")
    namespaces: list[PlannedNamespace] = strawberry.field(description="The namespaces it was planned for, by name.")
    loads: list[NodeLoad] = strawberry.field(description="Every node's load before and after, by node id.")
    violations: list[Violation] = strawberry.field(description="What the moves do not put right.")
    moves = strawberry.field(
        resolver=proposals.moves, graphql_type=MoveConnection, description="The moves, the most urgent first."
    )
    document: str = strawberry.field(
        description="All of it as canonical JSON, byte for byte what `id` is the digest of: to be kept and reviewed."
    )


@strawberry.type(description="A rebalance that can be reviewed and applied. Its content never changes.")
class RebalancePlan:
    id: strawberry.ID = strawberry.field(description="32 hex digits: the beginning of the SHA-256 of its document.")
    status: PlanStatus = strawberry.field(description="How far it has come.")
    base_revision: Revision = strawberry.field(description="The newest revision of the planned namespaces.")
    namespaces: list[str] = strawberry.field(description="The namespaces it was planned for, by name.")
    move_count: int = strawberry.field(description="How many shards it moves.")
    shard_count: int = strawberry.field(description="How many shards there were in those namespaces.")
    moved_percent = strawberry.field(
        resolver=proposals.moved_percent, description="`moveCount` as a percentage of `shardCount`."
    )
    created: Change = strawberry.field(description="Who made it, when and why.")
    applied: Change | None = strawberry.field(description="Who applied it; null if nobody has.")
    proposal = strawberry.field(
        resolver=proposals.proposal,
        graphql_type=RebalanceProposal,
        description="What it says to do. Read only when selected: it may hold ten thousand moves.",
    )


@strawberry.type(description="A plan and its place in the list.")
class RebalancePlanEdge(Placed):
    node: RebalancePlan = strawberry.field(description="The plan.")


@strawberry.type(description="A page of plans, the newest first.")
class RebalancePlanConnection(Paged):
    edges: list[RebalancePlanEdge] = strawberry.field(description="The plans with their cursors.")
    nodes: list[RebalancePlan] = strawberry.field(description="The plans alone.")
