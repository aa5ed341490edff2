"""Mutations of plans: making, approving, rejecting, stopping and applying them, with their inputs and their outcomes.

A simulation shares with them what it is to plan for.
"""

from dataclasses import replace
from typing import Annotated, Final, TypeAlias

import strawberry

from graph.auth.principal import Principal
from graph.execution.context import Info
from graph.schema import commands, messages, results
from graph.schema.arguments import change_id
from graph.schema.changes import Change
from graph.schema.commands import CHANGE, ChangeInput
from graph.schema.plans import RebalancePlan
from graph.schema.proposals import Violation
from graph.schema.results import (
    REPLAYED,
    IdempotencyKeyReused,
    InvalidInput,
    NotFound,
    PolicyViolation,
    Refusal,
    describes,
)
from graph.schema.scalars import JSON, Revision
from graph.schema.shard_mutations import StaleShard
from persistence.commands import plans as plan_commands
from persistence.model import outcomes
from persistence.model.records import MoveReason
from persistence.planning import planner
from persistence.planning.planner import MAX_MOVES
from persistence.planning.scope import Narrowing
from persistence.service.rebalancer import PlanRequest
from strategies.parameters import MAX_THRESHOLD

_PLAN_ID: Final = "The plan's id."


@strawberry.input(description="A plan to be applied, or the next wave of it.")
class ApplyPlanInput:
    plan_id: strawberry.ID = strawberry.field(description=_PLAN_ID)
    max_moves: int | None = strawberry.field(
        default=None,
        description=(
            f"Make a wave: the next moves of the plan, at most this many (1 to {MAX_MOVES:,}), and no more in any "
            "namespace than its move budget and window allow; but at least one, with those that only the same change "
            "can make. By default all that are left, in one change."
        ),
    )
    resume: bool = strawberry.field(default=False, description="Go on with a plan that was stopped.")
    change: ChangeInput = strawberry.field(description=CHANGE)

    def command(self, principal: Principal) -> plan_commands.ApplyPlan:
        return plan_commands.ApplyPlan(self.plan_id, self.change.request(principal), self.max_moves, self.resume)


@strawberry.input(description="A plan to be approved, as its approver has reviewed it.")
class ApprovePlanInput:
    plan_id: strawberry.ID = strawberry.field(description=_PLAN_ID)
    change: ChangeInput = strawberry.field(description=CHANGE)

    def command(self, principal: Principal) -> plan_commands.ApprovePlan:
        return plan_commands.ApprovePlan(self.plan_id, self.change.request(principal))


@strawberry.input(description="A plan that is not to be applied, or not any further.")
class RejectPlanInput:
    plan_id: strawberry.ID = strawberry.field(description=_PLAN_ID)
    change: ChangeInput = strawberry.field(description=CHANGE)

    def command(self, principal: Principal) -> plan_commands.RejectPlan:
        return plan_commands.RejectPlan(self.plan_id, self.change.request(principal))


@strawberry.input(description="A plan that is being applied, to be stopped between two waves.")
class StopPlanInput:
    plan_id: strawberry.ID = strawberry.field(description=_PLAN_ID)
    change: ChangeInput = strawberry.field(description=CHANGE)

    def command(self, principal: Principal) -> plan_commands.StopPlan:
        return plan_commands.StopPlan(self.plan_id, self.change.request(principal))


NAMESPACES_TO_PLAN: Final = "Only these, at most 1,000; all of them by default."

MOST_MOVES_TO_PLAN: Final = (
    f"At most this many moves, the first in their order: 1 to {MAX_MOVES:,}, which is the default."
)

_EXPIRES: Final = (
    f"For how long it may be begun: {plan_commands.MIN_LIFETIME} to {plan_commands.MAX_LIFETIME:,} seconds; "
    f"{plan_commands.DEFAULT_LIFETIME:,} by default, which is a week."
)


@strawberry.type
class NarrowingFields:
    """What the inputs of plans and of simulations have in common."""

    vacate: list[str] | None = strawberry.field(
        default=None,
        description=(
            "Only move shards off these nodes, at most 1,000: all others stay, and take the room that they take. A "
            "plan takes nodes that are DRAINING, DOWN or gone; a simulation supposes that they were being drained."
        ),
    )
    zones: list[str] | None = strawberry.field(
        default=None, description="The same for every node of these zones: `zone`, or `region/zone`."
    )
    regions: list[str] | None = strawberry.field(default=None, description="The same for every node of these regions.")
    only_reasons: list[MoveReason] | None = strawberry.field(
        default=None, description="Only move shards for these reasons: all others stay, and take the room they take."
    )
    threshold: int | None = strawberry.field(
        default=None,
        description=(
            f"Balance numbers of shards: with the fewest moves, bring each node as close to its share by weight as so "
            f"many per cent, 0 to {MAX_THRESHOLD}. For namespaces whose strategy keeps owners, such as `sticky`."
        ),
    )

    def narrowing(self) -> Narrowing:
        return Narrowing(
            None if self.vacate is None else tuple(self.vacate),
            None if self.zones is None else tuple(self.zones),
            None if self.regions is None else tuple(self.regions),
            None if self.only_reasons is None else tuple(self.only_reasons),
        )


@strawberry.input(description="What to plan for.")
class PlanRebalanceInput(NarrowingFields):
    namespaces: list[str] | None = strawberry.field(default=None, description=NAMESPACES_TO_PLAN)
    max_moves: int | None = strawberry.field(default=None, description=MOST_MOVES_TO_PLAN)
    expires_in_seconds: int | None = strawberry.field(default=None, description=_EXPIRES)
    change: ChangeInput = strawberry.field(description=CHANGE)

    def plan_request(self) -> PlanRequest:
        request = plan_request(self.namespaces, self.max_moves, self.expires_in_seconds)
        return replace(request, narrowing=self.narrowing(), threshold=self.threshold)


@strawberry.input(description="What to roll back: exactly one of the first three.")
class RollbackChangeInput:
    change_id: strawberry.ID | None = strawberry.field(
        default=None, description="What this change did to shards; that of a rollback or of a wave, too."
    )
    change_ticket: str | None = strawberry.field(
        default=None, description="What all changes under this ticket did to shards."
    )
    since_revision: Revision | None = strawberry.field(
        default=None, description="Everything that was done to shards after this revision."
    )
    namespace: str | None = strawberry.field(default=None, description="Only what was done to shards of this one.")
    max_moves: int | None = strawberry.field(default=None, description=MOST_MOVES_TO_PLAN)
    expires_in_seconds: int | None = strawberry.field(default=None, description=_EXPIRES)
    change: ChangeInput = strawberry.field(description=CHANGE)

    def target(self) -> plan_commands.RollbackTarget:
        """Raises InvalidArgument for an id that is none."""
        wanted = None if self.change_id is None else change_id("changeId", self.change_id)
        return plan_commands.RollbackTarget(wanted, self.change_ticket, self.since_revision, self.namespace)

    def plan_request(self) -> PlanRequest:
        return plan_request(None, self.max_moves, self.expires_in_seconds)


def plan_request(namespaces: list[str] | None, max_moves: int | None, lifetime: int | None = None) -> PlanRequest:
    return PlanRequest(
        namespaces,
        MAX_MOVES if max_moves is None else max_moves,
        plan_commands.DEFAULT_LIFETIME if lifetime is None else lifetime,
    )


@strawberry.type(description="There is a plan, to be reviewed and applied.")
class PlanProposed:
    is_type_of = staticmethod(describes(outcomes.PlanProposed))

    change: Change = strawberry.field(description="The change that keeps it.")
    plan: RebalancePlan = strawberry.field(description="The plan.")
    replayed: bool = strawberry.field(
        description=(
            "True if this request wrote nothing: an earlier one with the same idempotency key made the plan, or the "
            "same inputs gave the same plan before."
        )
    )


@strawberry.type(description="None of the namespaces can be placed. Nothing was written.")
class PlacementImpossible(Refusal):
    is_type_of = staticmethod(describes(commands.PlacementImpossible))

    message = strawberry.field(resolver=messages.placement_impossible, description="Why, in a sentence.")
    violations: list[Violation] = strawberry.field(description="Why, for each namespace.")


@strawberry.type(description="Committed: moves of the plan were made; all that were left, unless it is APPLYING now.")
class PlanApplied:
    is_type_of = staticmethod(describes(outcomes.PlanApplied))

    change: Change = strawberry.field(description="The change it was committed as.")
    plan: RebalancePlan = strawberry.field(description="The plan after that.")
    cursor = strawberry.field(
        resolver=results.cursor,
        description=(
            "The place in the change stream right after this change: read with `atLeastCursor` and you see your own "
            "write."
        ),
    )
    revision = strawberry.field(
        resolver=results.revision,
        description="The revision of the last shard moved, for `atLeast`.",
    )
    replayed: bool = strawberry.field(description=REPLAYED)


@strawberry.type(description="A field of a configuration, before and after.")
class ChangedField:
    name: str = strawberry.field(description="The field.")
    previous: JSON | None = strawberry.field(description="What it was.")
    current: JSON | None = strawberry.field(description="What it is.")


_PLANNED_VERSION: Final = "The version that the plan found; 0 if it was not registered."

_ACTUAL_VERSION: Final = "The version it is at; 0 if it is not there."

_CHANGED_FIELDS: Final = "What differs of what placement depends on; none where it was changed, and changed back."

_WHO_CHANGED: Final = "The newest change of any of that: who made it, and why."


@strawberry.type(description="A namespace whose configuration places otherwise than a plan found it.")
class StaleNamespace:
    name: str = strawberry.field(description="The namespace.")
    expected: Revision = strawberry.field(name="expectedVersion", description=_PLANNED_VERSION)
    actual: Revision = strawberry.field(name="actualVersion", description=_ACTUAL_VERSION)
    changed_fields: list[ChangedField] = strawberry.field(description=_CHANGED_FIELDS)
    last_change: Change | None = strawberry.field(description=_WHO_CHANGED)


@strawberry.type(description="A node that is not as a plan found it, or may not be given shards.")
class StaleNode:
    name: str = strawberry.field(name="nodeId", description="The node.")
    expected: Revision = strawberry.field(name="expectedVersion", description=_PLANNED_VERSION)
    actual: Revision = strawberry.field(name="actualVersion", description=_ACTUAL_VERSION)
    changed_fields: list[ChangedField] = strawberry.field(description=_CHANGED_FIELDS)
    last_change: Change | None = strawberry.field(description=_WHO_CHANGED)


@strawberry.type(description="What the plan relies on has changed since it was made. Nothing was written.")
class StalePlan(Refusal):
    is_type_of = staticmethod(describes(outcomes.StalePlan))

    message = strawberry.field(resolver=messages.stale_plan, description="What has changed, in a sentence.")
    plan: RebalancePlan = strawberry.field(description="The plan.")
    shards: list[StaleShard] = strawberry.field(
        name="conflicts", description="The shards that are not at the version the plan moves them at."
    )
    namespaces: list[str] = strawberry.field(
        description="The namespaces whose configuration places otherwise than the plan found it."
    )
    node_ids: list[str] = strawberry.field(
        description="The nodes of the plan that were changed, are gone, or may not be given shards."
    )
    namespace_conflicts: list[StaleNamespace] = strawberry.field(
        description="What has changed of `namespaces`, and by which change."
    )
    node_conflicts: list[StaleNode] = strawberry.field(
        description="What has changed of `nodeIds`, and by which change."
    )


@strawberry.type(description="The plan was approved, rejected or stopped.")
class PlanChanged:
    is_type_of = staticmethod(describes(outcomes.PlanChanged))

    change: Change = strawberry.field(description="The change it was committed as.")
    plan: RebalancePlan = strawberry.field(description="The plan after that.")
    replayed: bool = strawberry.field(description=REPLAYED)


@strawberry.type(description="The plan's status does not let it be done. Nothing was written.")
class PlanClosed(Refusal):
    is_type_of = staticmethod(describes(outcomes.PlanClosed))

    message = strawberry.field(resolver=messages.plan_closed, description="What became of it, in a sentence.")
    plan: RebalancePlan = strawberry.field(description="The plan.")


PlanRebalanceResult: TypeAlias = Annotated[
    PlanProposed | PlacementImpossible | NotFound | InvalidInput | IdempotencyKeyReused,
    strawberry.union("PlanRebalanceResult", description="What became of a request to plan a rebalance."),
]

RollbackChangeResult: TypeAlias = Annotated[
    PlanProposed | NotFound | InvalidInput | IdempotencyKeyReused,
    strawberry.union("RollbackChangeResult", description="What became of a request to plan a rollback."),
]

ApprovePlanResult: TypeAlias = Annotated[
    PlanChanged | StalePlan | PlanClosed | PolicyViolation | NotFound | InvalidInput | IdempotencyKeyReused,
    strawberry.union("ApprovePlanResult", description="What became of a request to approve a plan."),
]

EndPlanResult: TypeAlias = Annotated[
    PlanChanged | PlanClosed | NotFound | InvalidInput | IdempotencyKeyReused,
    strawberry.union("EndPlanResult", description="What became of a request to reject or to stop a plan."),
]

ApplyPlanResult: TypeAlias = Annotated[
    PlanApplied | StalePlan | PlanClosed | PolicyViolation | NotFound | InvalidInput | IdempotencyKeyReused,
    strawberry.union("ApplyPlanResult", description="What became of a request to apply a plan."),
]


async def plan_rebalance(info: Info, request: PlanRebalanceInput) -> commands.Answer:
    """Raises InvalidArgument."""
    try:
        return await info.context.services.rebalancer.plan(
            request.plan_request(), request.change.request(info.context.principal)
        )
    except planner.PlacementImpossible as impossible:
        return commands.PlacementImpossible.of(impossible)


async def rollback_change(info: Info, request: RollbackChangeInput) -> commands.Answer:
    """Raises InvalidArgument."""
    return await info.context.services.rebalancer.roll_back(
        request.target(), request.plan_request(), request.change.request(info.context.principal)
    )
