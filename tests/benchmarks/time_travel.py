"""The table as it stood, with a million rows of history: a namespace of 1,000 shards, whole, and one shard of it.

Shards are created through the store; their further lives are written by SQL, as the store would have written them: a
change for every round of every namespace, so that a shard's rows lie as far apart as they do in life.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from statistics import quantiles
from time import perf_counter
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.commands.command import ChangeRequest
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.shards import CreateShards, NewShard
from persistence.model.paging import PageRequest
from persistence.model.queries import ShardFilter
from persistence.model.records import AsOf, ShardKey
from persistence.ports.store import Store
from persistence.postgres.engine import engine_on
from persistence.postgres.partitions import append
from persistence.postgres.store import open_store
from persistence.service.executor import CommandExecutor
from tests.benchmarks.report import Report, say

NAMESPACES: Final = 20
SHARDS_EACH: Final = 1_000
ROUNDS: Final = 52
"""Of rows of history, a row a shard: what is left below a million rows is more than a page."""
PAGE: Final = 500
TARGET_MS: Final = 50.0
SAMPLES: Final = 200
NAME: Final = "t07"

_CHANGE: Final = ChangeRequest("bench", "measure", "CHG-1")
# Revisions and change ids follow the head, one round of all the namespaces a statement. `json_build_object` writes
# other bytes than `images.py` does, which nothing here looks at.
_CHANGES: Final = text("""
INSERT INTO changes (id, kind, actor, reason, change_ticket, namespaces, head_revision, shard_count, committed_at,
    content_digest, hash)
SELECT h.change_id + n.place, 'UPDATE_SHARDS', 'bench', 'measure', 'CHG-1', ARRAY[n.name],
    h.revision + n.place * :shards, :shards, h.committed_at + n.place * interval '1 ms', h.hash, h.hash
FROM stream_head AS h,
    (SELECT name, row_number() OVER (ORDER BY name) AS place FROM namespaces WHERE name ~ '^t[0-9]{2}$') AS n
""")
_IMAGE: Final = """
    json_build_object('capacityHint', 1, 'changeTicket', 'CHG-1', 'checksum', md5({version}::text), 'leaderId', NULL,
        'localityHint', NULL, 'namespace', s.namespace, 'ownerEpoch', {version}, 'ownerNodeId', 'node-' || {version},
        'pinned', NULL, 'shardId', s.shard_id, 'status', 'ACTIVE', 'strategy', s.strategy, 'version', {version})
"""
_HISTORY: Final = text(f"""
INSERT INTO shard_history (revision, change_id, namespace, shard_id, version, kind, changed_fields, owner_node_id,
    previous_owner_node_id, previous_revision, previous_updated_at, created_at, previous, current)
SELECT h.revision + row_number() OVER (ORDER BY s.namespace, s.shard_id), c.id, s.namespace, s.shard_id, s.version + 1,
    'UPDATED', ARRAY['ownerNodeId'], 'node-' || s.version + 1, s.owner_node_id, s.revision, s.updated_at, s.created_at,
    {_IMAGE.format(version="s.version")}, {_IMAGE.format(version="(s.version + 1)")}
FROM stream_head AS h, shards AS s JOIN changes AS c ON c.namespaces = ARRAY[s.namespace]
WHERE s.namespace ~ '^t[0-9]{2}$' AND c.id > h.change_id
""")  # noqa: S608 - constants
_SHARDS: Final = text("""
UPDATE shards AS s SET version = r.version, owner_epoch = r.version, owner_node_id = r.owner_node_id,
    revision = r.revision, updated_at = c.committed_at
FROM stream_head AS h, shard_history AS r JOIN changes AS c ON c.id = r.change_id
WHERE r.revision > h.revision AND s.namespace = r.namespace AND s.shard_id = r.shard_id
""")
_HEAD: Final = text("""
UPDATE stream_head SET (revision, change_id, committed_at) =
    (SELECT c.head_revision, c.id, c.committed_at FROM changes AS c ORDER BY c.id DESC LIMIT 1)
""")


def names() -> Sequence[str]:
    return [f"t{number:02}" for number in range(NAMESPACES)]


async def fill(url: str, rounds: int = ROUNDS) -> int:
    """A million rows: 20 namespaces of 1,000 shards, each with 52 versions. The revision at which all were created,
    whatever the store held before."""
    total = rounds * NAMESPACES * SHARDS_EACH
    say(f"  {total:,} rows of history in {NAMESPACES} namespaces of {SHARDS_EACH:,} shards")
    async with open_store(url) as store:
        writer = CommandExecutor(store.unit_of_work)
        for name in names():
            await writer.execute(ConfigureNamespace(name, "rendezvous", {}, 0, _CHANGE))
            new = [NewShard(name, f"shard-{number:04}", "node-1") for number in range(SHARDS_EACH)]
            await writer.execute(CreateShards(new, _CHANGE))
        created = (await store.stream.head()).revision
    engine = engine_on(url, command_timeout=None)
    try:
        async with engine.connect() as connection:
            settled = await connection.execution_options(isolation_level="AUTOCOMMIT")
            while (await append(settled)).after_last <= created + total:
                pass
        async with AsyncSession(engine) as session:
            for number in range(1, rounds):
                for statement in (_CHANGES, _HISTORY, _SHARDS, _HEAD):
                    values = {"shards": SHARDS_EACH} if statement is _CHANGES else {}
                    await session.execute(statement, values)
                await session.commit()
                if number % 10 == 0:
                    say(f"  history: {(number + 1) * NAMESPACES * SHARDS_EACH:,} of {total:,} rows")
        async with engine.connect() as connection:
            settled = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await settled.execute(text("VACUUM ANALYZE"))
    finally:
        await engine.dispose()
    return created


async def measure(report: Report, url: str, created: int, samples: int = SAMPLES) -> None:
    """Of what `fill` made, at revisions from `created` on."""
    async with open_store(url) as store:
        head, sampled = (await store.stream.head()).revision, range(samples)
        moments = [AsOf(revision=created + (head - created) * number // samples) for number in sampled]

        async def whole(number: int) -> None:
            await _whole(store, moments[number])

        async def one(number: int) -> None:
            await store.shards.get(ShardKey(NAME, f"shard-{number * 7 % SHARDS_EACH:04}"), moments[number])

        for what, work in (
            (f"asOf: a namespace of {SHARDS_EACH:,} shards, two pages", whole),
            ("asOf: one shard", one),
        ):
            _add(report, what, await _timed(work, samples))


async def _whole(store: Store, moment: AsOf) -> None:
    """As a client reads it: page by page."""
    first = (await store.shards.page(ShardFilter(namespace=NAME), PageRequest(PAGE), moment)).value
    rest = (await store.shards.page(ShardFilter(namespace=NAME), PageRequest(PAGE, first.items[-1].key), moment)).value
    if len(first.items) + len(rest.items) != SHARDS_EACH:
        raise RuntimeError(f"{len(first.items)} and {len(rest.items)} shards, not {SHARDS_EACH}")


async def _timed(work: Callable[[int], Awaitable[None]], samples: int) -> Sequence[float]:
    """Milliseconds, each time of another revision."""
    await work(0)
    taken = []
    for number in range(samples):
        begin = perf_counter()
        await work(number)
        taken.append(1_000 * (perf_counter() - begin))
    return taken


def _add(report: Report, what: str, taken: Sequence[float]) -> None:
    percentiles = quantiles(taken, n=100)
    figure = f"p50 {percentiles[49]:.1f} ms, p99 {percentiles[98]:.1f} ms, worst {max(taken):.1f} ms"
    report.add(what, figure, f"target {TARGET_MS:.0f} ms", percentiles[98] / TARGET_MS, "lower")
