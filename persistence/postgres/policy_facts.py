"""What the policies of locked namespaces ask of the clock and of history.

Where moves are counted, whoever may make one waits here for whoever may have made one before: nobody decides on a count
that another is about to change. The lock is an advisory one: the namespace's row is locked for sharing by then, and two
who both want more of it would wait for each other. A namespace without such a rule is not slowed down by any of this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ARRAY, BigInteger, DateTime, String, bindparam, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.encoding import encode
from persistence.locks import Locks
from persistence.postgres.models import STREAM_HEAD
from persistence.records import Namespace, ShardKey
from persistence.writes import RecentMoves, counted, timed

_SERIALIZE: Final = text(
    "SELECT pg_advisory_xact_lock(key) FROM unnest(CAST(:keys AS int8[])) AS keys (key)"
).bindparams(bindparam("keys", type_=ARRAY(BigInteger)))
# Not before the newest change: what is counted up to now must include it, whatever the clock does.
_NOW: Final = select(func.greatest(STREAM_HEAD.c.committed_at, func.clock_timestamp()))
# A window begins after the newest revision there was at its beginning: changes have times, their rows have revisions.
_BEGINNINGS: Final = text("""
SELECT coalesce((
    SELECT c.head_revision FROM changes AS c WHERE c.committed_at <= w.begins
    ORDER BY c.committed_at DESC, c.id DESC LIMIT 1
), 0)
FROM unnest(CAST(:begins AS timestamptz[])) WITH ORDINALITY AS w (begins, place) ORDER BY w.place
""").bindparams(bindparam("begins", type_=ARRAY(DateTime(timezone=True))))
_MOVED: Final = "h.kind = 'UPDATED' AND h.owner_node_id <> h.previous_owner_node_id"
_OF_NAMESPACES: Final = text(f"""
SELECT w.namespace, (
    SELECT count(*) FROM shard_history AS h
    WHERE h.namespace = w.namespace AND h.revision > w.after AND {_MOVED}
)
FROM unnest(CAST(:namespaces AS text[]), CAST(:afters AS int8[])) AS w (namespace, after)
""").bindparams(bindparam("namespaces", type_=ARRAY(String)), bindparam("afters", type_=ARRAY(BigInteger)))  # noqa: S608
_OF_SHARDS: Final = text(f"""
SELECT w.namespace, w.shard_id, (
    SELECT count(*) FROM shard_history AS h
    WHERE h.namespace = w.namespace AND h.shard_id = w.shard_id AND h.revision > w.after AND {_MOVED}
)
FROM unnest(CAST(:namespaces AS text[]), CAST(:shard_ids AS text[]), CAST(:afters AS int8[]))
    AS w (namespace, shard_id, after)
""").bindparams(  # noqa: S608 - the interpolated part is the constant above
    bindparam("namespaces", type_=ARRAY(String)),
    bindparam("shard_ids", type_=ARRAY(String)),
    bindparam("afters", type_=ARRAY(BigInteger)),
)


async def policy_facts(
    session: AsyncSession, namespaces: Iterable[Namespace], locks: Locks
) -> tuple[datetime | None, RecentMoves]:
    """`now` and `recent` of the state that is locked. To be called once the namespaces are."""
    asking = timed(namespaces, locks)
    if not asking:
        return None, RecentMoves()
    counting = counted(asking, locks)
    if counting:
        await session.execute(_SERIALIZE, {"keys": sorted(_key(namespace.name) for namespace in counting)})
    now: datetime = (await session.execute(_NOW)).scalar_one()
    return now, await _recent(session, counting, now, locks.shards) if counting else RecentMoves()


async def _recent(
    session: AsyncSession, namespaces: Sequence[Namespace], now: datetime, shards: Sequence[ShardKey]
) -> RecentMoves:
    begins = [now - timedelta(seconds=namespace.policy.window_seconds) for namespace in namespaces]
    beginnings = (await session.execute(_BEGINNINGS, {"begins": begins})).scalars()
    after = dict(zip((namespace.name for namespace in namespaces), beginnings, strict=True))
    bounded = [namespace.name for namespace in namespaces if namespace.policy.window_moves is not None]
    each = {namespace.name for namespace in namespaces if namespace.policy.shard_window_moves is not None}
    return RecentMoves(
        await _of_namespaces(session, bounded, after),
        await _of_shards(session, [key for key in shards if key.namespace in each], after),
    )


async def _of_namespaces(session: AsyncSession, names: Sequence[str], after: Mapping[str, int]) -> Mapping[str, int]:
    if not names:
        return {}
    given: dict[str, Any] = {"namespaces": list(names), "afters": [after[name] for name in names]}
    return {row[0]: row[1] for row in await session.execute(_OF_NAMESPACES, given)}


async def _of_shards(
    session: AsyncSession, shards: Sequence[ShardKey], after: Mapping[str, int]
) -> Mapping[ShardKey, int]:
    if not shards:
        return {}
    given: dict[str, Any] = {
        "namespaces": [key.namespace for key in shards],
        "shard_ids": [key.shard_id for key in shards],
        "afters": [after[key.namespace] for key in shards],
    }
    return {ShardKey(row[0], row[1]): row[2] for row in await session.execute(_OF_SHARDS, given)}


def _key(namespace: str) -> int:
    digest = hashlib.sha256(encode("omnirelay.moves.v1", namespace)).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
