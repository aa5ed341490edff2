"""What stands in the way of applying a plan, found out as applying it would, without doing so."""

from typing import Annotated

import strawberry

from graph.execution.context import Info
from graph.schema.arguments import invalid
from persistence.commands.command import ChangeRequest
from persistence.commands.plans import ApplyPlan
from persistence.errors import InvalidArgument
from persistence.model.fields import plan_id_problem
from persistence.model.outcomes import Outcome


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
    if problem := plan_id_problem(id):
        raise invalid("id", problem)
    actor = info.context.principal.subject or "preflight"
    change = ChangeRequest(actor=actor, reason="see whether it can be applied", change_ticket=change_ticket)
    try:
        return await info.context.services.writer.foresee(ApplyPlan(id, change, max_moves, resume))
    except InvalidArgument as error:
        raise invalid(*next((each.field.removeprefix("change."), each.message) for each in error.errors)) from None
