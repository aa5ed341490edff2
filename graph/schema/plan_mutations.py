"""What mutations that make and apply plans answer."""

from typing import Annotated, TypeAlias

import strawberry

from graph import outcomes as own
from graph import rebalancing_refusals as sentences
from graph.resolvers import positions
from graph.types.changes import Change
from graph.types.moves import Violation
from graph.types.plans import RebalancePlan
from graph.types.policies import PolicyViolation
from graph.types.refusals import REPLAYED, IdempotencyKeyReused, InvalidInput, NotFound, Refusal, describes
from graph.types.results import StaleShard
from persistence import outcomes


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
    is_type_of = staticmethod(describes(own.PlacementImpossible))

    message = strawberry.field(resolver=sentences.placement_impossible, description="Why, in a sentence.")
    violations: list[Violation] = strawberry.field(description="Why, for each namespace.")


@strawberry.type(description="Committed: moves of the plan were made; all that were left, unless it is APPLYING now.")
class PlanApplied:
    is_type_of = staticmethod(describes(outcomes.PlanApplied))

    change: Change = strawberry.field(description="The change it was committed as.")
    plan: RebalancePlan = strawberry.field(description="The plan after that.")
    cursor = strawberry.field(
        resolver=positions.cursor,
        description=(
            "The place in the change stream right after this change: read with `atLeastCursor` and you see your own "
            "write."
        ),
    )
    revision = strawberry.field(
        resolver=positions.revision,
        description="The revision of the last shard moved, for `atLeast`.",
    )
    replayed: bool = strawberry.field(description=REPLAYED)


@strawberry.type(description="What the plan relies on has changed since it was made. Nothing was written.")
class StalePlan(Refusal):
    is_type_of = staticmethod(describes(outcomes.StalePlan))

    message = strawberry.field(resolver=sentences.stale_plan, description="What has changed, in a sentence.")
    plan: RebalancePlan = strawberry.field(description="The plan.")
    shards: list[StaleShard] = strawberry.field(
        name="conflicts", description="The shards that are not at the version the plan moves them at."
    )
    namespaces: list[str] = strawberry.field(description="The namespaces that were reconfigured.")
    node_ids: list[str] = strawberry.field(
        description="The nodes of the plan that were changed, are gone, or may not be given shards any more."
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

    message = strawberry.field(resolver=sentences.plan_closed, description="What became of it, in a sentence.")
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
