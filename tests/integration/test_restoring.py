"""Dumps, by PostgreSQL's own programs: into a new database, over the old tables, under a running store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

import migrations
from graph.embedded_postgres.server import find_binaries
from persistence.errors import EpochMismatch
from persistence.feed.live import live_feed
from persistence.model.records import StreamPosition
from persistence.ports.store import Store
from persistence.postgres.audit.verify import verify
from persistence.postgres.compaction import PostgresRetention
from persistence.postgres.store import open_store
from tests.support.audited_mesh import fill_audit_log
from tests.support.catalog import catalog_of
from tests.support.databases import Databases
from tests.support.mesh import because
from tests.support.partitions import partitions_of, repartition
from tests.support.planned_mesh import PlannedMesh

SPAN: Final = 20
"""Revisions in a partition, so that the history of these tests has several."""

OVER: Final = ("--clean", "--if-exists", "--exit-on-error")
EDITS: Final = (
    "UPDATE changes SET reason = 'x'",
    "DELETE FROM shard_history",
    "TRUNCATE refusals",
    "UPDATE rebalance_plans SET move_count = 0",
    "DELETE FROM rebalance_plan_documents",
)


@pytest.fixture(scope="module")
async def audited_once(module_database_url: str) -> str:
    """A store with changes of every kind, refusals, plans, and a history in partitions that was compacted."""
    await repartition(module_database_url, SPAN)
    async with open_store(module_database_url, history_span=SPAN) as store:
        mesh = PlannedMesh(store)
        await mesh.configure()
        await fill_audit_log(mesh)
    assert await PostgresRetention(module_database_url).compact(7, because("nobody reads this any more")) is not None
    assert [one.name for one in await partitions_of(module_database_url)][:2] == [
        "shard_history_below_8",
        "shard_history_8",
    ]
    return module_database_url


@pytest.fixture
def audited(audited_once: str, databases: Databases) -> Iterator[str]:
    """A copy of this test's own."""
    with databases.copy(audited_once) as url:
        yield url


@pytest.fixture
def other_database_url(databases: Databases) -> Iterator[str]:
    with databases.temporary() as url:
        yield url


@pytest.fixture
async def dump(audited: str, tmp_path: Path) -> Path:
    file = tmp_path / "mesh.dump"
    await postgres_program("pg_dump", "--format=custom", "--file", file, audited)
    return file


async def one(url: str, statement: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def position_of(url: str) -> StreamPosition:
    """Where a subscriber is that has seen everything."""
    async with open_store(url) as store, live_feed(store.stream, store.signal) as feed:
        return await feed.begin(None)


async def fill_a_partition(store: Store) -> None:
    """So many changes that history needs another one."""
    mesh = PlannedMesh(store)
    shard = await mesh.shard("s5")
    assert shard is not None
    for number in range(SPAN):
        shard = await mesh.updated(shard, capacity_hint=100.0 + number)


async def is_whole(url: str, before: StreamPosition) -> None:
    """Another epoch, writes into a new partition, history that cannot be edited, an audit log without a finding."""
    newest = (await partitions_of(url))[-1]
    async with open_store(url, history_span=SPAN) as store, live_feed(store.stream, store.signal) as feed:
        with pytest.raises(EpochMismatch):
            await feed.begin(before)
        await fill_a_partition(store)
    assert newest.after_last in [one.first for one in await partitions_of(url)]
    verdict = await verify(url, processes=1)
    assert (verdict.changes > SPAN, verdict.findings.listed) == (True, [])
    await refuses_edits(url)


async def refuses_edits(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relname LIKE 'shard_history%' AND relkind = 'r'"
        )
        for edit in (*EDITS, *(f"DELETE FROM {name}" for (name,) in tables)):  # noqa: S608 - names of ours
            with pytest.raises(asyncpg.RestrictViolationError, match="is append-only"):
                await connection.execute(edit)
    finally:
        await connection.close()


async def test_a_dump_is_the_same_store_in_a_new_database(audited: str, dump: Path, other_database_url: str) -> None:
    before = await position_of(audited)
    await postgres_program("pg_restore", "--exit-on-error", "--dbname", other_database_url, dump)
    assert await catalog_of(other_database_url) == await catalog_of(audited)
    await migrations.require_compatible(other_database_url)
    await is_whole(other_database_url, before)


@pytest.mark.parametrize("options", [(), ("--if-exists",), ("--if-exists", "--single-transaction")], ids=" ".join)
async def test_a_dump_goes_over_the_tables_it_was_taken_from(
    audited: str, dump: Path, options: tuple[str, ...]
) -> None:
    catalog, before = await catalog_of(audited), await position_of(audited)
    await postgres_program("pg_restore", "--clean", *options, "--exit-on-error", "--dbname", audited, dump)
    assert await catalog_of(audited) == catalog
    await is_whole(audited, before)


async def test_a_dump_goes_over_tables_that_have_gone_on_since(audited: str, dump: Path) -> None:
    """Other partitions than those of the dump: made, and compacted away, since it was taken."""
    catalog = await catalog_of(audited)
    async with open_store(audited, history_span=SPAN) as store:
        await fill_a_partition(store)
    floor = (await partitions_of(audited))[2].after_last
    assert await PostgresRetention(audited).compact(floor, because("nobody reads this any more")) is not None
    before = await position_of(audited)
    await postgres_program("pg_restore", *OVER, "--dbname", audited, dump)
    assert await catalog_of(audited) == catalog
    await is_whole(audited, before)


async def test_a_running_store_goes_on_with_what_was_restored_under_it(audited: str, dump: Path) -> None:
    async with open_store(audited, history_span=SPAN) as store:
        mesh = PlannedMesh(store)
        kept = await mesh.shard("s5")
        assert kept is not None
        lost = await mesh.updated(kept, leader_id="lost")
        before = await position_of(audited)
        await postgres_program("pg_restore", *OVER, "--single-transaction", "--dbname", audited, dump)
        assert await mesh.shard("s5") == kept
        await fill_a_partition(store)
        again = await mesh.shard("s5")
        assert again is not None
        assert again.version > lost.version
    await is_whole(audited, before)


async def test_a_dump_from_a_later_timeline_is_not_fenced_elsewhere(
    audited: str, other_database_url: str, tmp_path: Path
) -> None:
    """As from a cluster that had been failed over before; the new one is on its first timeline."""
    await one(audited, "UPDATE stream_head SET timeline = 7")
    file = tmp_path / "mesh.dump"
    await postgres_program("pg_dump", "--format=custom", "--file", file, audited)
    await postgres_program("pg_restore", "--exit-on-error", "--dbname", other_database_url, file)
    async with open_store(other_database_url, history_span=SPAN) as store:
        await fill_a_partition(store)
        assert (await PlannedMesh(store).shard("s5")) is not None


async def test_nor_is_it_under_a_running_store(audited: str, tmp_path: Path) -> None:
    """Connections that stay open find the other table when they commit."""
    await one(audited, "UPDATE stream_head SET timeline = 7")
    file = tmp_path / "later.dump"
    await postgres_program("pg_dump", "--format=custom", "--file", file, audited)
    await one(audited, "UPDATE stream_head SET timeline = 1")
    async with open_store(audited, history_span=SPAN) as store:
        mesh = PlannedMesh(store)
        kept = await mesh.shard("s5")
        assert kept is not None
        kept = await mesh.updated(kept, leader_id="before")
        before = await position_of(audited)
        await postgres_program("pg_restore", *OVER, "--single-transaction", "--dbname", audited, file)
        await fill_a_partition(store)
    assert await one(audited, "SELECT timeline FROM stream_head") == 1
    await is_whole(audited, before)


async def postgres_program(name: str, *arguments: object) -> None:
    """One of the embedded server's; it must end with exit code 0 and print no warning."""
    program = await asyncio.create_subprocess_exec(
        find_binaries() / name, *map(str, arguments), stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, complaints = await program.communicate()
    assert (program.returncode, complaints) == (0, b""), complaints.decode()
