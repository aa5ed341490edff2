"""Plans: the type, its connection and filter, one by id and lists."""

from datetime import datetime
from typing import Annotated, Final

import strawberry

from graph.execution.context import Info
from graph.execution.cost import PROPOSAL, costs
from graph.schema import proposals
from graph.schema.arguments import invalid
from graph.schema.changes import Change, ChangeConnection, changes_of_plan
from graph.schema.pagination import (
    After,
    Before,
    Connection,
    First,
    Last,
    Paged,
    Placed,
    connection,
    read_page,
    selects,
)
from graph.schema.plan_waves import UpcomingWave, upcoming_waves
from graph.schema.proposals import RebalanceProposal
from graph.schema.scalars import Revision
from persistence.codec import cursors
from persistence.commands.command import ChangeRequest
from persistence.commands.plans import ApplyPlan
from persistence.errors import InvalidArgument
from persistence.model import plans, queries
from persistence.model.fields import plan_id_problem
from persistence.model.outcomes import Outcome
from persistence.model.plans import PlanKind, PlanStatus

PLANS_WITH_PROPOSALS: Final = 20
"""In a page. Each may be a megabyte."""


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
    approved: Change | None = strawberry.field(description="Who approved it; null while it is not approved.")
    latest: Change = strawberry.field(
        description="The change that brought it where it is. If it is SUPERSEDED, that decided for the newer plan."
    )
    applied: Change | None = strawberry.field(description="Who made the last of its moves; null until it is made.")
    changes = strawberry.field(
        resolver=changes_of_plan,
        graphql_type=ChangeConnection,
        description="Everything that was done with it, the newest first; its waves are those of kind APPLY_PLAN.",
    )
    upcoming_waves = strawberry.field(
        resolver=upcoming_waves,
        graphql_type=list[UpcomingWave],
        metadata=costs(PROPOSAL),
        description=(
            "The changes that it would be applied in from here on, the next one first, cut by the budgets that are in "
            "force, and the next one by what is left of windows of moves; of those after it each has a window of its "
            "own. The next one makes fewer moves where a rule holds up only some of them. None of a plan that is not "
            "open. Read only when selected, as `proposal` is."
        ),
    )
    proposal = strawberry.field(
        resolver=proposals.proposal,
        metadata=costs(PROPOSAL),
        graphql_type=RebalanceProposal,
        description="What it proposes. Read only when selected: it may hold ten thousand moves.",
    )


@strawberry.type(description="A plan and its place in the list.")
class RebalancePlanEdge(Placed):
    node: RebalancePlan = strawberry.field(description="The plan.")


@strawberry.type(description="A page of plans, the newest first.")
class RebalancePlanConnection(Paged):
    edges: list[RebalancePlanEdge] = strawberry.field(description="The plans with their cursors.")
    nodes: list[RebalancePlan] = strawberry.field(description="The plans alone.")


@strawberry.input(description="Which plans. All fields must match.")
class RebalancePlanFilter:
    namespace: str | None = strawberry.field(default=None, description="That cover this namespace.")
    statuses: list[PlanStatus] | None = strawberry.field(
        default=None, description="In one of these states. Null or an empty list does not restrict."
    )
    kinds: list[PlanKind] | None = strawberry.field(
        default=None, description="Made for one of these. Null or an empty list does not restrict."
    )

    def query(self) -> queries.PlanFilter:
        """Raises InvalidArgument naming `filter.` and the field."""
        return queries.PlanFilter(self.namespace, self.statuses or None, self.kinds or None).checked()


async def rebalance_plan(
    info: Info,
    id: Annotated[strawberry.ID, strawberry.argument(description="The plan's id.")],  # noqa: A002 - by schema
) -> plans.RebalancePlan | None:
    if problem := plan_id_problem(id):
        raise invalid("id", problem)
    return await info.context.services.store.plans.get(id)


async def rebalance_plans(
    info: Info,
    filter: Annotated[  # noqa: A002 - the argument's name in the schema
        RebalancePlanFilter | None, strawberry.argument(description="Which plans; all of them by default.")
    ] = None,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> Connection[plans.RebalancePlan]:
    where = filter.query() if filter else queries.PlanFilter()
    page = read_page(info, cursors.PLANS, first, after, last, before)
    for name in ("proposal", "upcomingWaves") if page.limit > PLANS_WITH_PROPOSALS else ():
        if selects(info, name):
            problem = f"must be at most {PLANS_WITH_PROPOSALS} where {name} is selected, not {page.limit}"
            raise invalid("last" if page.backward else "first", problem)
    found = await info.context.services.store.plans.page(where, page)
    return await connection(info, found, cursors.PLANS, _position_of, where.namespace)


def _position_of(plan: plans.RebalancePlan) -> int:
    return plan.created.id


async def plan_preflight(
    info: Info,
    id: Annotated[strawberry.ID, strawberry.argument(description="The plan's id.")],  # noqa: A002 - by schema
    max_moves: Annotated[
        int | None,
        strawberry.argument(description="As of `applyPlan`: the next wave, of at most so many moves. By default all."),
    ] = None,
    change_ticket: Annotated[
        str | None, strawberry.argument(description="The ticket that it would be applied under.")
    ] = None,
    resume: Annotated[bool, strawberry.argument(description="As of `applyPlan`: to go on after a stop.")] = False,  # noqa: FBT002 - by schema
) -> Outcome | None:
    """The outcome that applying it would have, found out in the same way."""
    if problem := plan_id_problem(id):
        raise invalid("id", problem)
    actor = info.context.principal.subject or "preflight"
    change = ChangeRequest(actor=actor, reason="see whether it can be applied", change_ticket=change_ticket)
    try:
        return await info.context.services.writer.foresee(ApplyPlan(id, change, max_moves, resume))
    except InvalidArgument as error:
        raise invalid(*next((each.field.removeprefix("change."), each.message) for each in error.errors)) from None
