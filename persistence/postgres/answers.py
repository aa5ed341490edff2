"""The answer to a change: once it is committed, and again, from what it left, to a retry of its request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from persistence.outcomes import (
    Committed,
    NamespaceConfigured,
    NodeChanged,
    PlanApplied,
    PlanChanged,
    PlanProposed,
    ShardsChanged,
)
from persistence.policy import DEFAULT_POLICY
from persistence.policy_documents import read_policy
from persistence.postgres.commit import Assigned, Made
from persistence.postgres.namespaces import ONE_NAMESPACE
from persistence.postgres.nodes import ONE_NODE
from persistence.postgres.plans import ONE_PLAN
from persistence.postgres.rows import CHANGE, DIFF, diffs_of, join_halves, namespace_of, node_of, plan_of
from persistence.postgres.tables.current import STREAM_HEAD
from persistence.postgres.tables.history import CHANGES, HISTORY
from persistence.records import (
    Change,
    ChangeKind,
    ConfigurationChange,
    DiffKind,
    Namespace,
    NodeStatus,
    RebalancePlan,
    Shard,
    StreamPosition,
)
from persistence.writes import NamespaceWrite, ShardWrite, WriteSet, proposed

_EPOCH: Final = select(STREAM_HEAD.c.epoch)


PlanAnswer: TypeAlias = PlanProposed | PlanApplied | PlanChanged


def answer(write_set: WriteSet, made: Made) -> Committed:
    """Of a change that was just committed."""
    assigned, change, counted = made
    if write_set.namespace is not None:
        return NamespaceConfigured(change, _namespace_after(write_set.namespace, change, counted))
    if write_set.node is not None:
        return NodeChanged(change, write_set.node.committed(counted["shardCount"], change.committed_at))
    if write_set.rebalance is not None:
        return _plan_answer(write_set, assigned, change)
    return ShardsChanged(change, _shards_after(write_set.shards, assigned), assigned.position)


def _shards_after(writes: Sequence[ShardWrite], assigned: Assigned) -> tuple[Shard, ...]:
    first = assigned.revision - len(writes) + 1
    return tuple(write.committed(revision, assigned.committed_at) for revision, write in enumerate(writes, first))


def _namespace_after(write: NamespaceWrite, change: Change, counted: Mapping[str, Any]) -> Namespace:
    return Namespace(
        write.name,
        write.strategy,
        write.strategy_parameters,
        write.algorithm_version,
        write.parameters_digest,
        write.version,
        join_halves(counted["digestHigh"], counted["digestLow"]),
        counted["shardCount"],
        counted["revision"],
        write.previous.created_at if write.previous else change.committed_at,
        change.committed_at,
        write.policy,
    )


def _plan_answer(write_set: WriteSet, assigned: Assigned, change: Change) -> PlanAnswer:
    plan = _plan_after(write_set, change)
    if write_set.kind in (ChangeKind.PLAN_REBALANCE, ChangeKind.ROLLBACK_CHANGE):
        return PlanProposed(change, plan)
    if write_set.kind is ChangeKind.APPLY_PLAN:
        return PlanApplied(change, plan, assigned.position)
    return PlanChanged(change, plan)


def _plan_after(write_set: WriteSet, change: Change) -> RebalancePlan:
    """The plan that the change is about."""
    if write_set.proposal is not None:
        return proposed(write_set.proposal, change, write_set.lifetime)
    if write_set.plans:
        return write_set.plans[0].committed(change)
    assert write_set.known is not None  # noqa: S101 - a change that only holds an idempotency key is of a known plan
    return write_set.known


async def answer_of(connection: AsyncConnection, change: Change, revision: int) -> Committed:
    """`revision` is the newest after the change. What the store follows up by itself (digests, counts) is as of now.

    So is a plan: what became of it since is what a retry needs to know.
    """
    match change.kind:
        case ChangeKind.CONFIGURE_NAMESPACE:
            return await _configured(connection, change)
        case ChangeKind.REGISTER_NODE | ChangeKind.UPDATE_NODE | ChangeKind.DRAIN_NODE:
            return await _node(connection, change)
        case ChangeKind.PLAN_REBALANCE | ChangeKind.ROLLBACK_CHANGE:
            return PlanProposed(change, await _plan(connection, change))
        case ChangeKind.APPROVE_PLAN | ChangeKind.REJECT_PLAN | ChangeKind.STOP_PLAN:
            return PlanChanged(change, await _plan(connection, change))
        case ChangeKind.APPLY_PLAN:
            return PlanApplied(change, await _plan(connection, change), await _position(connection, change, revision))
        case _:
            return await _shards(connection, change, revision)


async def _shards(connection: AsyncConnection, change: Change, revision: int) -> ShardsChanged:
    statement = (
        select(*DIFF, *CHANGE)
        .join(CHANGES, CHANGES.c.id == HISTORY.c.change_id)
        .where(HISTORY.c.revision.between(change.first_revision, change.last_revision))
        .order_by(HISTORY.c.revision)
    )
    diffs = diffs_of((await connection.execute(statement)).all())
    shards = (diff.previous if diff.kind is DiffKind.DELETED else diff.current for diff in diffs)
    answered = tuple(shard for shard in shards if shard is not None)
    return ShardsChanged(change, answered, await _position(connection, change, revision))


async def _configured(connection: AsyncConnection, change: Change) -> NamespaceConfigured:
    configuration = _configuration(change)
    namespace = namespace_of((await connection.execute(ONE_NAMESPACE, {"name": configuration.namespace})).one())
    made: Mapping[str, Any] = configuration.current
    return NamespaceConfigured(
        change,
        replace(
            namespace,
            strategy=made["strategy"],
            strategy_parameters=made["strategyParameters"],
            algorithm_version=made["algorithmVersion"],
            parameters_digest=made["parametersDigest"],
            version=made["version"],
            updated_at=change.committed_at,
            policy=read_policy(made["policy"]) if "policy" in made else DEFAULT_POLICY,
        ),
    )


async def _node(connection: AsyncConnection, change: Change) -> NodeChanged:
    configuration = _configuration(change)
    node = node_of((await connection.execute(ONE_NODE, {"node_id": configuration.node_id})).one())
    made: Mapping[str, Any] = configuration.current
    return NodeChanged(
        change,
        replace(
            node,
            region=made["region"],
            zone=made["zone"],
            labels=made["labels"],
            weight=made["weight"],
            status=NodeStatus(made["status"]),
            change_ticket=change.change_ticket,
            version=made["version"],
            updated_at=change.committed_at,
        ),
    )


async def _plan(connection: AsyncConnection, change: Change) -> RebalancePlan:
    assert change.rebalance is not None  # noqa: S101 - the kind says so, and the type cannot
    return plan_of((await connection.execute(ONE_PLAN, {"plan_id": change.rebalance.plan_id})).one())


async def _position(connection: AsyncConnection, change: Change, revision: int) -> StreamPosition:
    return StreamPosition((await connection.execute(_EPOCH)).scalar_one(), revision, change.mark)


def _configuration(change: Change) -> ConfigurationChange:
    assert change.configuration is not None  # noqa: S101 - the kind says so, and the type cannot
    return change.configuration
