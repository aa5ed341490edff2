"""History's partitions: made ahead by writers, each with everything that history promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

import migrations
from persistence.errors import StoreError
from persistence.postgres import partitions as partitioning
from persistence.postgres.compaction import PostgresRetention
from persistence.postgres.partitions import Partition
from persistence.postgres.store import open_store
from tests.support.mesh import Mesh, because, new, patch
from tests.support.model import first_broken_link
from tests.support.partitions import partitions_of, repartition
from tests.support.statements import statements

SPAN = 10

CONSTRAINTS = """
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = $1::regclass AND contype IN ('c', 'f') ORDER BY 1
"""
INDEXES = "SELECT replace(indexname, $1, 'shard_history'), indexdef FROM pg_indexes WHERE tablename = $1 ORDER BY 1"


async def run(url: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(statement, *arguments))
    finally:
        await connection.close()


@pytest.fixture
async def small(database_url: str) -> str:
    """A database whose history is in partitions of ten revisions."""
    await repartition(database_url, SPAN)
    return database_url


@pytest.fixture
async def mesh(small: str) -> AsyncIterator[Mesh]:
    async with open_store(small, history_span=SPAN) as store:
        mesh = Mesh(store)
        await mesh.configure()
        yield mesh


async def test_partitions_lie_end_to_end_and_ahead_of_the_head(mesh: Mesh, small: str) -> None:
    shard = await mesh.created("s1")
    for number in range(25):
        shard = await mesh.updated(shard, owner_node_id=f"node-{number}")
    assert await partitions_of(small) == [
        Partition("shard_history_0", None, 10),
        Partition("shard_history_10", 10, 20),
        Partition("shard_history_20", 20, 30),
        Partition("shard_history_30", 30, 40),
    ]
    assert first_broken_link(await mesh.changes(), await mesh.history()) is None


async def test_a_partition_is_made_before_the_stream_head_is_taken_and_seldom_thought_of(mesh: Mesh) -> None:
    shard = await mesh.created("s1")
    shard = await mesh.updated(shard, owner_node_id="node-b")
    with statements() as usual:
        shard = await mesh.updated(shard, owner_node_id="node-c")
    while True:
        with statements() as sent:
            shard = await mesh.updated(shard, owner_node_id="node-d")
        if len(sent) > len(usual):
            break
    assert not any("shard_history_" in one for one in usual)
    made = [place for place, one in enumerate(sent) if "ATTACH PARTITION" in one]
    (head,) = (place for place, one in enumerate(sent) if "FROM commit_change" in one)
    assert max(made) < head
    with statements() as again:
        await mesh.updated(shard, owner_node_id="node-e")
    assert len(again) == len(usual)


async def test_a_change_larger_than_what_is_left_makes_room_and_is_made_once(mesh: Mesh, small: str) -> None:
    done = await mesh.create(*(new(f"s{number:02}") for number in range(35)))
    assert done.change.last_revision == 35
    assert len(await mesh.history()) == 35
    assert (await partitions_of(small))[-1].after_last > 35
    assert first_broken_link(await mesh.changes(), await mesh.history()) is None


async def test_a_process_that_knows_less_than_others_wrote_finds_room(mesh: Mesh, small: str) -> None:
    shard = await mesh.created("a")
    async with open_store(small, history_span=SPAN) as store:
        other = Mesh(store)
        moved = await other.created("b")
        for number in range(40):
            moved = await other.updated(moved, owner_node_id=f"node-{number}")
    after = await mesh.updated(shard, owner_node_id="node-z")
    assert after.revision == 43


async def test_processes_that_reach_the_end_together_make_one_partition(small: str) -> None:
    async def work(number: int) -> None:
        async with open_store(small, history_span=SPAN) as store:
            mesh = Mesh(store)
            shard = await mesh.created(f"s{number}")
            for owner in range(15):
                shard = await mesh.updated(shard, owner_node_id=f"node-{owner}")

    async with open_store(small, history_span=SPAN) as store:
        await Mesh(store).configure()
        await asyncio.gather(*map(work, range(5)))
        history = await Mesh(store).history()
    assert [row.revision for row in history] == list(range(1, 81))
    found = await partitions_of(small)
    assert [one.first for one in found[1:]] == [one.after_last for one in found[:-1]]


async def test_a_lock_on_history_delays_the_next_partition_and_no_writer(mesh: Mesh, small: str) -> None:
    shard = await mesh.created("s1")
    connection = await asyncpg.connect(small)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE shard_history IN SHARE UPDATE EXCLUSIVE MODE")  # as a vacuum does
            while shard.revision < SPAN - 1:
                shard = await mesh.updated(shard, owner_node_id=f"node-{shard.revision}")
            assert len(await partitions_of(small)) == 1
    finally:
        await connection.close()
    assert (await mesh.updated(shard, owner_node_id="node-z")).revision == SPAN
    assert len(await partitions_of(small)) == 2


async def test_a_new_partition_promises_what_the_migrated_one_does(database_url: str) -> None:
    await run(database_url, "UPDATE stream_head SET revision = 999999")
    async with open_store(database_url) as store:
        mesh = Mesh(store)
        await mesh.configure()
        await mesh.created("s1")
    first, second = (one.name for one in await partitions_of(database_url))
    assert second == "shard_history_1000000"
    checks = [await run(database_url, CONSTRAINTS, name) for name in (first, second, "shard_history")]
    assert checks[0] == checks[1] == checks[2]
    indexes = [await run(database_url, INDEXES, name) for name in (first, second)]
    assert [row[1].replace(first, second) for row in indexes[0]] == [row[1] for row in indexes[1]]
    assert [row[0] for row in indexes[0]] == [
        "ix_shard_history_moves",
        "ix_shard_history_namespace_revision",
        "ix_shard_history_shard_revision",
        "ix_shard_history_voluntary_moves",
        "pk_shard_history",
        "uq_shard_history_version",
    ]
    for table in (first, second, "shard_history"):
        for statement in ("UPDATE {} SET version = 9", "DELETE FROM {}", "TRUNCATE {}"):
            with pytest.raises(asyncpg.RestrictViolationError, match="is append-only"):
                await run(database_url, statement.format(table))


async def test_a_shard_cannot_have_a_version_twice_in_a_partition(mesh: Mesh, small: str) -> None:
    await mesh.created("s1")
    again = "INSERT INTO shard_history SELECT (jsonb_populate_record(h, '{\"revision\": 9}')).* FROM shard_history AS h"
    with pytest.raises(asyncpg.UniqueViolationError) as refused:
        await run(small, again)
    assert refused.value.constraint_name == "uq_shard_history_0_version"


async def test_a_filled_database_of_the_version_before_keeps_its_history(empty_database_url: str) -> None:
    """Its rows are not copied: the table they are in becomes the first partition."""
    await migrations.upgrade(empty_database_url)
    async with open_store(empty_database_url) as store:
        mesh = Mesh(store)
        await mesh.configure()
        await mesh.created("s1")
        await mesh.update(patch(await mesh.created("s2"), leader_id="x"))
        history = await mesh.history()
    await migrations.downgrade(empty_database_url, "0002")
    (before,) = await run(empty_database_url, "SELECT pg_relation_filenode('shard_history') AS file")
    await migrations.upgrade(empty_database_url)
    (after,) = await run(empty_database_url, "SELECT pg_relation_filenode('shard_history_0') AS file")
    assert after == before
    async with open_store(empty_database_url) as store:
        mesh = Mesh(store)
        assert await mesh.history() == history
        assert (await mesh.created("s3")).revision == 4
        assert first_broken_link(await mesh.changes(), await mesh.history()) is None


async def test_history_that_was_compacted_bars_the_way_back(database_url: str) -> None:
    async with open_store(database_url) as store:
        mesh = Mesh(store)
        await mesh.configure()
        await mesh.created("s1")
    assert await PostgresRetention(database_url).compact(1, because("old")) is not None
    with pytest.raises(StoreError, match="ck_changes_kind_known"):
        await migrations.downgrade(database_url, "0002")
    await migrations.require_compatible(database_url)


def test_a_partition_is_about_a_gigabyte() -> None:
    assert partitioning.SPAN == 1_000_000


PROBE = """
    SELECT h.revision FROM shard_history AS h WHERE h.namespace = 'billing' AND h.shard_id = 's1' AND h.revision <= 25
    ORDER BY h.revision DESC LIMIT 1
"""
NEXT = "SELECT * FROM shard_history WHERE revision > 25 ORDER BY revision LIMIT 100"


@pytest.mark.parametrize("statement", [PROBE, NEXT])
async def test_partitions_are_read_by_index_in_order_and_only_those_asked_for(
    mesh: Mesh, small: str, statement: str
) -> None:
    await mesh.create(*(new(f"s{number:02}") for number in range(35)))
    connection = await asyncpg.connect(small)
    try:
        for cheaper_for_ten_rows in ("seqscan", "bitmapscan", "sort"):
            await connection.execute(f"SET enable_{cheaper_for_ten_rows} = off")
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}"))
    finally:
        await connection.close()
    assert "Seq Scan" not in plan
    assert "Sort" not in plan
    assert ("shard_history_0 " in plan) is (statement is PROBE)
    assert ("shard_history_30 " in plan) is (statement is NEXT)
