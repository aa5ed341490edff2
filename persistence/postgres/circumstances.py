"""What a decision is told beside what is locked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ARRAY, BigInteger, String, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.circumstances import Asked, Circumstances
from persistence.encoding import encode
from persistence.postgres.models import NODES, SHARDS
from persistence.postgres.nodes import SELECT_UNCOUNTED
from persistence.postgres.rows import node_of
from persistence.records import GroupKey

# Not the transaction's time: it may have waited for its locks.
_NOW: Final = select(func.clock_timestamp())
_NODES: Final = SELECT_UNCOUNTED.where(NODES.c.node_id == func.any(bindparam("names", type_=ARRAY(String))))
_LOCKS: Final = (
    func.unnest(bindparam("locks", type_=ARRAY(BigInteger))).table_valued("lock", name="locks").render_derived()
)
_LOCK_GROUPS: Final = select(func.pg_advisory_xact_lock(_LOCKS.c.lock))
_GROUPS: Final = (
    func.unnest(bindparam("namespaces", type_=ARRAY(String)), bindparam("names", type_=ARRAY(String)))
    .table_valued("namespace", "name", name="groups")
    .render_derived()
)
_MEMBERS: Final = select(
    SHARDS.c.namespace, SHARDS.c.anti_affinity_group, SHARDS.c.shard_id, SHARDS.c.owner_node_id
).join(_GROUPS, (SHARDS.c.namespace == _GROUPS.c.namespace) & (SHARDS.c.anti_affinity_group == _GROUPS.c.name))


async def seen(session: AsyncSession, asked: Asked) -> Circumstances:
    groups = await _groups(session, asked.groups) if asked.groups else {}
    now = (await session.execute(_NOW)).scalar_one() if asked.time else None
    rows = await session.execute(_NODES, {"names": list(asked.node_ids)}) if asked.node_ids else ()
    return Circumstances(now, {row[0]: node_of(row) for row in rows}, groups)


async def _groups(session: AsyncSession, groups: Sequence[GroupKey]) -> Mapping[GroupKey, Mapping[str, str]]:
    # The locks in a statement of their own: the next one's snapshot then sees what the holders before us committed.
    await session.execute(_LOCK_GROUPS, {"locks": sorted(map(_lock, groups))})
    values: dict[str, Any] = {
        "namespaces": [key.namespace for key in groups],
        "names": [key.group for key in groups],
    }
    members: dict[GroupKey, dict[str, str]] = {key: {} for key in groups}
    for namespace, group, shard_id, owner in await session.execute(_MEMBERS, values):
        members[GroupKey(namespace, group)][shard_id] = owner
    return members


def _lock(key: GroupKey) -> int:
    """A group has no row to lock. Two that share a number wait for each other, no more."""
    digest = hashlib.sha256(encode("omnirelay.group.v1", *key)).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
