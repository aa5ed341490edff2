"""Inputs that decide on a plan that is kept: approve it, apply it, and keep it from being applied."""

import strawberry

from graph.auth.principal import Principal
from graph.inputs.writing import ChangeInput
from persistence import plan_commands
from persistence.planning.planner import MAX_MOVES

_PLAN_ID = "The plan's id."
_CHANGE = "By whom, why, and under which ticket."


@strawberry.input(description="A plan to be applied, or the next wave of it.")
class ApplyPlanInput:
    plan_id: strawberry.ID = strawberry.field(description=_PLAN_ID)
    max_moves: int | None = strawberry.field(
        default=None,
        description=(
            f"Make a wave: the next moves of the plan, at most this many (1 to {MAX_MOVES:,}), and no more in any "
            "namespace than its move budget. By default all that are left, in one change."
        ),
    )
    resume: bool = strawberry.field(default=False, description="Go on with a plan that was stopped.")
    change: ChangeInput = strawberry.field(description=_CHANGE)

    def command(self, principal: Principal) -> plan_commands.ApplyPlan:
        return plan_commands.ApplyPlan(self.plan_id, self.change.request(principal), self.max_moves, self.resume)


@strawberry.input(description="A plan to be approved, as whoever asks has reviewed it.")
class ApprovePlanInput:
    plan_id: strawberry.ID = strawberry.field(description=_PLAN_ID)
    change: ChangeInput = strawberry.field(description=_CHANGE)

    def command(self, principal: Principal) -> plan_commands.ApprovePlan:
        return plan_commands.ApprovePlan(self.plan_id, self.change.request(principal))


@strawberry.input(description="A plan that nobody shall apply, or go on with.")
class RejectPlanInput:
    plan_id: strawberry.ID = strawberry.field(description=_PLAN_ID)
    change: ChangeInput = strawberry.field(description=_CHANGE)

    def command(self, principal: Principal) -> plan_commands.RejectPlan:
        return plan_commands.RejectPlan(self.plan_id, self.change.request(principal))


@strawberry.input(description="A plan that is being applied, to be stopped between two waves.")
class StopPlanInput:
    plan_id: strawberry.ID = strawberry.field(description=_PLAN_ID)
    change: ChangeInput = strawberry.field(description=_CHANGE)

    def command(self, principal: Principal) -> plan_commands.StopPlan:
        return plan_commands.StopPlan(self.plan_id, self.change.request(principal))
