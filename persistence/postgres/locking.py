"""What a unit of work locks, and what it then finds there.

Always in one order (plan, older plans, namespaces by name, the moves of those whose policy counts them, nodes by id,
shards by key; the stream head comes after them all), so that units of work wait for each other instead of deadlocking.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ARRAY, BigInteger, String, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.locks import Locks
from persistence.planning import lifecycle
from persistence.postgres.models import NAMESPACES, NODES, PLAN_DOCUMENTS, PLANS, SHARDS, TOMBSTONES
from persistence.postgres.namespaces import SELECT_NAMESPACE
from persistence.postgres.nodes import SELECT_NODE, SELECT_UNCOUNTED
from persistence.postgres.plans import DOCUMENT, ONE_PLAN, SELECT_PLAN, THIS_PLAN, kept_proposal
from persistence.postgres.policy_facts import policy_facts
from persistence.postgres.rows import PLAN_STATUS, SHARD, namespace_of, node_of, plan_of, shard_of
from persistence.records import Namespace, Node, PlanKind, RebalancePlan, Shard, ShardKey, Tombstone
from persistence.writes import KeptPlan, LockedState

# Two arrays however many shards there are: one statement, prepared once, for any number of them.
KEYS: Final = (
    func.unnest(bindparam("key_namespaces", type_=ARRAY(String)), bindparam("key_shard_ids", type_=ARRAY(String)))
    .table_valued("namespace", "shard_id", name="keys")
    .render_derived()
)
_NAMES: Final[Any] = func.any(bindparam("names", type_=ARRAY(String)))
_NAMED: Final = SELECT_NAMESPACE.where(NAMESPACES.c.name == _NAMES).order_by(NAMESPACES.c.name)
_LOCK_NAMESPACES: Final = _NAMED.with_for_update(of=NAMESPACES, read=True)
_LOCK_NAMESPACES_TO_CONFIGURE: Final = _NAMED.with_for_update(of=NAMESPACES)
_LOCK_NODES_TO_CONFIGURE: Final = (
    select(NODES.c.node_id).where(NODES.c.node_id == _NAMES).order_by(NODES.c.node_id).with_for_update()
)
_LOCK_NODES: Final = _LOCK_NODES_TO_CONFIGURE.with_for_update(read=True)
_NODES: Final = SELECT_UNCOUNTED.where(NODES.c.node_id == _NAMES)
_NODES_TO_CONFIGURE: Final = SELECT_NODE.where(NODES.c.node_id == _NAMES)
_LOCK_PLAN: Final = select(PLANS.c.id).where(THIS_PLAN).with_for_update()
# By change, the newest first: who decides for a plan holds it, and then waits for older ones only.
_LOCK_OLDER: Final = (
    select(PLANS.c.id)
    .where(
        PLANS.c.change_id < bindparam("older_than", type_=BigInteger),
        PLANS.c.kind == str(PlanKind.REBALANCE),
        PLANS.c.namespaces.overlap(bindparam("names", type_=PLANS.c.namespaces.type)),
        PLAN_STATUS.in_([str(status) for status in lifecycle.OPEN]),
    )
    .order_by(PLANS.c.change_id.desc())
    .with_for_update()
)
_OLDER: Final = SELECT_PLAN.where(PLANS.c.id == func.any(bindparam("plan_ids", type_=ARRAY(String)))).order_by(
    PLANS.c.change_id.desc()
)
_PLAN: Final = ONE_PLAN.add_columns(DOCUMENT).join(PLAN_DOCUMENTS, PLAN_DOCUMENTS.c.id == PLANS.c.id)
_LOCK_SHARDS: Final = (
    select(*SHARD)
    .join(KEYS, (SHARDS.c.namespace == KEYS.c.namespace) & (SHARDS.c.shard_id == KEYS.c.shard_id))
    .order_by(SHARDS.c.namespace, SHARDS.c.shard_id)
    .with_for_update(of=SHARDS)
)
_TOMBSTONES: Final = select(
    TOMBSTONES.c.namespace, TOMBSTONES.c.shard_id, TOMBSTONES.c.version, TOMBSTONES.c.owner_epoch
).join(KEYS, (TOMBSTONES.c.namespace == KEYS.c.namespace) & (TOMBSTONES.c.shard_id == KEYS.c.shard_id))


async def locked(session: AsyncSession, locks: Locks) -> LockedState:
    """Take the locks, and tell what is under them."""
    plan = await _plan(session, locks.plan) if locks.plan is not None else None
    older = await _older(session, locks.older_than, locks.namespaces) if locks.older_than is not None else ()
    namespaces = await _namespaces(session, locks.namespaces, configure=locks.configure)
    now, recent = await policy_facts(session, namespaces.values(), locks)
    nodes = await _nodes(session, locks.nodes, configure=locks.configure)
    shards = await _shards(session, locks.shards)
    tombstones = await _tombstones(session, set(locks.shards) - shards.keys())
    return LockedState(namespaces, shards, tombstones, nodes, plan, older, now, recent)


def as_arrays(shards: Collection[ShardKey]) -> dict[str, list[str]]:
    """The parameters of a statement over KEYS."""
    return {"key_namespaces": [key.namespace for key in shards], "key_shard_ids": [key.shard_id for key in shards]}


async def _plan(session: AsyncSession, plan_id: str) -> KeptPlan | None:
    # The lock in a statement of its own: the next one's snapshot then sees what the holder before us committed, the
    # change that applied the plan too. The same goes for nodes, and the shards they own.
    if (await session.execute(_LOCK_PLAN, {"plan_id": plan_id})).one_or_none() is None:
        return None
    *plan, document = (await session.execute(_PLAN, {"plan_id": plan_id})).one()
    return KeptPlan(plan_of(plan), await kept_proposal(plan_id, document))


async def _older(session: AsyncSession, change_id: int, names: Sequence[str]) -> tuple[RebalancePlan, ...]:
    plan_ids = (await session.execute(_LOCK_OLDER, {"older_than": change_id, "names": list(names)})).scalars().all()
    if not plan_ids:
        return ()
    rows = await session.execute(_OLDER, {"plan_ids": list(plan_ids)})
    return tuple(plan_of(row) for row in rows)


async def _namespaces(session: AsyncSession, names: Sequence[str], *, configure: bool) -> Mapping[str, Namespace]:
    if not names:
        return {}
    statement = _LOCK_NAMESPACES_TO_CONFIGURE if configure else _LOCK_NAMESPACES
    rows = await session.execute(statement, {"names": list(names)})
    return {row[0]: namespace_of(row) for row in rows}


async def _nodes(session: AsyncSession, node_ids: Sequence[str], *, configure: bool) -> Mapping[str, Node]:
    if not node_ids:
        return {}
    names = {"names": list(node_ids)}
    lock, nodes = (_LOCK_NODES_TO_CONFIGURE, _NODES_TO_CONFIGURE) if configure else (_LOCK_NODES, _NODES)
    if not (await session.execute(lock, names)).all():
        return {}
    return {row[0]: node_of(row) for row in await session.execute(nodes, names)}


async def _shards(session: AsyncSession, keys: Sequence[ShardKey]) -> Mapping[ShardKey, Shard]:
    if not keys:
        return {}
    rows = await session.execute(_LOCK_SHARDS, as_arrays(keys))
    return {ShardKey(row[0], row[1]): shard_of(row) for row in rows}


async def _tombstones(session: AsyncSession, missing: Collection[ShardKey]) -> Mapping[ShardKey, Tombstone]:
    if not missing:
        return {}
    rows = await session.execute(_TOMBSTONES, as_arrays(missing))
    return {ShardKey(row[0], row[1]): Tombstone(row[2], row[3]) for row in rows}
