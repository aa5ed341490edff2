"""The entry points for changing, assembled: each its input, the union of its outcomes, and a description."""

from typing import Final

import strawberry

from graph.auth.principal import Scope
from graph.execution.cost import PLANNING
from graph.schema.commands import mutation
from graph.schema.drains import DrainNodeInput, DrainNodeResult, drain_node
from graph.schema.namespace_mutations import ConfigureNamespaceInput, ConfigureNamespaceResult
from graph.schema.node_mutations import NodeMutationResult, RegisterNodeInput, UpdateNodeInput
from graph.schema.placement_warnings import change_node, configure_namespace
from graph.schema.plan_mutations import (
    ApplyPlanInput,
    ApplyPlanResult,
    ApprovePlanInput,
    ApprovePlanResult,
    EndPlanResult,
    PlanRebalanceInput,
    PlanRebalanceResult,
    RejectPlanInput,
    RollbackChangeInput,
    RollbackChangeResult,
    StopPlanInput,
    plan_rebalance,
    rollback_change,
)
from graph.schema.shard_mutations import (
    CreateShardsInput,
    DeleteShardsInput,
    ShardMutationResult,
    UpdateShardInput,
    UpdateShardsInput,
    change_shards,
)

_TO_DO: Final = "What to do, by whom, and why."


@strawberry.type(
    description=(
        "Changing. Each mutation is one transaction and one change: all of it happens or nothing. What can go wrong "
        "is a member of the result's union, so that no client has to read a message."
    )
)
class Mutation:
    create_shards = mutation(
        CreateShardsInput,
        ShardMutationResult,
        "Create shards.",
        run=change_shards,
    )
    update_shard = mutation(
        UpdateShardInput,
        ShardMutationResult,
        "Move one shard, or change its leader, hints or status, if it is at the version expected.",
        run=change_shards,
    )
    update_shards = mutation(
        UpdateShardsInput,
        ShardMutationResult,
        "Move or change many shards, if every one of them is at the version expected.",
        run=change_shards,
    )
    delete_shards = mutation(
        DeleteShardsInput,
        ShardMutationResult,
        "Delete shards, if every one of them is at the version expected. Their history stays.",
    )
    configure_namespace = mutation(
        ConfigureNamespaceInput,
        ConfigureNamespaceResult,
        "Create a namespace, or give it another strategy, parameters or policy. Moves no shard.",
        scope=Scope.ADMIN,
        run=configure_namespace,
    )
    register_node = mutation(
        RegisterNodeInput,
        NodeMutationResult,
        "Register a node, new or removed before. Moves no shard: a plan does.",
        run=change_node,
    )
    update_node = mutation(
        UpdateNodeInput,
        NodeMutationResult,
        "Change or remove a node, if it is at the version expected. Moves no shard: a plan does.",
        run=change_node,
    )
    drain_node = mutation(
        DrainNodeInput,
        DrainNodeResult,
        "Take a node out of placement, so that the next plan vacates it; refused where shards must stay.",
        run=drain_node,
        input_description=_TO_DO,
        records=PLANNING,
    )
    plan_rebalance = mutation(
        PlanRebalanceInput,
        PlanRebalanceResult,
        "Work out which shards to move, and keep that as a plan to be reviewed. Moves no shard.",
        run=plan_rebalance,
        input_description=_TO_DO,
        records=PLANNING,
    )
    apply_plan = mutation(
        ApplyPlanInput,
        ApplyPlanResult,
        "Make the moves of a plan, or the next wave of them, if nothing they rely on has changed since.",
    )
    approve_plan = mutation(
        ApprovePlanInput,
        ApprovePlanResult,
        "Approve a plan, if nothing it relies on has changed since. Moves no shard.",
        scope=Scope.APPROVE,
    )
    reject_plan = mutation(
        RejectPlanInput,
        EndPlanResult,
        "Keep a plan from being applied, or from being applied any further, for good.",
        scope=Scope.APPROVE,
    )
    stop_plan = mutation(
        StopPlanInput,
        EndPlanResult,
        "Keep a plan that is being applied in waves from going on until it is resumed.",
    )
    rollback_change = mutation(
        RollbackChangeInput,
        RollbackChangeResult,
        "Work out how to take changes of shards back, and keep that as a plan. Moves no shard.",
        run=rollback_change,
        input_description=_TO_DO,
        records=PLANNING,
    )
