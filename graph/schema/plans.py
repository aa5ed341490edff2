"""Plans, by id and as a list, and plans of a mesh that is only supposed."""

from collections.abc import Iterable
from typing import Annotated, Final

import strawberry
from strawberry.types.nodes import SelectedField, Selection

from graph.connections import Connection
from graph.context import Info
from graph.cursors import plan_cursor, read_plan_cursor
from graph.inputs.rebalancing import RebalancePlanFilter, SimulateRebalanceInput, plan_filter
from graph.resolvers.arguments import After, Before, First, Last, invalid, read_page
from graph.resolvers.namespaces import missing, require_namespaces
from persistence.outcomes import NotFound
from persistence.planning.proposal import Proposal, plan_id_problem
from persistence.records import RebalancePlan

PLANS_WITH_PROPOSALS: Final = 20
"""In a page. Each may be a megabyte."""


async def rebalance_plan(
    info: Info,
    id: Annotated[strawberry.ID, strawberry.argument(description="The plan's id.")],  # noqa: A002 - by schema
) -> RebalancePlan | None:
    if problem := plan_id_problem(id):
        raise invalid("id", problem)
    return await info.context.store.plans.get(id)


async def rebalance_plans(
    info: Info,
    filter: Annotated[  # noqa: A002 - the argument's name in the schema
        RebalancePlanFilter | None, strawberry.argument(description="Which plans; all of them by default.")
    ] = None,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> Connection[RebalancePlan]:
    where = plan_filter(filter)
    page = read_page(info, first, after, last, before, read_plan_cursor)
    if page.limit > PLANS_WITH_PROPOSALS and _selects_proposals(info.selected_fields):
        problem = f"must be at most {PLANS_WITH_PROPOSALS} where proposal is selected, not {page.limit}"
        raise invalid("last" if page.backward else "first", problem)
    reader = info.context.store.plans
    found = await reader.page(where, page)
    if not found.items:
        await require_namespaces(info, where.namespace)
    return Connection(found, _cursor_of)


async def simulate_rebalance(
    info: Info,
    input: Annotated[  # noqa: A002 - by schema
        SimulateRebalanceInput, strawberry.argument(description="What to suppose, and what to plan for.")
    ],
) -> Proposal:
    found = await info.context.rebalancer.simulate(input.request(), input.what_if())
    if isinstance(found, NotFound):
        raise await missing(info, found)
    return found


def _selects_proposals(selections: Iterable[Selection]) -> bool:
    return any(
        (isinstance(selection, SelectedField) and selection.name == "proposal")
        or _selects_proposals(selection.selections)
        for selection in selections
    )


def _cursor_of(plan: RebalancePlan) -> str:
    return plan_cursor(plan.created.id)
