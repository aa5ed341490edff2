"""Lookups, memory and starts as the table grows from 1,000 to 1,000,000 shards, in 1,000 namespaces at the most.

Each size has a database, filled by SQL, and a server of its own; all of them are loaded in interleaved rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from time import perf_counter
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.commands.command import ChangeRequest
from persistence.commands.namespaces import ConfigureNamespace
from persistence.postgres.engine import engine_on
from persistence.postgres.partitions import append
from persistence.postgres.store import open_store
from persistence.service.executor import CommandExecutor
from tests.benchmarks import processes, servers
from tests.benchmarks.databases import Databases
from tests.benchmarks.readiness import ready, served_from_memory, settled
from tests.benchmarks.report import say
from tests.benchmarks.sampling import Case, interleaved
from tests.benchmarks.workloads import OURS

SIZES: Final = (1_000, 10_000, 100_000, 1_000_000)
REFERENCE: Final = 10_000
SHARDS_EACH: Final = 1_000
REQUESTS: Final = 20_000

_CHANGE: Final = ChangeRequest("bench", "measure", "CHG-1")

# A change for each namespace, which created its shards; their rows of history are left out, as if compacted.
_NAMESPACES: Final = text("""
INSERT INTO namespaces (name, strategy, strategy_parameters, algorithm_version, parameters_digest, version, policy,
    created_at, updated_at)
SELECT 'g' || lpad(i::text, 4, '0'), n.strategy, n.strategy_parameters, n.algorithm_version, n.parameters_digest,
    n.version, n.policy, n.created_at, n.updated_at
FROM namespaces AS n, generate_series(1, :namespaces - 1) AS i WHERE n.name = 'g0000'
""")
_CHANGES: Final = text("""
INSERT INTO changes (id, kind, actor, reason, change_ticket, namespaces, head_revision, shard_count, committed_at,
    content_digest, hash)
SELECT h.change_id + n.place, 'CREATE_SHARDS', 'bench', 'measure', 'CHG-1', ARRAY[n.name],
    h.revision + n.place * :each, :each, h.committed_at, h.hash, h.hash
FROM stream_head AS h, (SELECT name, row_number() OVER (ORDER BY name) AS place FROM namespaces) AS n
""")
_SHARDS: Final = text("""
INSERT INTO shards (namespace, shard_id, strategy, owner_node_id, leader_id, capacity_hint, status, change_ticket,
    version, owner_epoch, checksum, revision, created_at, updated_at)
SELECT c.namespaces[1], 'shard-' || lpad(i::text, 4, '0'), 'rendezvous', 'node-' || i % 10, 'node-' || i % 10, 1,
    'ACTIVE', 'CHG-1', 1, 1, md5(c.id || ' ' || i), c.head_revision - :each + i, c.committed_at, c.committed_at
FROM changes AS c, generate_series(1, :each) AS i WHERE c.kind = 'CREATE_SHARDS'
""")
_HEADS: Final = text("""
INSERT INTO namespace_heads (name, digest_high, digest_low, shard_count, revision)
SELECT c.namespaces[1], 0, 0, c.shard_count, c.head_revision FROM changes AS c WHERE c.kind = 'CREATE_SHARDS'
ON CONFLICT (name) DO UPDATE SET shard_count = excluded.shard_count, revision = excluded.revision
""")
_HEAD: Final = text("""
UPDATE stream_head SET (revision, floor, change_id) =
    (SELECT c.head_revision, c.head_revision, c.id FROM changes AS c ORDER BY c.id DESC LIMIT 1)
""")


async def measure(databases: Databases, *, seconds: float, rounds: int, sizes: Sequence[int] = SIZES) -> dict[str, Any]:
    """Of each size: the figures of lookups, seconds from start to ready and to answers from memory, bytes of memory."""
    postmaster = databases.postmaster
    cases, found = [], []
    async with AsyncExitStack() as stack:
        for size in sizes:
            say(f"  {size:,} shards: filling a database")
            url = await databases.new(f"growth_{size}")
            namespaces = max(1, size // SHARDS_EACH)
            await fill(url, namespaces)
            begin = perf_counter()
            server = await stack.enter_async_context(servers.omnirelay(url))
            case = Case(f"{size}", server, requests(namespaces))
            readied = await ready(server) - begin
            served = await served_from_memory(server, case.requests, postmaster) - begin
            await settled(server)
            memory = processes.resident_bytes(server.process)
            found.append({"shards": size, "ready": readied, "served": served, "memory": memory})
            say(f"    ready after {readied:.1f} s, from memory after {served:.1f} s, {memory / 1e6:.0f} MB")
            cases.append(case)
        figures = await interleaved(cases, postmaster, seconds=seconds, rounds=rounds)
    return {"sizes": [{**each, "lookups": figures[f"{each['shards']}"]} for each in found]}


async def fill(url: str, namespaces: int) -> None:
    """So many namespaces of 1,000 shards, as they were created by a change each."""
    async with open_store(url) as store:
        await CommandExecutor(store.unit_of_work).execute(ConfigureNamespace("g0000", "rendezvous", {}, 0, _CHANGE))
    engine = engine_on(url, command_timeout=None)
    try:
        async with engine.connect() as connection:
            settled = await connection.execution_options(isolation_level="AUTOCOMMIT")
            while (await append(settled)).after_last <= namespaces * SHARDS_EACH + 1:
                pass
        async with AsyncSession(engine) as session:
            for statement in (_NAMESPACES, _CHANGES, _SHARDS, _HEADS, _HEAD):
                given = {"namespaces": namespaces, "each": SHARDS_EACH}
                names = {name: value for name, value in given.items() if f":{name}" in statement.text}
                await session.execute(statement, names)
            await session.commit()
        async with engine.connect() as connection:
            settled = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await settled.execute(text("VACUUM ANALYZE"))
    finally:
        await engine.dispose()


def requests(namespaces: int) -> Sequence[bytes]:
    """Lookups all over the table, no two neighbours close together."""
    total = namespaces * SHARDS_EACH
    places = (number * 7_368_787 % total for number in range(min(total, REQUESTS)))
    return [
        OURS["lookup"].request({"n": f"g{place // SHARDS_EACH:04}", "k": f"shard-{place % SHARDS_EACH + 1:04}"})
        for place in places
    ]
