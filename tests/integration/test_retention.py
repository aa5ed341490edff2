"""Compacting while the store is used, killed halfway, and at random points of random histories."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.errors import Compacted, SchemaOutOfDate, StoreError, TransientConflict
from persistence.model.paging import PageRequest
from persistence.model.queries import ShardFilter
from persistence.model.records import AsOf, ShardDiff
from persistence.ports.writes import HistoryCompacted
from persistence.postgres import compaction as retention
from persistence.postgres import kept_history
from persistence.postgres.audit.verify import verify
from persistence.postgres.compaction import PostgresRetention
from persistence.postgres.driver import Connection
from persistence.postgres.store import open_store
from tests.support.mesh import COUNTED, Mesh, because, new, patch
from tests.support.model import replay, verified_links
from tests.support.partitions import partitions_of, repartition

SPAN = 20
WHY = because("nobody reads this any more")
UNFINISHED = (
    "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'shard_history%' AND NOT relispartition"
)

PROMISES = (
    # Checks and the foreign key, valid ones.
    """
    SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid), E'\\n' ORDER BY conname) FROM pg_constraint
    WHERE conrelid = $1::regclass AND contype IN ('c', 'f') AND convalidated
    """,
    """
    SELECT string_agg(replace(indexdef, $1, 'shard_history'), E'\\n' ORDER BY indexname) FROM pg_indexes
    WHERE tablename = $1
    """,
    """
    SELECT string_agg(attname || ' ' || atttypid || ' ' || attnotnull || ' ' || attcollation, E'\\n' ORDER BY attnum)
    FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0
    """,
    "SELECT coalesce(obj_description($1::regclass), 'no comment')",
)


@pytest.fixture
async def small(database_url: str) -> str:
    """A database whose history is in partitions of twenty revisions."""
    await repartition(database_url, SPAN)
    return database_url


@pytest.fixture
async def mesh(small: str) -> AsyncIterator[Mesh]:
    async with open_store(small, history_span=SPAN) as store:
        mesh = Mesh(store)
        await mesh.configure()
        yield mesh


async def one(url: str, statement: str, *arguments: object) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement, *arguments)
    finally:
        await connection.close()


async def test_what_is_built_promises_what_partitions_promise(mesh: Mesh, small: str) -> None:
    """Constraints, the foreign key, indexes, being append-only: of what was kept, and of the rest of a partition."""
    await live_randomly(mesh, random.Random(12), 30)
    (untouched, *_) = [one.name for one in reversed(await partitions_of(small))]
    assert await PostgresRetention(small).compact(25, WHY) is not None
    built = ["shard_history_below_26", "shard_history_26"]
    assert [one.name for one in await partitions_of(small)][:2] == built
    for name in built:
        for promise in PROMISES:
            expected = await one(small, promise, untouched)
            assert expected
            assert await one(small, promise, name) == expected, (name, promise)
        for statement in ("UPDATE {} SET version = 9", "DELETE FROM {}", "TRUNCATE {}"):
            with pytest.raises(asyncpg.RestrictViolationError, match="is append-only"):
                await one(small, statement.format(name))
    # A revision is given once: the ranges are disjoint, and each has its own primary key.
    for name, bound in zip(built, ("<= 25", "> 25"), strict=True):
        row = f"SELECT h.* FROM shard_history AS h WHERE h.revision {bound} LIMIT 1"  # noqa: S608 - literals above
        other = built[name == built[0]]
        with pytest.raises(asyncpg.UniqueViolationError, match=f"pk_{name}"):
            await one(small, f"INSERT INTO shard_history {row}")
        with pytest.raises(asyncpg.CheckViolationError, match="violates partition constraint"):
            await one(small, f"INSERT INTO {other} {row}")


async def test_a_shard_that_only_history_knows_stops_the_compaction(mesh: Mesh, small: str) -> None:
    """Without its tombstone, what it counts on from would be gone with its rows."""
    await mesh.delete(await mesh.created("x"))
    await mesh.created("y")
    await one(small, "DELETE FROM shard_tombstones")
    with pytest.raises(StoreError, match="rows of billing/x, which is neither in shards nor in shard_tombstones"):
        await PostgresRetention(small).compact(3, WHY)
    assert [row.revision for row in await mesh.history()] == [1, 2, 3]
    await one(small, "INSERT INTO shard_tombstones VALUES ('billing', 'x', 2, 1)")
    assert await PostgresRetention(small).compact(3, WHY) is not None


async def live_randomly(mesh: Mesh, chance: random.Random, changes: int) -> None:
    """Creations, updates, deletions and re-creations, one to eight shards at a time."""
    for _ in range(changes):
        table = await mesh.table()
        present = [table[key] for key in sorted(table)]
        absent = sorted({f"s{number:02}" for number in range(30)} - {shard.shard_id for shard in present})
        size = chance.randint(1, 8)
        match chance.choice(("create", "update", "update", "delete")):
            case "create" if absent:
                await mesh.create(*(new(name) for name in chance.sample(absent, min(size, len(absent)))))
            case "update" if present:
                some = chance.sample(present, min(size, len(present)))
                await mesh.update(*(patch(shard, owner_node_id=f"node-{chance.randint(1, 5)}") for shard in some))
            case "delete" if len(present) > size:
                await mesh.delete(*chance.sample(present, size))


async def following(mesh: Mesh, revision: int) -> list[ShardDiff]:
    """The stream after a revision, to its end."""
    rows: list[ShardDiff] = []
    while True:
        _, more, _ = await mesh.store.stream.after(rows[-1].revision if rows else revision, 7)
        if not more:
            return rows
        rows += more


@pytest.mark.parametrize("seed", range(4))
async def test_from_the_floor_on_everything_is_told_as_before(mesh: Mesh, small: str, seed: int) -> None:
    chance = random.Random(seed)
    await live_randomly(mesh, chance, 40)
    floor = 0
    for _ in range(3):
        history = await following(mesh, floor)
        base = await mesh.table(AsOf(revision=floor))
        head = history[-1].revision
        floor = chance.randint(floor + 1, head)
        done = await PostgresRetention(small).compact(floor, WHY)
        assert done is not None
        for revision in range(floor, head + 1):
            then = replay((row for row in history if row.revision <= revision), base)
            assert await mesh.table(AsOf(revision=revision)) == then
        assert await following(mesh, floor) == [row for row in history if row.revision > floor]
        found = await partitions_of(small)
        assert (found[0].first, found[0].after_last) == (None, floor + 1)
        assert [one.first for one in found[1:]] == [one.after_last for one in found[:-1]]
        await live_randomly(mesh, chance, 10)
    changes = await mesh.changes()
    digests = await mesh.store.changes.content_digests(0, len(changes))
    assert verified_links(changes, await following(mesh, floor), digests) == len(changes)


async def test_writers_lose_nothing_while_history_is_compacted(mesh: Mesh, small: str) -> None:
    """Revisions stay gapless, and a subscriber gets each once, however often it is compacted."""
    shards = (await mesh.create(*(new(f"w{number}") for number in range(4)))).shards
    moving, compacted, written = asyncio.Event(), asyncio.Event(), asyncio.Event()
    followed = [4]

    async def write(number: int) -> None:
        shard, count = shards[number], 0
        while not compacted.is_set():
            why = because("work", idempotency_key=f"{number}-{count}")
            (shard,) = (await mesh.update(patch(shard, owner_node_id=f"node-{count % 3}"), change=why)).shards
            count += 1

    async def follow() -> None:
        while not written.is_set() or followed[-1] < (await mesh.store.stream.head()).revision:
            head, rows, _ = await mesh.store.stream.after(followed[-1], 100)
            assert head.floor <= followed[-1]
            followed.extend(row.revision for row in rows)
            if len(followed) > 20:
                moving.set()

    async def compact() -> None:
        await moving.wait()
        for _ in range(5):
            while await PostgresRetention(small).compact(followed[-1] - 5, WHY) is None:
                """Nothing was written since."""
        compacted.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(follow())
        async with asyncio.TaskGroup() as writers:
            for number in range(4):
                writers.create_task(write(number))
            writers.create_task(compact())
        written.set()
    head = await mesh.store.stream.head()
    assert followed == list(range(4, head.revision + 1))
    assert await mesh.table(AsOf(revision=head.floor)) != {}
    changes = await mesh.changes()
    digests = await mesh.store.changes.content_digests(0, len(changes))
    assert verified_links(changes, await following(mesh, head.floor), digests) == len(changes)


async def test_readers_of_the_past_get_what_was_or_are_refused(mesh: Mesh, small: str) -> None:
    await live_randomly(mesh, random.Random(7), 30)
    history = await following(mesh, 0)
    middle = len(history) // 2
    then, difference = replay(history[:middle]), await mesh.difference(middle, len(history))
    done = asyncio.Event()

    async def read() -> int:
        exact = 0
        while not done.is_set():
            with suppress(Compacted):
                assert await mesh.table(AsOf(revision=middle)) == then
                counted = await mesh.store.shards.page(ShardFilter(), COUNTED, AsOf(revision=middle))
                assert counted.value.total == len(then)
                assert await mesh.difference(middle, len(history)) == difference
                exact += 1
        return exact

    reading = [asyncio.create_task(read()) for _ in range(4)]
    for floor in (middle - 3, middle, middle + 3, len(history)):
        assert await PostgresRetention(small).compact(floor, WHY) is not None
    done.set()
    assert sum(await asyncio.gather(*reading)) > 0
    with pytest.raises(Compacted):
        await mesh.store.shards.page(ShardFilter(), PageRequest(1), AsOf(revision=middle))


STEPS = ("Copying the newest", "Copying what came after", "Checking", "Putting it")


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_any_step_history_is_as_it_was_and_the_next_run_ends_it(
    mesh: Mesh, small: str, step: str
) -> None:
    await live_randomly(mesh, random.Random(1), 30)
    history = await following(mesh, 0)
    floor = len(history) - 7
    seen: list[str] = []
    dead = asyncio.Event()

    async def kill() -> None:
        await one(
            small,
            "SELECT count(pg_terminate_backend(pid)) FROM pg_locks"
            " WHERE locktype = 'advisory' AND objid = $1 AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())",
            retention._COMPACTING,  # noqa: SLF001 - the right to compact names who holds it
        )
        dead.set()

    killing: list[asyncio.Task[None]] = []

    def progress(words: str) -> None:
        seen.append(words)
        if words.startswith(step):
            killing.append(asyncio.create_task(kill()))

    with suppress(StoreError):
        await PostgresRetention(small, progress).compact(floor, WHY)
    await dead.wait()
    head = await mesh.store.stream.head()
    assert head.floor in {0, floor}
    assert await following(mesh, floor) == history[floor:]
    if not head.floor:
        assert await following(mesh, 0) == history
        assert await PostgresRetention(small).compact(floor, WHY) is not None
    assert await mesh.table(AsOf(revision=floor)) == replay(history[:floor])
    assert await one(small, UNFINISHED) == 0
    assert any(words.startswith(step) for words in seen)


async def test_a_second_compaction_is_refused_while_the_first_runs(mesh: Mesh, small: str) -> None:
    await mesh.create(*(new(f"s{number}") for number in range(9)))
    connection = await asyncpg.connect(small)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", retention._COMPACTING)  # noqa: SLF001 - we are the first
        with pytest.raises(TransientConflict, match="another compaction of history is running; run this again"):
            await PostgresRetention(small).compact(5, WHY)
    finally:
        await connection.close()
    assert (await mesh.store.stream.head()).floor == 0


async def test_a_compaction_can_follow_another_at_once(mesh: Mesh, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the server has not noticed yet that the connection of the first has ended."""
    await live_randomly(mesh, random.Random(12), 30)
    unnoticed: list[Connection] = []
    with monkeypatch.context() as patched:
        patched.setattr(Connection, "terminate", lambda connection: unnoticed.append(connection))  # noqa: PLW0108 - a method
        assert await PostgresRetention(small).compact(5, WHY) is not None
        assert unnoticed
        assert await PostgresRetention(small).compact(5, WHY) is None
    for connection in unnoticed:
        connection.terminate()


async def test_a_schema_that_serves_other_programs_is_not_compacted(mesh: Mesh, small: str) -> None:
    """By the connection already: nothing is built for a swap that would be refused."""
    await mesh.create(*(new(f"s{number}") for number in range(9)))
    await one(small, "UPDATE stream_head SET compatible_revisions = '{0099}'")
    with pytest.raises(SchemaOutOfDate):
        await PostgresRetention(small).compact(5, WHY)
    assert await one(small, UNFINISHED) == 0


async def test_a_long_reader_costs_the_compaction_its_timeout_and_delays_no_other(
    mesh: Mesh, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mesh.create(*(new(f"s{number}") for number in range(9)))
    monkeypatch.setattr(retention, "_ATTEMPTS", 2)
    connection = await asyncpg.connect(small)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM shard_history LIMIT 1")
            with pytest.raises(TransientConflict, match="stop long-running readers"):
                await PostgresRetention(small).compact(5, WHY)
            assert (await mesh.created("meanwhile")).revision == 10
    finally:
        await connection.close()
    assert (await mesh.store.stream.head()).floor == 0
    assert isinstance(await PostgresRetention(small).compact(5, WHY), HistoryCompacted)
    assert await one(small, UNFINISHED) == 0


async def test_in_parts_it_leaves_the_same_and_holds_nothing_between_two(
    mesh: Mesh, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction id would hold back every row that others leave behind."""
    shards = list((await mesh.create(*(new(f"s{number}") for number in range(9)))).shards)
    for number in range(6):
        shards[:5] = (await mesh.update(*(patch(shard, capacity_hint=float(number)) for shard in shards[:5]))).shards
    await mesh.delete(*shards[7:])
    before = [diff.revision for diff in await mesh.history() if diff.revision > 25]
    newest = {diff.key: diff.revision for diff in await mesh.history() if diff.revision <= 25}
    monkeypatch.setattr(kept_history, "CHUNK", 4)
    monkeypatch.setattr(kept_history, "DIGESTED", 2)
    observer = await asyncpg.connect(small)
    held: list[tuple[str, int]] = []
    execute = AsyncSession.execute

    async def observed(session: AsyncSession, statement: Any, *arguments: Any, **named: Any) -> Any:
        count = await observer.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend' AND backend_xid IS NOT NULL"
        )
        held.append((str(statement), count))
        return await execute(session, statement, *arguments, **named)

    monkeypatch.setattr(AsyncSession, "execute", observed)
    try:
        assert await PostgresRetention(small).compact(25, WHY) is not None
    finally:
        await observer.close()
        monkeypatch.undo()
    copied = [count for statement, count in held if statement.startswith(("INSERT", "SELECT", "CREATE INDEX"))]
    assert len(copied) > 20
    assert not any(copied)
    kept = {tuple(key): revision for *key, revision in await rows_of(small) if revision <= 25}
    assert kept == newest
    assert [revision for *_, revision in await rows_of(small) if revision > 25] == before
    assert (await verify(small, processes=1)).findings.listed == []


async def rows_of(url: str) -> Sequence[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        rows: Sequence[asyncpg.Record] = await connection.fetch(
            "SELECT namespace, shard_id, revision FROM shard_history ORDER BY revision"
        )
    finally:
        await connection.close()
    return rows
