"""A database with a history as long as wanted, made by SQL: what the store would have written in days."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import asyncpg

from persistence.codec.json_documents import write_policy
from persistence.model.policy import NamespacePolicy
from persistence.postgres.database import Database
from persistence.postgres.engine import create_engine
from persistence.postgres.partitions import append, partitions

ROWS_EACH: Final = 5
"""Of four changes of five; the fifth is of no shard."""


@dataclass(frozen=True, slots=True)
class Size:
    """Half of all shards and changes are of the namespace `busy`, the others of `ns-0` to `ns-99`. The first hundredth
    of changes is of `early`, which has no shards any more. One in twenty names two namespaces.

    Four actors of five are `controller`, and tickets are of a thousand changes each. The actor, the ticket, the nodes
    and the values of enumerations that are rare come from three of the first changes.
    """

    shards: int
    changes: int

    @property
    def rows(self) -> int:
        """Of history."""
        return ROWS_EACH * (self.changes - self.changes // 5)


_NAMESPACE: Final = "CASE WHEN {0} % 2 = 0 THEN 'busy' ELSE 'ns-' || ({0} / 2) % 100 END"

_IMAGE: Final = """json_build_object('capacityHint', 1, 'changeTicket', NULL, 'checksum', md5({id}), 'leaderId', NULL,
    'localityHint', 'eu-west/a', 'namespace', {namespace}, 'ownerEpoch', 1, 'ownerNodeId', {owner}, 'pinned', NULL,
    'shardId', {id}, 'status', 'ACTIVE', 'strategy', 'rendezvous', 'version', {version})"""


def _statements(size: Size) -> list[str]:
    """As a replica applies changes: without triggers and foreign keys."""
    early = size.changes // 100
    namespace = _NAMESPACE.format("c")
    # The shard of a row: its namespace has half of all, or a hundredth of the other half, each written in turn.
    of_namespace = f"CASE WHEN c.id % 2 = 0 THEN {size.shards // 2} ELSE {max(size.shards // 200, 1)} END"
    in_turn = "CASE WHEN c.id % 2 = 0 THEN c.id / 2 ELSE c.id / 200 END"
    previous = _IMAGE.format(id="k.shard_id", namespace="c.namespaces[1]", owner="k.previous", version="k.r")
    current = _IMAGE.format(id="k.shard_id", namespace="c.namespaces[1]", owner="k.owner", version="k.r + 1")
    return [
        "SET session_replication_role = replica",
        f"""
        INSERT INTO namespaces (name, strategy, strategy_parameters, algorithm_version, parameters_digest, version,
            policy, created_at, updated_at)
        SELECT name, 'rendezvous', '{{}}', 1, repeat('0', 64), 1, '{json.dumps(write_policy(NamespacePolicy()))}',
            now(), now()
        FROM unnest(ARRAY['busy', 'early', 'idle', 'other']
            || ARRAY(SELECT 'ns-' || n FROM generate_series(0, 99) AS n)) AS name
        """,  # noqa: S608 - a constant
        """
        INSERT INTO namespace_heads (name, digest_high, digest_low, shard_count, revision)
        SELECT name, 0, 0, 0, 0 FROM namespaces
        """,
        """
        INSERT INTO nodes (node_id, region, zone, labels, weight, status, version, created_at, updated_at)
        SELECT 'node-' || n, 'region-' || n % 5, 'zone-' || n % 15, '{}'::jsonb, 1, 'ACTIVE', 1, now(), now()
        FROM generate_series(0, 199) AS n
        """,
        f"""
        INSERT INTO changes (id, kind, actor, reason, change_ticket, namespaces, head_revision, shard_count,
            committed_at, configuration, content_digest, hash)
        SELECT c, CASE WHEN c <= {early} THEN 'CREATE_SHARDS' WHEN c % 5 = 0 THEN 'REGISTER_NODE'
                ELSE 'UPDATE_SHARDS' END,
            CASE WHEN c IN (7, 8, 9) THEN 'rare' WHEN c % 5 = 1 THEN 'ops-' || c % 10 ELSE 'controller' END, 'load',
            CASE WHEN c IN (7, 8, 9) THEN 'rare' ELSE 'CHG-' || c / 1000 END,
            CASE WHEN c <= {early} THEN '{{early}}' WHEN c % 20 = 1 THEN ARRAY[{namespace}, 'other']
                ELSE ARRAY[{namespace}] END,
            {ROWS_EACH} * (c - c / 5), CASE WHEN c % 5 = 0 THEN 0 ELSE {ROWS_EACH} END,
            '2026-01-01 00:00Z'::timestamptz + c * interval '1 second',
            CASE WHEN c % 5 = 0 THEN json_build_object('node', 'node-' || c % 200, 'previous', NULL,
                'current', json_build_object()) END,
            sha256(int8send(c)), sha256(int8send(c))
        FROM generate_series(1, {size.changes}) AS c
        """,  # noqa: S608 - numbers
        f"""
        INSERT INTO shard_history (revision, change_id, namespace, shard_id, version, kind, changed_fields,
            owner_node_id, previous_owner_node_id, previous_revision, previous_updated_at, created_at, previous,
            current, move_reason)
        SELECT k.r, c.id, c.namespaces[1], k.shard_id, k.r + 1,
            CASE WHEN c.id <= {early} THEN 'CREATED' ELSE 'UPDATED' END, '{{ownerNodeId}}', k.owner,
            CASE WHEN c.id > {early} THEN k.previous END,
            CASE WHEN c.id > {early} THEN k.r - 1 END, CASE WHEN c.id > {early} THEN c.committed_at END, c.committed_at,
            CASE WHEN c.id > {early} THEN {previous} END, {current},
            CASE WHEN c.id <= {early} THEN NULL WHEN k.r % 50 = 0 THEN 'OWNER_DRAINING'
                WHEN c.id = {early + 2} THEN 'ROLLBACK' END
        FROM changes AS c, LATERAL (
            SELECT r, 'node-' || r % 200 AS owner, 's' || CASE WHEN c.id <= {early} THEN r
                    ELSE ({in_turn} * {ROWS_EACH} + r % {ROWS_EACH}) % ({of_namespace}) END AS shard_id,
                CASE WHEN c.id = {early + 2} THEN 'rare' WHEN r % 5 = 0 THEN 'node-' || (r + 7) % 200
                    ELSE 'node-' || r % 200 END AS previous
            FROM generate_series(c.head_revision - c.shard_count + 1, c.head_revision) AS r OFFSET 0
        ) AS k
        """,  # noqa: S608 - numbers
        f"""
        INSERT INTO shards (namespace, shard_id, strategy, owner_node_id, leader_id, capacity_hint, locality_hint,
            status, change_ticket, version, owner_epoch, checksum, revision, created_at, updated_at)
        SELECT n.namespace, n.shard_id, 'rendezvous', CASE WHEN i IN (10, 11) THEN 'rare' ELSE 'node-' || i % 200 END,
            'node-' || i % 200 || '-r', 1, 'eu-west/a', CASE WHEN i = 12 THEN 'PAUSED' ELSE 'ACTIVE' END,
            CASE WHEN i = 13 THEN 'rare' ELSE 'CHG-' || i / 1000 END, 1, 1, md5(i::text), i + 1, now(), now()
        FROM generate_series(0, {size.shards} - 1) AS i, LATERAL (
            SELECT {_NAMESPACE.format("i")} AS namespace,
                's' || CASE WHEN i % 2 = 0 THEN i / 2 ELSE i / 200 END AS shard_id OFFSET 0
        ) AS n
        """,  # noqa: S608 - same
        f"""
        INSERT INTO shard_tombstones (namespace, shard_id, version, owner_epoch)
        SELECT DISTINCT 'early', shard_id, 2, 1 FROM shard_history WHERE revision <= {ROWS_EACH * early}
            AND namespace = 'early'
        """,  # noqa: S608 - same
        """
        INSERT INTO refusals (id, kind, actor, reason, change_ticket, namespaces, outcome, request_digest, request,
            details, left_out, refused_at, content_digest, hash)
        SELECT id, kind, actor, reason, change_ticket, namespaces, 'VersionConflict', content_digest, '{}', '{}', 0,
            committed_at, content_digest, hash
        FROM changes WHERE id % 4 = 0
        """,
        """
        UPDATE stream_head SET (revision, change_id, committed_at, hash) =
            (SELECT head_revision, id, committed_at, hash FROM changes ORDER BY id DESC LIMIT 1)
        """,
    ]


async def fill(url: str, size: Size) -> None:
    """An empty database that was migrated. Its statistics are made, and none are made later on."""
    database = Database(url)
    engine = create_engine(database, pool_size=1, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            while (await partitions(connection))[-1].after_last <= size.rows:
                await append(connection)
    finally:
        await engine.dispose()
        await database.close()
    driver = await asyncpg.connect(url)
    try:
        for statement in _statements(size):
            await driver.execute(statement)
        await driver.execute("VACUUM ANALYZE")
    finally:
        await driver.close()
