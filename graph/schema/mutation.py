"""The entry points for changing, assembled: each its resolver, the union of its outcomes, and a sentence."""

import strawberry

from graph.auth.principal import Scope
from graph.auth.requirements import needs
from graph.resolvers import mutations, rebalancing
from graph.types.node_results import DrainNodeResult, NodeMutationResult
from graph.types.plan_results import (
    ApplyPlanResult,
    ApprovePlanResult,
    EndPlanResult,
    PlanRebalanceResult,
    RollbackChangeResult,
)
from graph.types.results import ConfigureNamespaceResult, ShardMutationResult


@strawberry.type(
    description=(
        "Changing. Each mutation is one transaction and one change: all of it happens or nothing. What can go wrong "
        "is a member of the result's union, so that no client has to read a message."
    )
)
class Mutation:
    create_shards = strawberry.field(
        resolver=mutations.create_shards,
        graphql_type=ShardMutationResult,
        description="Create shards.",
        metadata=needs(Scope.OPERATE),
    )
    update_shard = strawberry.field(
        resolver=mutations.update_shard,
        graphql_type=ShardMutationResult,
        description="Move one shard, or change its leader, hints or status, if it is at the version expected.",
        metadata=needs(Scope.OPERATE),
    )
    update_shards = strawberry.field(
        resolver=mutations.update_shards,
        graphql_type=ShardMutationResult,
        description="Move or change many shards, if every one of them is at the version expected.",
        metadata=needs(Scope.OPERATE),
    )
    delete_shards = strawberry.field(
        resolver=mutations.delete_shards,
        graphql_type=ShardMutationResult,
        description="Delete shards, if every one of them is at the version expected. Their history stays.",
        metadata=needs(Scope.OPERATE),
    )
    configure_namespace = strawberry.field(
        resolver=mutations.configure_namespace,
        graphql_type=ConfigureNamespaceResult,
        description="Create a namespace, or give it another strategy, parameters or policy. Moves no shard.",
        metadata=needs(Scope.ADMIN),
    )
    register_node = strawberry.field(
        resolver=mutations.register_node,
        graphql_type=NodeMutationResult,
        description="Register a node, new or removed before. Moves no shard: a plan does.",
        metadata=needs(Scope.OPERATE),
    )
    update_node = strawberry.field(
        resolver=mutations.update_node,
        graphql_type=NodeMutationResult,
        description="Change or remove a node, if it is at the version expected. Moves no shard: a plan does.",
        metadata=needs(Scope.OPERATE),
    )
    drain_node = strawberry.field(
        resolver=rebalancing.drain_node,
        graphql_type=DrainNodeResult,
        description="Take a node out of placement, so that the next plan vacates it; refused where shards must stay.",
        metadata=needs(Scope.OPERATE),
    )
    plan_rebalance = strawberry.field(
        resolver=rebalancing.plan_rebalance,
        graphql_type=PlanRebalanceResult,
        description="Work out which shards to move, and keep that as a plan to be reviewed. Moves no shard.",
        metadata=needs(Scope.OPERATE),
    )
    apply_plan = strawberry.field(
        resolver=mutations.apply_plan,
        graphql_type=ApplyPlanResult,
        description="Make the moves of a plan, or the next wave of them, if nothing they rely on has changed since.",
        metadata=needs(Scope.OPERATE),
    )
    approve_plan = strawberry.field(
        resolver=mutations.approve_plan,
        graphql_type=ApprovePlanResult,
        description="Approve a plan, if nothing it relies on has changed since. Moves no shard.",
        metadata=needs(Scope.APPROVE),
    )
    reject_plan = strawberry.field(
        resolver=mutations.reject_plan,
        graphql_type=EndPlanResult,
        description="Keep a plan from being applied, or from being applied any further, for good.",
        metadata=needs(Scope.APPROVE),
    )
    stop_plan = strawberry.field(
        resolver=mutations.stop_plan,
        graphql_type=EndPlanResult,
        description="Keep a plan that is being applied in waves from going on until it is resumed.",
        metadata=needs(Scope.OPERATE),
    )
    rollback_change = strawberry.field(
        resolver=rebalancing.rollback_change,
        graphql_type=RollbackChangeResult,
        description="Work out how to take changes of shards back, and keep that as a plan. Moves no shard.",
        metadata=needs(Scope.OPERATE),
    )
