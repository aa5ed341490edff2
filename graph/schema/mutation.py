"""The entry points for changing, assembled: each its resolver, the union of its outcomes, and a sentence."""

import strawberry

from graph.auth.principal import Scope
from graph.execution.authorization import needs
from graph.schema import drains, namespace_mutations, node_mutations, plan_mutations, shard_mutations
from graph.schema.drains import DrainNodeResult
from graph.schema.namespace_mutations import ConfigureNamespaceResult
from graph.schema.node_mutations import NodeMutationResult
from graph.schema.plan_mutations import (
    ApplyPlanResult,
    ApprovePlanResult,
    EndPlanResult,
    PlanRebalanceResult,
    RollbackChangeResult,
)
from graph.schema.shard_mutations import ShardMutationResult


@strawberry.type(
    description=(
        "Changing. Each mutation is one transaction and one change: all of it happens or nothing. What can go wrong "
        "is a member of the result's union, so that no client has to read a message."
    )
)
class Mutation:
    create_shards = strawberry.field(
        resolver=shard_mutations.create_shards,
        graphql_type=ShardMutationResult,
        description="Create shards.",
        metadata=needs(Scope.OPERATE),
    )
    update_shard = strawberry.field(
        resolver=shard_mutations.update_shard,
        graphql_type=ShardMutationResult,
        description="Move one shard, or change its leader, hints or status, if it is at the version expected.",
        metadata=needs(Scope.OPERATE),
    )
    update_shards = strawberry.field(
        resolver=shard_mutations.update_shards,
        graphql_type=ShardMutationResult,
        description="Move or change many shards, if every one of them is at the version expected.",
        metadata=needs(Scope.OPERATE),
    )
    delete_shards = strawberry.field(
        resolver=shard_mutations.delete_shards,
        graphql_type=ShardMutationResult,
        description="Delete shards, if every one of them is at the version expected. Their history stays.",
        metadata=needs(Scope.OPERATE),
    )
    configure_namespace = strawberry.field(
        resolver=namespace_mutations.configure_namespace,
        graphql_type=ConfigureNamespaceResult,
        description="Create a namespace, or give it another strategy, parameters or policy. Moves no shard.",
        metadata=needs(Scope.ADMIN),
    )
    register_node = strawberry.field(
        resolver=node_mutations.register_node,
        graphql_type=NodeMutationResult,
        description="Register a node, new or removed before. Moves no shard: a plan does.",
        metadata=needs(Scope.OPERATE),
    )
    update_node = strawberry.field(
        resolver=node_mutations.update_node,
        graphql_type=NodeMutationResult,
        description="Change or remove a node, if it is at the version expected. Moves no shard: a plan does.",
        metadata=needs(Scope.OPERATE),
    )
    drain_node = strawberry.field(
        resolver=drains.drain_node,
        graphql_type=DrainNodeResult,
        description="Take a node out of placement, so that the next plan vacates it; refused where shards must stay.",
        metadata=needs(Scope.OPERATE),
    )
    plan_rebalance = strawberry.field(
        resolver=plan_mutations.plan_rebalance,
        graphql_type=PlanRebalanceResult,
        description="Work out which shards to move, and keep that as a plan to be reviewed. Moves no shard.",
        metadata=needs(Scope.OPERATE),
    )
    apply_plan = strawberry.field(
        resolver=plan_mutations.apply_plan,
        graphql_type=ApplyPlanResult,
        description="Make the moves of a plan, or the next wave of them, if nothing they rely on has changed since.",
        metadata=needs(Scope.OPERATE),
    )
    approve_plan = strawberry.field(
        resolver=plan_mutations.approve_plan,
        graphql_type=ApprovePlanResult,
        description="Approve a plan, if nothing it relies on has changed since. Moves no shard.",
        metadata=needs(Scope.APPROVE),
    )
    reject_plan = strawberry.field(
        resolver=plan_mutations.reject_plan,
        graphql_type=EndPlanResult,
        description="Keep a plan from being applied, or from being applied any further, for good.",
        metadata=needs(Scope.APPROVE),
    )
    stop_plan = strawberry.field(
        resolver=plan_mutations.stop_plan,
        graphql_type=EndPlanResult,
        description="Keep a plan that is being applied in waves from going on until it is resumed.",
        metadata=needs(Scope.OPERATE),
    )
    rollback_change = strawberry.field(
        resolver=plan_mutations.rollback_change,
        graphql_type=RollbackChangeResult,
        description="Work out how to take changes of shards back, and keep that as a plan. Moves no shard.",
        metadata=needs(Scope.OPERATE),
    )
