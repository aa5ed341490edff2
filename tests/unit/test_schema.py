"""The schema: exported as it is, described throughout, and backed by the records it shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from graphql import GraphQLEnumType, GraphQLInputObjectType, GraphQLInterfaceType, GraphQLObjectType
from strawberry.types.base import StrawberryObjectDefinition

from graph.execution import loads
from graph.execution.records import Edge
from graph.schema import activity, change_stream, plan_waves, proposals, shards, stream, viewer, window_use
from graph.schema import commands as own
from graph.schema import loads as own_loads
from graph.schema import namespaces as of_strategies
from graph.schema import pagination as connections
from graph.schema.build import build_schema, export_schema
from graph.schema.stream import Batch
from persistence import errors
from persistence.model import outcomes, plans, policy, records
from persistence.planning import explanation, scope
from persistence.planning import proposal as proposal_records
from persistence.planning import what_if as preflight
from strategies import model

EXPORTED = Path(__file__).parents[2] / "frontend-queries" / "schema.graphql"
SCHEMA = build_schema()

BEHIND: dict[str, type] = {
    "Pin": records.Pin,
    "Shard": records.Shard,
    "ShardKey": records.ShardKey,
    "Namespace": records.Namespace,
    "NamespacePolicy": policy.NamespacePolicy,
    "RecurringFreeze": policy.RecurringFreeze,
    "FreezeWindow": policy.FreezeWindow,
    "BrokenRule": outcomes.BrokenRule,
    "PolicyViolation": outcomes.PolicyViolation,
    "Change": records.Change,
    "ConfigurationChange": records.ConfigurationChange,
    "ShardDiff": records.ShardDiff,
    "StreamHead": stream.Head,
    "ShardDiffBatch": Batch,
    "ChangeBatch": change_stream.Batch,
    "BatchHead": stream.NewestKnown,
    "Viewer": viewer.Viewer,
    "WindowUse": window_use.UsedWindow,
    "ActivityBucket": activity.Bucket,
    "Flow": proposals.CountedFlow,
    "UpcomingWave": plan_waves.Wave,
    "ShardCounts": own_loads.Counts,
    "ShardCounted": own_loads.Counted,
    "NamespaceLoad": loads.NamespaceLoad,
    "PageInfo": connections.Ends,
    "ShardConnection": connections.StampedConnection,
    "ShardsByKey": shards.FoundByKey,
    "ShardDiffConnection": connections.StampedConnection,
    "ShardHistoryConnection": connections.Connection,
    "ChangeConnection": connections.Connection,
    "NamespaceConnection": connections.Connection,
    "ShardEdge": Edge,
    "ShardDiffEdge": Edge,
    "ShardHistoryEdge": Edge,
    "ChangeEdge": Edge,
    "NamespaceEdge": Edge,
    "ShardsChanged": outcomes.ShardsChanged,
    "StaleShard": outcomes.StaleShard,
    "VersionConflict": outcomes.VersionConflict,
    "NamespaceVersionConflict": outcomes.StaleNamespace,
    "NotFound": outcomes.NotFound,
    "IdempotencyKeyReused": outcomes.IdempotencyKeyReused,
    "NamespaceConfigured": outcomes.NamespaceConfigured,
    "InvalidInput": own.InvalidInput,
    "FieldError": errors.FieldError,
    "Warning": outcomes.AdmissionWarning,
    "Node": records.Node,
    "NodeConnection": connections.Connection,
    "NodeEdge": Edge,
    "NodeChanged": outcomes.NodeChanged,
    "NodeDrained": own.NodeDrained,
    "NodeVersionConflict": outcomes.StaleNode,
    "NodeInUse": outcomes.NodeInUse,
    "DrainBlocked": own.DrainBlocked,
    "DrainPreflight": preflight.DrainPreflight,
    "Move": proposal_records.Move,
    "LeaderChange": proposal_records.LeaderChange,
    "MoveConnection": connections.Connection,
    "MoveEdge": Edge,
    "Violation": proposal_records.Violation,
    "PlanScope": scope.PlanScope,
    "PlannedNamespace": proposal_records.PlannedNamespace,
    "NodeLoad": proposal_records.NodeLoad,
    "RebalanceProposal": proposal_records.Proposal,
    "RebalancePlan": plans.RebalancePlan,
    "RebalancePlanConnection": connections.Connection,
    "RebalancePlanEdge": Edge,
    "PlanProposed": outcomes.PlanProposed,
    "PlacementImpossible": own.PlacementImpossible,
    "PlanApplied": outcomes.PlanApplied,
    "StalePlan": outcomes.StalePlan,
    "StaleNamespace": outcomes.StalePlanned,
    "StaleNode": outcomes.StalePlanned,
    "ChangedField": outcomes.FieldChange,
    "PlanClosed": outcomes.PlanClosed,
    "PlanChanged": outcomes.PlanChanged,
    "RestoredFields": proposal_records.Restored,
    "ProposedRollback": proposal_records.Rollback,
    "RollbackConflict": proposal_records.Conflict,
    "PlacementExplanation": explanation.Explanation,
    "PlacementCandidate": explanation.Candidate,
    "Strategy": model.Strategy,
    "StrategyParameter": of_strategies.ShownParameter,
    "ChangeCompaction": records.Compaction,
    "ChangeRebalance": records.Rebalance,
    "RefusedChange": records.Refusal,
    "RefusedChangeConnection": connections.Connection,
    "RefusedChangeEdge": Edge,
}


def test_the_exported_schema_is_this_one() -> None:
    assert EXPORTED.read_text() == export_schema(), "run: omnirelay schema export > frontend-queries/schema.graphql"


def test_everything_has_a_description() -> None:
    assert [name for name, description in described() if not (description or "").strip()] == []


def test_every_field_without_a_resolver_is_an_attribute_of_the_record_behind_it() -> None:
    roots = {"Query", "Mutation", "Subscription", "Refusal"}
    shown = {name: definition for name, definition in objects() if name not in roots}
    assert shown.keys() == BEHIND.keys()
    missing = [
        f"{name}.{field.python_name}"
        for name, definition in shown.items()
        for field in definition.fields
        if field.is_basic_field and not _has(BEHIND[name], str(field.python_name))
    ]
    assert missing == []


def _has(record: type, name: str) -> bool:
    """A dataclass without slots has its fields on its instances only."""
    return hasattr(record, name) or name in getattr(record, "__dataclass_fields__", {})


@pytest.mark.parametrize(
    "name", ["shards", "shardHistory", "shardDiff", "changes", "refusals", "namespaces", "nodes", "rebalancePlans"]
)
def test_every_list_takes_the_arguments_of_a_connection(name: str) -> None:
    query = SCHEMA._schema.query_type  # noqa: SLF001 - see graph/schema/build.py
    assert query is not None
    assert {"first", "after", "last", "before"} <= query.fields[name].args.keys()


def objects() -> Iterator[tuple[str, StrawberryObjectDefinition]]:
    for name, concrete in SCHEMA.schema_converter.type_map.items():
        definition = concrete.definition
        if isinstance(definition, StrawberryObjectDefinition) and not definition.is_input:
            yield name, definition


def described() -> Iterator[tuple[str, str | None]]:
    for name, kind in SCHEMA._schema.type_map.items():  # noqa: SLF001 - see graph/schema/build.py
        if name.startswith("__"):
            continue
        yield name, kind.description
        match kind:
            case GraphQLObjectType() | GraphQLInterfaceType():
                for field_name, field in kind.fields.items():
                    yield f"{name}.{field_name}", field.description
                    for argument_name, argument in field.args.items():
                        yield f"{name}.{field_name}({argument_name})", argument.description
            case GraphQLInputObjectType():
                for input_name, input_field in kind.fields.items():
                    yield f"{name}.{input_name}", input_field.description
            case GraphQLEnumType():
                for value_name, value in kind.values.items():
                    yield f"{name}.{value_name}", value.description
