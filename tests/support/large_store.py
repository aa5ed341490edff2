"""Stores of many shards, written by SQL as the store would have written them: through it, a million take an hour."""

from __future__ import annotations

import json
from typing import Final

import asyncpg

from persistence.codec.json_documents import write_policy
from persistence.model.policy import DEFAULT_POLICY
from persistence.postgres.engine import engine_on
from persistence.postgres.partitions import append

# As a replica applies changes: without triggers and foreign keys. Each namespace was created by one change, and two
# thirds of its shards were changed one by one since; one shard in a hundred is pinned. Of history only the newest row
# is there, as the head requires, and what leads to it was compacted.
_FILL: Final = """
    SET session_replication_role = replica;
    INSERT INTO namespaces (name, strategy, strategy_parameters, algorithm_version, parameters_digest, version, policy,
        created_at, updated_at)
    SELECT 'namespace-' || lpad(n::text, 5, '0'), 'rendezvous', '{{}}', 1, repeat('0', 64), 1, '{policy}',
        '2026-01-01 00:00Z', '2026-01-01 00:00Z'
    FROM generate_series(0, {namespaces} - 1) AS n;
    INSERT INTO shards (namespace, shard_id, strategy, owner_node_id, leader_id, capacity_hint, locality_hint, status,
        pinned_by, pinned_reason, pinned_until, change_ticket, version, owner_epoch, checksum, revision, created_at,
        updated_at, anti_affinity_group)
    SELECT 'namespace-' || lpad(n::text, 5, '0'), 'shard-' || lpad(i::text, 8, '0'), 'rendezvous',
        'node-' || lpad((i * 7919 % 1000)::text, 4, '0'),
        CASE WHEN i % 4 > 0 THEN 'node-' || lpad((i * 7907 % 1000)::text, 4, '0') END,
        1 + i % 16 / 4.0, CASE WHEN i % 2 = 0 THEN 'eu-' || i % 3 END,
        (ARRAY['ACTIVE', 'ACTIVE', 'ACTIVE', 'DRAINING', 'PAUSED'])[1 + i % 5],
        CASE WHEN i % 100 = 0 THEN 'operator' END, CASE WHEN i % 100 = 0 THEN 'licence of the host ' || i END,
        CASE WHEN i % 200 = 0 THEN '2027-01-01 00:00Z'::timestamptz END,
        CASE WHEN i % 3 > 0 THEN 'CHG-' || i ELSE 'CHG-' || n END,
        1 + i % 3 * 200, 1 + i % 3 * 100, md5(i::text), i + 1,
        '2026-01-01 00:00Z'::timestamptz + n * interval '1.000001 s',
        '2026-01-01 00:00Z'::timestamptz + CASE WHEN i % 3 > 0 THEN i ELSE n END * interval '1.000001 s',
        CASE WHEN i % 10 = 0 THEN 'group-' || i % 50 END
    FROM generate_series(0::bigint, {namespaces} * {shards_each} - 1) AS i,
        LATERAL (SELECT i / {shards_each} AS n) AS of_shard;
    INSERT INTO namespace_heads (name, digest_high, digest_low, shard_count, revision)
    SELECT namespace, 0, 0, count(*), max(revision) FROM shards GROUP BY namespace;
    INSERT INTO changes (id, kind, actor, reason, change_ticket, namespaces, head_revision, shard_count, committed_at,
        content_digest, hash)
    SELECT 1, 'UPDATE_SHARDS', 'operator', 'load', change_ticket, ARRAY[namespace], revision, 1, updated_at,
        sha256('1'), sha256('2')
    FROM shards ORDER BY revision DESC LIMIT 1;
    INSERT INTO shard_history (revision, change_id, namespace, shard_id, version, kind, changed_fields, owner_node_id,
        created_at, current)
    SELECT revision, 1, namespace, shard_id, version, 'CREATED', '{{}}', owner_node_id, created_at, '{{}}'
    FROM shards ORDER BY revision DESC LIMIT 1;
    UPDATE stream_head SET (revision, floor, change_id, hash, committed_at) =
        (SELECT head_revision, head_revision, id, hash, committed_at FROM changes);
    RESET session_replication_role;
"""


async def fill(url: str, namespaces: int, shards_each: int) -> None:
    """An empty store gets so many namespaces of so many shards: `shard-00000000` and on, numbered through all."""
    engine = engine_on(url, command_timeout=None)
    try:
        async with engine.connect() as connection:
            settled = await connection.execution_options(isolation_level="AUTOCOMMIT")
            while (await append(settled)).after_last <= namespaces * shards_each:
                pass
    finally:
        await engine.dispose()
    policy = json.dumps(write_policy(DEFAULT_POLICY))
    driver = await asyncpg.connect(url)
    try:
        await driver.execute(_FILL.format(namespaces=namespaces, shards_each=shards_each, policy=policy))
        await driver.execute("VACUUM ANALYZE shards")
    finally:
        await driver.close()
