"""What a change writes beside shards and history, and the answer it is given.

Whatever can be read before the stream head is taken is; after it comes one short statement, and the commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import JSON, Text, bindparam, cast, func, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.apart import apart
from persistence.outcomes import NamespaceConfigured, NodeChanged, PlanApplied, PlanProposed, ShardsChanged
from persistence.planning.proposal import Proposal
from persistence.policy_documents import write_policy
from persistence.postgres.commit import Assigned, write_change
from persistence.postgres.models import NAMESPACE_HEADS, NAMESPACES, NODES, PLAN_DOCUMENTS, PLANS, SHARDS, STREAM_HEAD
from persistence.postgres.namespaces import ONE_NAMESPACE
from persistence.postgres.plans import ONE_PLAN, THIS_PLAN
from persistence.postgres.rows import namespace_of, plan_of
from persistence.records import Change, Node, PlanStatus, Rebalance, RebalancePlan, Shard, StreamPosition
from persistence.writes import NamespaceWrite, NodeWrite, ShardWrite, WriteSet, proposed

_OWNED: Final = select(func.count()).where(SHARDS.c.owner_node_id == bindparam("owner"))
# Whoever keeps the same plan at the same time waits here, and then finds document and plan.
_KEEP_DOCUMENT: Final = (
    postgresql.insert(PLAN_DOCUMENTS)
    .values(document=cast(bindparam("json", type_=Text), JSON))
    .on_conflict_do_nothing()
)
_APPLY: Final = update(PLANS).where(THIS_PLAN)
_RAISE_FLOOR: Final = update(STREAM_HEAD).values(floor=bindparam("new_floor"))


async def change_shards(session: AsyncSession, write_set: WriteSet) -> ShardsChanged:
    assigned = await write_change(session, write_set)
    await session.commit()
    shards = await apart(len(write_set.shards), _committed, write_set.shards, assigned)
    return ShardsChanged(_change(write_set, assigned), shards, _position(assigned))


def _committed(writes: Sequence[ShardWrite], assigned: Assigned) -> tuple[Shard, ...]:
    first = assigned.revision - len(writes) + 1
    return tuple(write.committed(revision, assigned.committed_at) for revision, write in enumerate(writes, first))


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


async def keep_plan(session: AsyncSession, write_set: WriteSet, proposal: Proposal) -> PlanProposed:
    await session.execute(_KEEP_DOCUMENT, {"id": proposal.id, "json": proposal.document})
    assigned = await write_change(session, write_set)
    change = _change(write_set, assigned)
    plan = proposed(proposal, change)
    await _save_plan(session, plan)
    await session.commit()
    return PlanProposed(change, plan)


async def name_plan(session: AsyncSession, write_set: WriteSet, rebalance: Rebalance) -> PlanProposed:
    """A change that keeps an idempotency key for a plan that is there already."""
    plan = plan_of((await session.execute(ONE_PLAN, {"plan_id": rebalance.plan_id})).one())
    assigned = await write_change(session, write_set)
    await session.commit()
    return PlanProposed(_change(write_set, assigned), plan)


async def apply_plan(session: AsyncSession, write_set: WriteSet, rebalance: Rebalance) -> PlanApplied:
    plan = plan_of((await session.execute(ONE_PLAN, {"plan_id": rebalance.plan_id})).one())
    assigned = await write_change(session, write_set)
    change = _change(write_set, assigned)
    applied = {"plan_id": plan.id, "status": PlanStatus.APPLIED, "applied_change_id": change.id}
    await session.execute(_APPLY, applied)
    await session.commit()
    return PlanApplied(change, replace(plan, status=PlanStatus.APPLIED, applied=change), _position(assigned))


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


async def _save_plan(session: AsyncSession, plan: RebalancePlan) -> None:
    values = {
        "id": plan.id,
        "status": plan.status,
        "base_revision": plan.base_revision,
        "namespaces": list(plan.namespaces),
        "move_count": plan.move_count,
        "shard_count": plan.shard_count,
        "change_id": plan.created.id,
    }
    await session.execute(insert(PLANS), values)


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
