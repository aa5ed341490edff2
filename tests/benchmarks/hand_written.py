"""The same changes by hand: a loop on asyncpg, without a server, in a process of its own.

What a program does that keeps an ordered and audited history of its own: a transaction for each change, which takes the
head, compares the version, and writes the change with its hash, its row of history and the shard. The tables are copies
of the store's, with their indexes and checks; there is neither GraphQL, nor policy, nor anything that is followed up.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sys
from collections.abc import Sequence
from time import perf_counter, process_time
from typing import Any, Final

import asyncpg
import uvloop

from tests.benchmarks.load import PERCENTS, figures_of

TABLES: Final = """
DROP TABLE IF EXISTS hand_head, hand_shards, hand_changes, hand_history;
CREATE TABLE hand_head AS SELECT 1 AS id, 0::int8 AS revision, 0::int8 AS change_id, ''::bytea AS hash;
CREATE TABLE hand_shards (LIKE shards INCLUDING ALL);
CREATE TABLE hand_changes (LIKE changes INCLUDING ALL);
CREATE TABLE hand_history (LIKE shard_history_0 INCLUDING ALL);
INSERT INTO hand_shards SELECT * FROM shards;
ANALYZE hand_shards;
"""

_HEAD: Final = "SELECT revision, change_id, hash FROM hand_head WHERE id = 1 FOR UPDATE"
_SHARD: Final = "SELECT * FROM hand_shards WHERE namespace = $1 AND shard_id = $2"
_MOVE_HEAD: Final = "UPDATE hand_head SET revision = $1, change_id = $2, hash = $3 WHERE id = 1"
_CHANGE: Final = """
INSERT INTO hand_changes (id, kind, actor, reason, change_ticket, namespaces, head_revision, shard_count, committed_at,
    content_digest, hash)
VALUES ($1, 'UPDATE_SHARDS', 'bench', 'measure', 'CHG-1', ARRAY[$2::text], $3, 1, now(), $4, $4)
"""
_UPDATE: Final = """
UPDATE hand_shards SET owner_node_id = $3, change_ticket = 'CHG-1', version = version + 1,
    owner_epoch = owner_epoch + 1, revision = $4, updated_at = now()
WHERE namespace = $1 AND shard_id = $2 AND version = $5
"""
_HISTORY: Final = """
INSERT INTO hand_history (revision, change_id, namespace, shard_id, version, kind, changed_fields, owner_node_id,
    previous_owner_node_id, previous_revision, previous_updated_at, created_at, previous, current)
VALUES ($1, $2, $3, $4, $5, 'UPDATED', '{ownerNodeId}', $6, $7, $8, $9, $10, $11, $12)
"""


async def change(connection: asyncpg.Connection[Any], key: tuple[str, str], version: int) -> None:
    """Raises RuntimeError where the shard is at another version."""
    async with connection.transaction():
        revision, change_id, previous_hash = await connection.fetchrow(_HEAD)
        shard = await connection.fetchrow(_SHARD, *key)
        if shard["version"] != version:
            raise RuntimeError(f"{key} is at version {shard['version']}, not {version}")
        owner = f"node-{version % 10}"
        before = json.dumps(dict(shard), default=str, sort_keys=True)
        after = json.dumps({**shard, "owner_node_id": owner, "version": version + 1}, default=str, sort_keys=True)
        revision, change_id = revision + 1, change_id + 1
        digest = hashlib.sha256(previous_hash + before.encode() + after.encode()).digest()
        await connection.execute(_MOVE_HEAD, revision, change_id, digest)
        await connection.execute(_CHANGE, change_id, key[0], revision, digest)
        await connection.execute(_UPDATE, *key, owner, revision, version)
        described = (*key, version + 1, owner, shard["owner_node_id"], shard["revision"], shard["updated_at"])
        await connection.execute(_HISTORY, revision, change_id, *described, shard["created_at"], before, after)
        await connection.execute("SELECT pg_notify('hand', $1)", str(revision))


async def run(url: str, shards: Sequence[tuple[str, str, int]], *, seconds: float) -> dict[str, Any]:
    """As `write_load.run`, with the processor time of this process."""
    connections = [await asyncpg.connect(url) for _ in shards]
    latencies: list[float] = []
    answered = 0
    begin, spent = perf_counter(), process_time()
    counted_from, end = begin + seconds / 5, begin + seconds

    async def client(connection: asyncpg.Connection[Any], shard: tuple[str, str, int]) -> None:
        nonlocal answered
        namespace, shard_id, _ = shard
        (version,) = await connection.fetchrow(
            "SELECT version FROM hand_shards WHERE namespace = $1 AND shard_id = $2", namespace, shard_id
        )
        while (sent := perf_counter()) < end or not latencies:
            await change(connection, (namespace, shard_id), version)
            version, answered = version + 1, answered + 1
            if sent >= counted_from:
                latencies.append(perf_counter() - sent)

    await asyncio.gather(*map(client, connections, shards))
    taken, spent = perf_counter() - counted_from, process_time() - spent
    for connection in connections:
        await connection.close()
    figures = figures_of(latencies, taken)
    return {
        "answered": answered,
        "spent": spent,
        "rate": figures.rate,
        "latencies": [(percent, figures.at(percent)) for percent in PERCENTS],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    shards = [tuple(each) for each in json.load(sys.stdin)]
    print(json.dumps(uvloop.run(run(options.url, shards, seconds=options.seconds))))


if __name__ == "__main__":
    main()
