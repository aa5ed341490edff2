"""Plans as the API shows them; records: `persistence.records.RebalancePlan`, `persistence.planning.proposal`."""

from datetime import datetime

import strawberry

import graph.enums  # noqa: F401 - registers the enums these types name
from graph.resolvers import changes as of_plan_changes
from graph.resolvers import proposals
from graph.scalars import Revision
from graph.types.changes import Change
from graph.types.connections import ChangeConnection
from graph.types.moves import MoveConnection, Violation
from graph.types.paging import Paged, Placed
from persistence.records import ConflictReason, PlanKind, PlanStatus


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


@strawberry.type(description="A shard that a rollback leaves as it is.")
class RollbackConflict:
    namespace: str = strawberry.field(description="The namespace of the shard.")
    shard_id: str = strawberry.field(description="The shard's id.")
    reason: ConflictReason = strawberry.field(description="Why.")
    change_id: strawberry.ID | None = strawberry.field(description="The change that is in the way, if it is one.")
    message: str = strawberry.field(description="Why, in a sentence for the operator.")


@strawberry.type(description="What a rollback takes back, and what it leaves.")
class ProposedRollback:
    change_id: strawberry.ID | None = strawberry.field(description="The change, if it is one change.")
    change_ticket: str | None = strawberry.field(description="The ticket, if it is all changes under one.")
    since_revision: Revision | None = strawberry.field(description="The revision, if it is all that came after one.")
    namespace: str | None = strawberry.field(description="The namespace, if it is only that one.")
    unchanged: int = strawberry.field(description="How many shards are as they were before, already.")
    conflicts: list[RollbackConflict] = strawberry.field(
        description="The shards that are left as they are, by namespace and shard id; at most 10,000 are listed."
    )
    omitted_conflicts: int = strawberry.field(description="How many more there are than listed.")


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
    rollback: ProposedRollback | None = strawberry.field(description="What it takes back; null for a rebalance.")
    moves = strawberry.field(
        resolver=proposals.moves, graphql_type=MoveConnection, description="The moves, the most urgent first."
    )
    document: str = strawberry.field(
        description="All of it as canonical JSON, byte for byte what `id` is the digest of: to be kept and reviewed."
    )


@strawberry.type(description="Moves that can be reviewed, approved and applied. Its content never changes.")
class RebalancePlan:
    id: strawberry.ID = strawberry.field(description="32 hex digits: the beginning of the SHA-256 of its document.")
    kind: PlanKind = strawberry.field(description="What it is for.")
    status: PlanStatus = strawberry.field(description="How far it has come.")
    base_revision: Revision = strawberry.field(description="The newest revision of the planned namespaces.")
    namespaces: list[str] = strawberry.field(description="The namespaces it was planned for, by name.")
    move_count: int = strawberry.field(description="How many shards it moves.")
    shard_count: int = strawberry.field(description="How many shards there were in those namespaces.")
    moved_percent = strawberry.field(
        resolver=proposals.moved_percent, description="`moveCount` as a percentage of `shardCount`."
    )
    moves_made: int = strawberry.field(description="How many of its moves were made: the first ones, in their order.")
    expires_at: datetime = strawberry.field(description="From when on it cannot be begun any more.")
    created: Change = strawberry.field(description="Who proposed it (last, if more than once), when and why.")
    approved: Change | None = strawberry.field(description="Who approved it; null if nobody has since.")
    latest: Change = strawberry.field(
        description="The change that brought it where it is. If it is SUPERSEDED, that decided for the newer plan."
    )
    applied: Change | None = strawberry.field(description="Who made the last of its moves; null if nobody has.")
    changes = strawberry.field(
        resolver=of_plan_changes.changes_of_plan,
        graphql_type=ChangeConnection,
        description="Everything that was done with it, the newest first; its waves are those of kind APPLY_PLAN.",
    )
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
