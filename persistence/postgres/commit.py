"""The commit of one unit of work, as one statement.

Everything from taking the stream head to the notification travels in a single round trip, because from the moment the
head is locked every other writer waits. What can be computed beforehand (checksums, images, digests) comes as
parameters; only what the head assigns is computed here. The statement is the same for one shard and for ten thousand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import ARRAY, BigInteger, DateTime, Double, Integer, LargeBinary, String, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import TypeEngine

from persistence.apart import apart
from persistence.encoding import encode
from persistence.errors import TransientConflict
from persistence.postgres.rows import split_halves
from persistence.postgres.stream import IDENTITY, NEW_EPOCH
from persistence.writes import NamespaceDelta, ShardWrite, WriteSet

CHANNEL: Final = "omnirelay_shards"


def idempotency_digest(actor: str, idempotency_key: str) -> bytes:
    """What an idempotency key is found by: SHA-256 of it and the actor it belongs to."""
    return hashlib.sha256(encode("omnirelay.idempotency.v1", actor, idempotency_key)).digest()


def _claim(write_set: WriteSet) -> bytes | None:
    request = write_set.request
    return None if request.idempotency_key is None else idempotency_digest(request.actor, request.idempotency_key)


_T: Final = String()
_I: Final = BigInteger()
_AT: Final = DateTime(timezone=True)

# name, SQL type, SQLAlchemy type, value of one shard write
_WRITES: Final[Sequence[tuple[str, str, TypeEngine[Any], Callable[[ShardWrite], Any]]]] = (
    ("kind", "text", _T, lambda write: str(write.kind)),
    ("namespace", "text", _T, lambda write: write.key.namespace),
    ("shard_id", "text", _T, lambda write: write.key.shard_id),
    ("strategy", "text", _T, lambda write: write.content.strategy),
    ("owner_node_id", "text", _T, lambda write: write.content.owner_node_id),
    ("leader_id", "text", _T, lambda write: write.content.leader_id),
    ("capacity_hint", "float8", Double(), lambda write: write.content.capacity_hint),
    ("locality_hint", "text", _T, lambda write: write.content.locality_hint),
    ("status", "text", _T, lambda write: str(write.content.status)),
    ("pinned_by", "text", _T, lambda write: write.content.pinned.by if write.content.pinned else None),
    ("pinned_reason", "text", _T, lambda write: write.content.pinned.reason if write.content.pinned else None),
    ("pinned_until", "timestamptz", _AT, lambda write: write.content.pinned.until if write.content.pinned else None),
    ("change_ticket", "text", _T, lambda write: write.content.change_ticket),
    ("anti_affinity_group", "text", _T, lambda write: write.content.anti_affinity_group),
    ("version", "int8", _I, lambda write: write.version),
    ("owner_epoch", "int8", _I, lambda write: write.owner_epoch),
    ("checksum", "text", _T, lambda write: write.checksum),
    # An array of arrays would be flattened; field names have no commas.
    ("changed_fields", "text", _T, lambda write: ",".join(write.changed_fields)),
    ("previous_owner", "text", _T, lambda write: write.previous.owner_node_id if write.previous else None),
    ("previous_revision", "int8", _I, lambda write: write.previous.revision if write.previous else None),
    ("previous_updated_at", "timestamptz", _AT, lambda write: write.previous.updated_at if write.previous else None),
    ("created_at", "timestamptz", _AT, lambda write: write.previous.created_at if write.previous else None),
    ("previous", "text", _T, lambda write: write.previous_image),
    ("current", "text", _T, lambda write: write.current_image),
    ("move_reason", "text", _T, lambda write: None if write.move_reason is None else str(write.move_reason)),
)
_DELTAS: Final[Sequence[tuple[str, str, TypeEngine[Any], Callable[[NamespaceDelta], Any]]]] = (
    ("delta_name", "text", _T, lambda delta: delta.namespace),
    ("delta_high", "int8", _I, lambda delta: split_halves(delta.digest)[0]),
    ("delta_low", "int8", _I, lambda delta: split_halves(delta.digest)[1]),
    ("delta_count", "int8", _I, lambda delta: delta.shard_count),
)
_CHANGE: Final[Sequence[tuple[str, TypeEngine[Any], Callable[[WriteSet], Any]]]] = (
    ("change_kind", _T, lambda write_set: str(write_set.kind)),
    ("actor", _T, lambda write_set: write_set.request.actor),
    ("reason", _T, lambda write_set: write_set.request.reason),
    ("ticket", _T, lambda write_set: write_set.request.change_ticket),
    ("metadata", _T, lambda write_set: write_set.metadata_json),
    ("namespaces", ARRAY(_T), lambda write_set: list(write_set.namespaces)),
    ("shard_count", Integer(), lambda write_set: len(write_set.shards)),
    ("configuration", _T, lambda write_set: write_set.details_json),
    ("idempotency_key", _T, lambda write_set: write_set.request.idempotency_key),
    ("idempotency_digest", LargeBinary(), _claim),
    ("request_digest", LargeBinary(), lambda write_set: write_set.request_digest),
    ("content_digest", LargeBinary(), lambda write_set: write_set.content_digest),
    ("forced", _T, lambda write_set: write_set.request.forced),
    ("decided_at", _AT, lambda write_set: write_set.conditions.decided_at),
    ("frozen_from", _AT, lambda write_set: write_set.conditions.frozen_from),
    ("fewest_names", ARRAY(_T), lambda write_set: list(write_set.conditions.fewest_shards)),
    ("fewest_counts", ARRAY(_I), lambda write_set: list(write_set.conditions.fewest_shards.values())),
)


def _unnest(columns: Sequence[tuple[str, str, TypeEngine[Any], Any]]) -> str:
    arrays = ", ".join(f"CAST(:{name} AS {sql_type}[])" for name, sql_type, _, _ in columns)
    names = ", ".join(name for name, _, _, _ in columns)
    return f"unnest({arrays}) WITH ORDINALITY AS w ({names}, place)"


# A table that was restored over this one while connections stayed open has another oid than the stream was born with.
_BORN_HERE: Final = "split_part(h.identity, '/', 3) = h.tableoid::text"

# The clock is read once the head is locked: a time from before the wait would put a change where it was not yet to be
# seen. `sha256(...)` repeats audit.chain_hash byte for byte. It is read once, so the time in the
# hash is the time in the row. It never goes back, whatever the clock does: time travel relies on it.
# What a policy asks of the moment of the commit is asked at the end, of what the head has assigned: no row then, and
# all of it is undone.
# History stands before the change because tables are locked as they are named, and everybody names history first: who
# compacts locks both, and would meet a writer halfway.
_SQL: Final = f"""
WITH locked AS MATERIALIZED (
    SELECT id FROM stream_head WHERE id = 1 FOR UPDATE
), clock AS MATERIALIZED (
    SELECT id, greatest(clock_timestamp(), CAST(:decided_at AS timestamptz)) AS now FROM locked
), head AS (
    UPDATE stream_head AS h SET
        epoch = CASE WHEN {_BORN_HERE} THEN h.epoch ELSE {NEW_EPOCH} END,
        identity = CASE WHEN {_BORN_HERE} THEN h.identity ELSE {IDENTITY} END,
        revision = h.revision + CAST(:shard_count AS int),
        change_id = h.change_id + 1,
        committed_at = greatest(h.committed_at, clock.now),
        hash = sha256(
            int4send(32) || h.hash
            || int4send(8) || int8send(h.change_id + 1)
            || int4send(8) || int8send(h.revision + CAST(:shard_count AS int))
            || int4send(8) || int8send(CAST(:shard_count AS int))
            || int4send(8) || int8send((extract(epoch FROM greatest(h.committed_at, clock.now)) * 1000000)::int8)
            || int4send(32) || CAST(:content_digest AS bytea)
        )
    FROM clock
    WHERE h.id = clock.id
    RETURNING h.epoch, h.revision, h.change_id, h.committed_at, h.hash
), w AS MATERIALIZED (
    SELECT * FROM {_unnest(_WRITES)}
), created AS (
    INSERT INTO shards (namespace, shard_id, strategy, owner_node_id, leader_id, capacity_hint, locality_hint, status,
        pinned_by, pinned_reason, pinned_until, change_ticket, anti_affinity_group, version, owner_epoch, checksum,
        revision, created_at, updated_at)
    SELECT w.namespace, w.shard_id, w.strategy, w.owner_node_id, w.leader_id, w.capacity_hint, w.locality_hint,
        w.status, w.pinned_by, w.pinned_reason, w.pinned_until, w.change_ticket, w.anti_affinity_group, w.version,
        w.owner_epoch, w.checksum,
        head.revision - :shard_count + w.place, head.committed_at, head.committed_at
    FROM head, w WHERE w.kind = 'CREATED'
), revived AS (
    DELETE FROM shard_tombstones AS t USING w
    WHERE w.kind = 'CREATED' AND t.namespace = w.namespace AND t.shard_id = w.shard_id
), updated AS (
    UPDATE shards AS s SET
        strategy = w.strategy, owner_node_id = w.owner_node_id, leader_id = w.leader_id,
        capacity_hint = w.capacity_hint, locality_hint = w.locality_hint, status = w.status, pinned_by = w.pinned_by,
        pinned_reason = w.pinned_reason, pinned_until = w.pinned_until, change_ticket = w.change_ticket,
        anti_affinity_group = w.anti_affinity_group,
        version = w.version, owner_epoch = w.owner_epoch, checksum = w.checksum,
        revision = head.revision - :shard_count + w.place, updated_at = head.committed_at
    FROM head, w WHERE w.kind = 'UPDATED' AND s.namespace = w.namespace AND s.shard_id = w.shard_id
), deleted AS (
    DELETE FROM shards AS s USING w
    WHERE w.kind = 'DELETED' AND s.namespace = w.namespace AND s.shard_id = w.shard_id
), buried AS (
    INSERT INTO shard_tombstones (namespace, shard_id, version, owner_epoch)
    SELECT w.namespace, w.shard_id, w.version, w.owner_epoch FROM w WHERE w.kind = 'DELETED'
), heads AS (
    UPDATE namespace_heads AS n SET
        digest_high = n.digest_high # d.delta_high, digest_low = n.digest_low # d.delta_low,
        shard_count = n.shard_count + d.delta_count, revision = head.revision
    FROM head, (SELECT * FROM {_unnest(_DELTAS)}) AS d WHERE n.name = d.delta_name
    RETURNING n.name, n.shard_count - d.delta_count AS shard_count
), history AS (
    INSERT INTO shard_history (revision, change_id, namespace, shard_id, version, kind, changed_fields, owner_node_id,
        previous_owner_node_id, previous_revision, previous_updated_at, created_at, previous, current, move_reason)
    SELECT head.revision - :shard_count + w.place, head.change_id, w.namespace, w.shard_id, w.version, w.kind,
        string_to_array(w.changed_fields, ','), CASE WHEN w.kind <> 'DELETED' THEN w.owner_node_id END,
        w.previous_owner, w.previous_revision, w.previous_updated_at, coalesce(w.created_at, head.committed_at),
        CAST(w.previous AS json), CAST(w.current AS json), w.move_reason
    FROM head, w
), change AS (
    INSERT INTO changes (id, kind, actor, reason, change_ticket, metadata, namespaces, head_revision, shard_count,
        committed_at, configuration, idempotency_key, idempotency_digest, request_digest, content_digest, hash, forced)
    SELECT head.change_id, :change_kind, :actor, :reason, :ticket, CAST(:metadata AS json),
        CAST(:namespaces AS text[]), head.revision, :shard_count, head.committed_at, CAST(:configuration AS json),
        :idempotency_key, :idempotency_digest, :request_digest, :content_digest, head.hash, :forced
    FROM head
)
SELECT head.epoch, head.revision, head.change_id, head.committed_at, head.hash,
    pg_notify('{CHANNEL}', head.revision::text)
FROM head
WHERE head.committed_at < coalesce(CAST(:frozen_from AS timestamptz), 'infinity') AND NOT EXISTS (
    SELECT FROM heads, unnest(CAST(:fewest_names AS text[]), CAST(:fewest_counts AS int8[])) AS f (name, shard_count)
    WHERE heads.name = f.name AND heads.shard_count < f.shard_count
)
"""  # noqa: S608 - the interpolated parts are the constants above

_STATEMENT: Final = text(_SQL).bindparams(
    *(bindparam(name, type_=ARRAY(type_)) for name, _, type_, _ in (*_WRITES, *_DELTAS)),
    *(bindparam(name, type_=type_) for name, type_, _ in _CHANGE),
)


class Assigned(NamedTuple):
    """What the stream head gave this change. `revision` is that of its last shard change."""

    epoch: str
    revision: int
    change_id: int
    committed_at: datetime
    hash: bytes


async def write_change(session: AsyncSession, write_set: WriteSet) -> Assigned:
    """Run the statement. The head stays locked until the session commits: do nothing in between.

    Raises TransientConflict where a condition of the write set does not hold: what was written must not be committed.
    """
    parameters = await apart(len(write_set.shards), _parameters, write_set)
    row = (await session.execute(_STATEMENT, parameters)).one_or_none()
    if row is None:
        raise TransientConflict("what the namespace's policy allows has changed since this change was decided")
    return Assigned(*row[:5])


def _parameters(write_set: WriteSet) -> dict[str, Any]:
    parameters: dict[str, Any] = {name: value(write_set) for name, _, value in _CHANGE}
    parameters |= {name: [value(write) for write in write_set.shards] for name, _, _, value in _WRITES}
    parameters |= {name: [value(delta) for delta in write_set.deltas] for name, _, _, value in _DELTAS}
    return parameters
