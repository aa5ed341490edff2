"""What a change writes beside shards and history, and the answer it is given.

Whatever can be read before the stream head is taken is; after it comes one short statement, and the commit.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import JSON, Text, bindparam, cast, func, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.outcomes import (
    NamespaceConfigured,
    NodeChanged,
    PlanApplied,
    PlanChanged,
    PlanProposed,
    ShardsChanged,
)
from persistence.policy_documents import write_policy
from persistence.postgres.commit import Assigned, write_change
from persistence.postgres.models import NAMESPACE_HEADS, NAMESPACES, NODES, PLAN_DOCUMENTS, PLANS, SHARDS, STREAM_HEAD
from persistence.postgres.namespaces import ONE_NAMESPACE
from persistence.postgres.plans import ONE_PLAN, THIS_PLAN
from persistence.postgres.rows import namespace_of, plan_of
from persistence.records import Change, ChangeKind, Node, Rebalance, RebalancePlan, StreamPosition
from persistence.writes import NamespaceWrite, NodeWrite, WriteSet, proposed

PlanAnswer: TypeAlias = PlanProposed | PlanApplied | PlanChanged

_OWNED: Final = select(func.count()).where(SHARDS.c.owner_node_id == bindparam("owner"))
# Whoever keeps the same plan at the same time waits here, and then finds document and plan.
_KEEP_DOCUMENT: Final = (
    postgresql.insert(PLAN_DOCUMENTS)
    .values(document=cast(bindparam("json", type_=Text), JSON))
    .on_conflict_do_nothing()
)
_CHANGED: Final = ("status", "moves_made", "expires_at", "change_id", "approved_change_id", "latest_change_id")
_CHANGE_PLAN: Final = update(PLANS).where(THIS_PLAN).values({name: bindparam(f"new_{name}") for name in _CHANGED})
_RAISE_FLOOR: Final = update(STREAM_HEAD).values(floor=bindparam("new_floor"))


async def change_shards(session: AsyncSession, write_set: WriteSet) -> ShardsChanged:
    assigned = await write_change(session, write_set)
    await session.commit()
    first = assigned.revision - len(write_set.shards) + 1
    shards = (
        write.committed(revision, assigned.committed_at) for revision, write in enumerate(write_set.shards, first)
    )
    return ShardsChanged(_change(write_set, assigned), tuple(shards), _position(assigned))


async def configure_namespace(session: AsyncSession, write_set: WriteSet, write: NamespaceWrite) -> NamespaceConfigured:
    assigned = await write_change(session, write_set)
    await _save_namespace(session, write, assigned.committed_at)
    namespace = namespace_of((await session.execute(ONE_NAMESPACE, {"name": write.name})).one())
    await session.commit()
    return NamespaceConfigured(_change(write_set, assigned), namespace)


async def change_node(session: AsyncSession, write_set: WriteSet, write: NodeWrite) -> NodeChanged:
    owned = (await session.execute(_OWNED, {"owner": write.node_id})).scalar_one()
    assigned = await write_change(session, write_set)
    node = write.committed(owned, assigned.committed_at)
    await _save_node(session, node, new=write.previous is None)
    await session.commit()
    return NodeChanged(_change(write_set, assigned), node)


async def change_plans(session: AsyncSession, write_set: WriteSet, rebalance: Rebalance) -> PlanAnswer:
    """Keeps a proposal, makes moves, or decides; or only keeps an idempotency key for a plan that is there already."""
    plan = None
    if (proposal := write_set.proposal) is not None:
        await session.execute(_KEEP_DOCUMENT, {"id": proposal.id, "json": proposal.document})
    elif not write_set.plans:
        plan = plan_of((await session.execute(ONE_PLAN, {"plan_id": rebalance.plan_id})).one())
    assigned = await write_change(session, write_set)
    change = _change(write_set, assigned)
    if proposal is not None:
        plan = proposed(proposal, change, write_set.lifetime)
        await session.execute(insert(PLANS), _new_plan(plan))
    elif write_set.plans:
        plans = [write.committed(change) for write in write_set.plans]
        await session.execute(_CHANGE_PLAN, [_changed_plan(one) for one in plans])
        plan = plans[0]
    await session.commit()
    assert plan is not None  # noqa: S101 - one of the three, and the type cannot say so
    if write_set.kind in (ChangeKind.PLAN_REBALANCE, ChangeKind.ROLLBACK_CHANGE):
        return PlanProposed(change, plan)
    if write_set.kind is ChangeKind.APPLY_PLAN:
        return PlanApplied(change, plan, _position(assigned))
    return PlanChanged(change, plan)


async def compact_history(session: AsyncSession, write_set: WriteSet, floor: int) -> Change:
    await session.execute(_RAISE_FLOOR, {"new_floor": floor})
    assigned = await write_change(session, write_set)
    await session.commit()
    return _change(write_set, assigned)


async def _save_namespace(session: AsyncSession, write: NamespaceWrite, at: datetime) -> None:
    values = {
        "strategy": write.strategy,
        "strategy_parameters": write.strategy_parameters,
        "algorithm_version": write.algorithm_version,
        "parameters_digest": write.parameters_digest,
        "version": write.version,
        "policy": write_policy(write.policy),
        "updated_at": at,
    }
    if write.previous is None:
        await session.execute(insert(NAMESPACES).values(name=write.name, created_at=at, **values))
        await session.execute(
            insert(NAMESPACE_HEADS).values(name=write.name, digest_high=0, digest_low=0, shard_count=0, revision=0)
        )
    else:
        await session.execute(update(NAMESPACES).where(NAMESPACES.c.name == write.name).values(**values))


async def _save_node(session: AsyncSession, node: Node, *, new: bool) -> None:
    values: dict[str, Any] = {
        "region": node.region,
        "zone": node.zone,
        "labels": dict(node.labels),
        "weight": node.weight,
        "status": node.status,
        "change_ticket": node.change_ticket,
        "version": node.version,
        "updated_at": node.updated_at,
    }
    if new:
        await session.execute(insert(NODES).values(node_id=node.node_id, created_at=node.created_at, **values))
    else:
        await session.execute(update(NODES).where(NODES.c.node_id == node.node_id).values(**values))


def _new_plan(plan: RebalancePlan) -> dict[str, Any]:
    return {
        "id": plan.id,
        "kind": plan.kind,
        "base_revision": plan.base_revision,
        "namespaces": list(plan.namespaces),
        "move_count": plan.move_count,
        "shard_count": plan.shard_count,
        **_columns(plan),
    }


def _changed_plan(plan: RebalancePlan) -> dict[str, Any]:
    return {"plan_id": plan.id, **{f"new_{name}": value for name, value in _columns(plan).items()}}


def _columns(plan: RebalancePlan) -> dict[str, Any]:
    """What changes of a plan."""
    return {
        "status": plan.status,
        "moves_made": plan.moves_made,
        "expires_at": plan.expires_at,
        "change_id": plan.created.id,
        "approved_change_id": None if plan.approved is None else plan.approved.id,
        "latest_change_id": plan.latest.id,
    }


def _position(assigned: Assigned) -> StreamPosition:
    return StreamPosition(assigned.epoch, assigned.revision)


def _change(write_set: WriteSet, assigned: Assigned) -> Change:
    request = write_set.request
    count = len(write_set.shards)
    return Change(
        assigned.change_id,
        write_set.kind,
        request.actor,
        request.reason,
        request.change_ticket,
        request.metadata,
        write_set.namespaces,
        assigned.revision - count + 1 if count else None,
        assigned.revision if count else None,
        count,
        assigned.committed_at,
        assigned.hash.hex(),
        write_set.configuration,
        write_set.rebalance,
        write_set.compaction,
        request.forced,
    )
