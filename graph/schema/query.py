"""The entry points for reading, assembled: each its resolver, its type, and a description."""

import strawberry

from graph.execution.cost import COUNT, EXPLANATION, PLANNING, PROPOSAL, costs
from graph.schema import activity as of_activity
from graph.schema import changes as of_changes
from graph.schema import drains as of_drains
from graph.schema import history as of_history
from graph.schema import loads as of_loads
from graph.schema import namespaces as of_namespaces
from graph.schema import nodes as of_nodes
from graph.schema import plans as of_plans
from graph.schema import shards as of_shards
from graph.schema import simulations as of_simulations
from graph.schema import stream as of_stream
from graph.schema import viewer as of_viewer
from graph.schema.activity import ActivityBucket
from graph.schema.changes import ChangeConnection, RefusedChangeConnection
from graph.schema.drains import DrainPreflight
from graph.schema.history import ShardDiffConnection, ShardHistoryConnection
from graph.schema.loads import ShardCounts
from graph.schema.namespaces import Namespace, NamespaceConnection, Strategy
from graph.schema.nodes import Node, NodeConnection
from graph.schema.plan_mutations import ApplyPlanResult
from graph.schema.plans import RebalancePlan, RebalancePlanConnection
from graph.schema.proposals import RebalanceProposal
from graph.schema.shards import Shard, ShardConnection, ShardsByKey
from graph.schema.simulations import PlacementExplanation
from graph.schema.stream import StreamHead
from graph.schema.viewer import Viewer


@strawberry.type(description="Reading. Nothing here changes anything.")
class Query:
    shard = strawberry.field(
        resolver=of_shards.shard, graphql_type=Shard | None, description="One shard, or null if there is none."
    )
    shards = strawberry.field(
        resolver=of_shards.shards,
        graphql_type=ShardConnection,
        description="Shards, ordered by namespace and shard id.",
    )
    shards_by_key = strawberry.field(
        resolver=of_shards.shards_by_key,
        graphql_type=ShardsByKey,
        description="Several shards by their keys, in that order, all at one revision.",
    )
    shard_history = strawberry.field(
        resolver=of_history.shard_history,
        graphql_type=ShardHistoryConnection,
        description="Every change of every shard, row by row, with the shard before and after.",
    )
    shard_diff = strawberry.field(
        resolver=of_history.shard_diff,
        graphql_type=ShardDiffConnection,
        description="The net difference between two revisions or times, ordered by namespace and shard id.",
    )
    changes = strawberry.field(
        resolver=of_changes.changes, graphql_type=ChangeConnection, description="Committed changes: the audit log."
    )
    change = strawberry.field(
        resolver=of_changes.change,
        graphql_type=of_changes.Change | None,
        description="One committed change, or null if there is none of this id.",
    )
    refusals = strawberry.field(
        resolver=of_changes.refusals,
        graphql_type=RefusedChangeConnection,
        description="Changes that were refused: the other half of the audit log.",
    )
    namespaces = strawberry.field(
        resolver=of_namespaces.namespaces, graphql_type=NamespaceConnection, description="Namespaces, ordered by name."
    )
    namespace = strawberry.field(
        resolver=of_namespaces.namespace, graphql_type=Namespace | None, description="One namespace, or null."
    )
    head = strawberry.field(
        resolver=of_stream.head, graphql_type=StreamHead, description="Where the change stream is now."
    )
    shard_counts = strawberry.field(
        resolver=of_loads.shard_counts,
        graphql_type=ShardCounts,
        description="How many shards there are by node, namespace and status, all at one revision.",
        metadata=costs(COUNT),
    )
    viewer = strawberry.field(
        resolver=of_viewer.viewer,
        graphql_type=Viewer,
        description="The caller, and what it may do.",
        metadata=costs(1),
    )
    strategies = strawberry.field(
        resolver=of_namespaces.strategies,
        graphql_type=list[Strategy],
        description="The placement strategies this server has: its own, then those of plug-ins.",
    )
    node = strawberry.field(
        resolver=of_nodes.node,
        graphql_type=Node | None,
        description="One node, or null if it was never registered. A removed one is shown as it was last.",
    )
    nodes = strawberry.field(resolver=of_nodes.nodes, graphql_type=NodeConnection, description="Nodes, ordered by id.")
    drain_preflight = strawberry.field(
        resolver=of_drains.drain_preflight,
        graphql_type=DrainPreflight | None,
        description=(
            "What draining nodes would do, and what stands in the way; null if it is one, and not registered."
        ),
        metadata=costs(PLANNING),
    )
    explain_shard = strawberry.field(
        resolver=of_simulations.explain_shard,
        graphql_type=PlacementExplanation,
        description="Why a shard is where it is, and what a plan would do with it. NOT_FOUND if there is none.",
        metadata=costs(EXPLANATION),
    )
    rebalance_plan = strawberry.field(
        resolver=of_plans.rebalance_plan, graphql_type=RebalancePlan | None, description="One plan, or null."
    )
    rebalance_plans = strawberry.field(
        resolver=of_plans.rebalance_plans,
        graphql_type=RebalancePlanConnection,
        description="Plans, the newest first.",
    )
    plan_preflight = strawberry.field(
        resolver=of_plans.plan_preflight,
        graphql_type=ApplyPlanResult | None,
        description=(
            "What `applyPlan` would refuse a plan for now, such as a freeze, an approval that is missing, a budget or "
            "shards that have changed; null if nothing stands in the way. Nothing is changed, or kept."
        ),
        metadata=costs(PROPOSAL),
    )
    activity = strawberry.field(
        resolver=of_activity.activity,
        graphql_type=list[ActivityBucket],
        description="How much was changed in each part of a time.",
    )
    simulate_rebalance = strawberry.field(
        resolver=of_simulations.simulate_rebalance,
        graphql_type=RebalanceProposal,
        description=(
            "What a plan would hold if nodes or configurations were others; without any of that, what one made now "
            "would. Nothing is kept. NOT_FOUND for an unknown namespace, PLACEMENT_IMPOSSIBLE where none can be placed."
        ),
        metadata=costs(PLANNING),
    )
