"""What a plan proposes: moves, loads, violations and what a rollback takes back; and pages of its moves."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final

import strawberry

from graph.execution.context import Info
from graph.execution.cost import ATTRIBUTION, costs
from graph.schema.changes import Change
from graph.schema.pagination import (
    After,
    Before,
    Connection,
    First,
    Last,
    Paged,
    Placed,
    connection_of,
    read_page,
    selects,
)
from graph.schema.plan_waves import made_by, with_makers
from graph.schema.scalars import Revision
from persistence.codec import cursors
from persistence.model.paging import page_of
from persistence.model.plans import ConflictReason, RebalancePlan
from persistence.model.records import MoveReason, Rebalance, ShardKey, ShardStatus
from persistence.planning import proposal as proposal_records
from persistence.planning.proposal import Proposal, urgency, urgency_order
from persistence.planning.waves import loads_with_peaks
from persistence.planning.what_if import DrainPreflight


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
    shards_peak: int = strawberry.field(
        description="How many it owns at most before, between and after the plan's waves, however large they are."
    )
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


@strawberry.type(description="What a shard is given back beside its owner.")
class RestoredFields:
    leader_id: str | None = strawberry.field(description="The replica that leads it.")
    capacity_hint: float = strawberry.field(description="How much of a node it takes.")
    locality_hint: str | None = strawberry.field(description="Where it would rather be.")
    status: ShardStatus = strawberry.field(description="What its owner may do with it.")


@strawberry.type(description="Another leader of a shard.")
class LeaderChange:
    from_node_id: str = strawberry.field(description="The node that leads it.")
    to_node_id: str | None = strawberry.field(description="The node that shall lead it; null for none.")


@strawberry.type(description="One shard to be moved from one node to another; of a rollback, also to be restored.")
class Move:
    namespace: str = strawberry.field(description="The namespace of the shard.")
    shard_id: str = strawberry.field(description="The shard's id.")
    version: Revision = strawberry.field(description="The version the shard is moved at, and at no other.")
    from_node_id: str = strawberry.field(description="The node that owns it.")
    to_node_id: str = strawberry.field(description="The node that shall own it.")
    reason: MoveReason = strawberry.field(description="Why.")
    leader: LeaderChange | None = strawberry.field(
        description=(
            "The leader that it gets, because the one it has owned it, or may not lead any more; null if its leader "
            "stays. With one of the reasons LEADER_* that is all: the owner stays, and no budget counts it."
        )
    )
    restore: RestoredFields | None = strawberry.field(
        description="What else a rollback gives back; null if it is the owner alone. Then the owner may also stay."
    )
    made_by = strawberry.field(
        resolver=made_by,
        graphql_type=Change | None,
        description=(
            "The change that made it; null for a move that is left of its plan, and for all that are in no plan."
        ),
        metadata=costs(ATTRIBUTION),
    )


@strawberry.type(description="A move and its place in the list.")
class MoveEdge(Placed):
    node: Move = strawberry.field(description="The move.")


@strawberry.type(
    description=(
        "A page of moves in the order they are made in: the most urgent first, then by namespace and shard id, as far "
        "as bounds and anti-affinity groups let."
    )
)
class MoveConnection(Paged):
    edges: list[MoveEdge] = strawberry.field(description="The moves with their cursors.")
    nodes: list[Move] = strawberry.field(description="The moves alone.")


@strawberry.type(description="Something that moving shards cannot put right.")
class Violation:
    code: str = strawberry.field(
        description=(
            "`NO_PLACEMENT`: the namespace cannot be placed, and nothing of it is moved but shards off nodes that are "
            "to be vacated; of a shard: there is no room for it elsewhere. `PINNED_TO_UNAVAILABLE`: a shard is pinned "
            "to a node that is to be vacated. `BOUND_EXCEEDED`: the plan leaves a node above a bound. `PEAK_EXCEEDED`: "
            "it lifts a node above a bound between two waves. `ANTI_AFFINITY`: a shard stays where it is because of "
            "its group. `CYCLE_EXCEEDS_BUDGET`: shards of a group change places, in one change that is larger than the "
            "budget; those moves come last, and are refused unless they are forced. `LEADER_UNAVAILABLE`: a shard is "
            "not given back its leader, whose node may not be given shards."
        )
    )
    namespace: str = strawberry.field(description="The namespace.")
    shard_id: str | None = strawberry.field(description="The shard; null if it is about the whole namespace.")
    node_id: str | None = strawberry.field(description="The node; null if it is about no single one.")
    message: str = strawberry.field(description="What is wrong, in a sentence for the operator.")


@strawberry.input(description="Which moves. All fields must match.")
class MoveFilter:
    namespace: str | None = strawberry.field(default=None, description="Of shards of this namespace.")
    from_node_id: str | None = strawberry.field(default=None, description="Off this node.")
    to_node_id: str | None = strawberry.field(default=None, description="To this node.")
    reasons: list[MoveReason] | None = strawberry.field(
        default=None, description="For one of these reasons. Null or an empty list does not restrict."
    )

    def matches(self, move: proposal_records.Move) -> bool:
        return (
            (self.namespace is None or move.namespace == self.namespace)
            and (self.from_node_id is None or move.from_node_id == self.from_node_id)
            and (self.to_node_id is None or move.to_node_id == self.to_node_id)
            and (not self.reasons or move.reason in self.reasons)
        )


async def moves(
    parent: strawberry.Parent[Proposal | DrainPreflight],
    info: Info,
    filter: Annotated[  # noqa: A002 - the argument's name in the schema
        MoveFilter | None, strawberry.argument(description="Which moves; all of them by default.")
    ] = None,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> Connection[proposal_records.Move]:
    request = read_page(info, cursors.MOVES, first, after, last, before)
    chosen = parent.moves if filter is None else list(_filtered(filter.matches, parent.moves))
    start = 0 if request.after is None else _beside(chosen, request.after)[1]
    end = len(chosen) if request.before is None else _beside(chosen, request.before)[0]
    if request.backward:
        rows = chosen[max(start, end - request.limit - 1) : end][::-1]
    else:
        rows = chosen[start : min(end, start + request.limit + 1)]
    page = page_of(rows, request, total=len(chosen))
    if isinstance(parent, Proposal) and selects(info, "madeBy"):
        page = replace(page, items=await with_makers(info.context.services, parent, page.items))
    return connection_of(page, cursors.MOVES, _position_of)


_filtered: Final = filter


@strawberry.type(description="How many shards move from one node to another.")
class Flow:
    from_node_id: str = strawberry.field(description="The node that owns them.")
    to_node_id: str = strawberry.field(description="The node that shall own them.")
    count: int = strawberry.field(description="How many.")
    from_load: NodeLoad | None = strawberry.field(
        description="What the node that owns them owns before and after all of the moves; null of a preflight."
    )
    to_load: NodeLoad | None = strawberry.field(
        description=(
            "The same of the node that shall own them. How much more it may own is in `Node.loads`, by namespace."
        )
    )


@dataclass(frozen=True, slots=True)
class CountedFlow:
    """`Flow`."""

    from_node_id: str
    to_node_id: str
    count: int
    from_load: proposal_records.NodeLoad | None
    to_load: proposal_records.NodeLoad | None


MAX_FLOWS: Final = 500


def flows(
    parent: strawberry.Parent[Proposal | DrainPreflight],
    info: Info,
    namespace: Annotated[
        str | None, strawberry.argument(description="Only of shards of this namespace; of all by default.")
    ] = None,
) -> list[CountedFlow]:
    counts = Counter(
        (move.from_node_id, move.to_node_id)
        for move in parent.moves
        if move.changes_owner and namespace in {None, move.namespace}
    )
    largest = sorted(counts.items(), key=lambda flow: (-flow[1], flow[0]))[:MAX_FLOWS]
    of_node: dict[str, proposal_records.NodeLoad] = {}
    if isinstance(parent, Proposal) and (selects(info, "fromLoad") or selects(info, "toLoad")):
        of_node = {load.node_id: load for load in loads_with_peaks(parent)}
    return [CountedFlow(*nodes, count, *map(of_node.get, nodes)) for nodes, count in largest]


def _position_of(move: proposal_records.Move) -> tuple[MoveReason, ShardKey]:
    return move.reason, move.key


def _beside(moves: Sequence[proposal_records.Move], position: tuple[MoveReason, ShardKey]) -> tuple[int, int]:
    """How many moves come before the one of that cursor, and with it. One that is not there (any more: a simulation
    is computed for every page) would come before the first that is less urgent."""
    reason, key = position
    found = next((number for number, move in enumerate(moves) if move.key == key), None)
    if found is not None:
        return found, found + 1
    order = urgency(reason), *key
    less = next((number for number, move in enumerate(moves) if urgency_order(move) > order), len(moves))
    return less, less


def loads(parent: strawberry.Parent[Proposal]) -> list[proposal_records.NodeLoad]:
    return list(loads_with_peaks(parent))


def move_count(parent: strawberry.Parent[Proposal | DrainPreflight]) -> int:
    return len(parent.moves)


@strawberry.type(description="What a plan is narrowed to. Shards outside it stay, and take the room that they take.")
class PlanScope:
    vacate: list[str] = strawberry.field(
        description="The only nodes that shards are moved off, by id; those of zones and regions, too. Empty: any node."
    )
    only_reasons: list[MoveReason] = strawberry.field(
        description="The only reasons to move a shard for, the most urgent first. Empty: any reason."
    )


@strawberry.type(description="Which shards to move, and what that was computed from. Equal inputs give an equal one.")
class RebalanceProposal:
    id: strawberry.ID = strawberry.field(
        description="The first 32 hex digits of the SHA-256 of `document`; a plan made of it has the same id."
    )
    base_revision: Revision = strawberry.field(description="The newest revision of the planned namespaces.")
    inputs_digest: str = strawberry.field(description="SHA-256 (hex) of everything it was computed from.")
    move_count = strawberry.field(resolver=move_count, description="How many shards it moves.")
    remaining_moves: int = strawberry.field(description="How many moves were left for a later plan by `maxMoves`.")
    shard_count: int = strawberry.field(description="How many shards there are in the planned namespaces.")
    moved_percent: float = strawberry.field(description="`moveCount` as a percentage of `shardCount`.")
    namespaces: list[PlannedNamespace] = strawberry.field(description="The namespaces it was planned for, by name.")
    waves: int | None = strawberry.field(
        description=(
            "In how many changes it is made, if each is as large as the budgets let it be that were in force when it "
            "was made; null for plans of earlier releases."
        )
    )
    loads = strawberry.field(
        resolver=loads,
        graphql_type=list[NodeLoad],
        description="Every node's load before, between waves and after, by node id.",
    )
    violations: list[Violation] = strawberry.field(description="What the moves do not put right.")
    scope: PlanScope | None = strawberry.field(description="What it is narrowed to; null if it is to nothing.")
    threshold: int | None = strawberry.field(
        description="The per cent by which nodes may be off their shares; null if loads are not balanced."
    )
    rollback: ProposedRollback | None = strawberry.field(description="What it takes back; null for a rebalance.")
    moves = strawberry.field(
        resolver=moves, graphql_type=MoveConnection, description="The moves, in the order they are made in."
    )
    flows = strawberry.field(
        resolver=flows,
        graphql_type=list[Flow],
        description=f"How many shards move from where to where, the most first: the {MAX_FLOWS} largest of them.",
    )
    document: str = strawberry.field(
        description="All of it as canonical JSON, byte for byte what `id` is the digest of: to be kept and reviewed."
    )


async def proposal(parent: strawberry.Parent[RebalancePlan], info: Info) -> Proposal | None:
    async with info.context.services.reading_proposals:
        return await info.context.services.store.plans.proposal(parent.id)


def moved_percent(parent: strawberry.Parent[RebalancePlan]) -> float:
    return Rebalance(parent.id, parent.move_count, parent.shard_count).diff_percent
