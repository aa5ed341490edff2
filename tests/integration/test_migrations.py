"""Migrations up and down, proven equal to the models."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.pool import NullPool

import migrations
from persistence.errors import (
    Deadlock,
    EpochMismatch,
    Overloaded,
    SchemaOutOfDate,
    StoreError,
    TransientConflict,
)
from persistence.feed.live import live_feed
from persistence.postgres import commit, group_commit
from persistence.postgres.driver import SERVER_SETTINGS
from persistence.postgres.engine import engine_on, translated
from persistence.postgres.store import open_store
from persistence.postgres.tables.columns import Base
from persistence.postgres.tables.current import SCHEMA_REVISION
from tests.support.databases import Databases
from tests.support.mesh import Mesh, new
from tests.support.planned_mesh import PlannedMesh
from tests.support.sql import fetch
from tests.support.statements import statements

# Partitions aside: the models know none. tests/integration/test_partitions.py compares them with the whole.
COLUMNS = """
    SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
    AND table_name NOT IN (SELECT relname FROM pg_class WHERE relispartition) ORDER BY 1, 2
"""
CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'
    AND conrelid NOT IN (SELECT oid FROM pg_class WHERE relispartition) ORDER BY 1, 2
"""
INDEXES = """
    SELECT tablename, indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND tablename <> 'alembic_version'
    AND tablename NOT IN (SELECT relname FROM pg_class WHERE relispartition) ORDER BY 1, 2
"""
WRITTEN_BY_WAITING = """
    SELECT l.relation::regclass::text AS relation FROM pg_locks AS l
    WHERE l.mode = 'RowExclusiveLock' AND l.granted AND l.pid IN (
        SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
    )
"""
FILES = """
    SELECT c.relname::text, c.oid::bigint FROM pg_class AS c JOIN pg_index AS i ON i.indexrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND i.indisvalid
"""
UPGRADE = Path(__file__).parents[2] / "docs" / "operations" / "upgrade.md"
LEFT_OVER = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'alembic_version%'
    UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
"""


async def schema_of(url: str) -> dict[str, list[tuple[object, ...]]]:
    connection = await asyncpg.connect(url)
    try:
        return {
            name: [tuple(row) for row in await connection.fetch(query)]
            for name, query in (("columns", COLUMNS), ("constraints", CONSTRAINTS), ("indexes", INDEXES))
        }
    finally:
        await connection.close()


NEWER = (
    "WITH moved AS (UPDATE alembic_version SET version_num = '9999') UPDATE stream_head SET compatible_revisions = $1"
)
SERVES = "SELECT compatible_revisions FROM stream_head"


def revisions() -> list[str]:
    """Of all migrations, oldest first."""
    return sorted(migrations.known())


async def test_the_migrations_make_exactly_what_the_models_say(database_url: str, empty_database_url: str) -> None:
    engine = engine_on(empty_database_url, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()
    migrated, modelled = await schema_of(database_url), await schema_of(empty_database_url)
    assert migrated == modelled
    assert len(migrated["constraints"]) > 50


async def test_down_leaves_nothing_and_up_again_works(empty_database_url: str) -> None:
    await migrations.upgrade(empty_database_url)
    before = await schema_of(empty_database_url)
    await migrations.downgrade(empty_database_url, "base")
    assert await fetch(empty_database_url, LEFT_OVER) == []
    assert await migrations.current(empty_database_url) is None
    await migrations.upgrade(empty_database_url)
    assert await schema_of(empty_database_url) == before


async def test_processes_that_migrate_at_once_wait_for_each_other(empty_database_url: str) -> None:
    await asyncio.gather(*(migrations.upgrade(empty_database_url) for _ in range(4)))
    assert await migrations.current(empty_database_url) == migrations.newest()


SETTINGS = """
    SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),
        current_setting('idle_in_transaction_session_timeout')
"""


@pytest.mark.parametrize(("direction", "revision"), [("upgrade", "head"), ("downgrade", "0001")])
async def test_a_migration_takes_as_long_as_it_takes_and_waits_for_no_reader(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, direction: str, revision: str
) -> None:
    await migrations.upgrade(empty_database_url, "0002")
    timeouts: list[object] = []
    migrate, connect = getattr(command, direction), asyncpg.connect

    def connecting(*arguments: Any, **options: Any) -> Any:
        timeouts.append(options["command_timeout"])
        return connect(*arguments, **options)

    def migrating(config: Config, to: str) -> None:
        timeouts.extend(config.attributes["connection"].execute(text(SETTINGS)).one())
        migrate(config, to)

    monkeypatch.setattr(asyncpg, "connect", connecting)
    monkeypatch.setattr(command, direction, migrating)
    await getattr(migrations, direction)(empty_database_url, revision)
    assert timeouts == [None, "0", "10s", "30s"]


WAITS = """
    SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND clock_timestamp() - waitstart > interval '20 ms')
"""


async def test_who_waits_for_another_migration_waits_as_long_as_it_takes(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than it waits for a table."""
    monkeypatch.setitem(SERVER_SETTINGS, "lock_timeout", "1ms")
    connection = await asyncpg.connect(empty_database_url)
    try:
        async with connection.transaction():
            key = migrations._MIGRATION_LOCK  # noqa: SLF001 - we are another migration
            await connection.execute("SELECT pg_advisory_xact_lock($1)", key)
            waiting = asyncio.create_task(migrations.upgrade(empty_database_url))
            while not await connection.fetchval(WAITS):
                assert not waiting.done()
        await waiting
    finally:
        await connection.close()


async def test_a_migration_that_meets_a_long_reader_says_what_to_do(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrations.upgrade(empty_database_url, "0001")
    monkeypatch.setitem(SERVER_SETTINGS, "lock_timeout", "20ms")
    connection = await asyncpg.connect(empty_database_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE shards IN ACCESS SHARE MODE")
            with pytest.raises(TransientConflict, match="stop long-running readers"):
                await migrations.upgrade(empty_database_url)
    finally:
        await connection.close()
    assert await migrations.current(empty_database_url) == "0001"
    await migrations.upgrade(empty_database_url)


@pytest.mark.parametrize("deadlocks", [1, 5])
async def test_a_migration_that_a_deadlock_ended_is_run_again(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, deadlocks: int
) -> None:
    migrate, attempts = migrations._upgrade, 0  # noqa: SLF001 - in its transaction

    def deadlocked(connection: Connection, revision: str) -> None:
        nonlocal attempts
        attempts += 1
        migrate(connection, revision)
        if attempts <= deadlocks:
            connection.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01'; END $$")

    monkeypatch.setattr(migrations, "_upgrade", deadlocked)
    monkeypatch.setattr(migrations, "_PAUSE_SECONDS", 0.0)
    with nullcontext() if deadlocks < 5 else pytest.raises(Deadlock, match=r"nothing was changed .* run this again"):
        await migrations.upgrade(empty_database_url, "0001")
    assert attempts == min(5, deadlocks + 1)
    assert await migrations.current(empty_database_url) == ("0001" if deadlocks < 5 else None)


async def test_a_statement_that_took_too_long_is_told_as_overload_and_not_as_a_database_out_of_reach(
    database_url: str,
) -> None:
    engine = engine_on(database_url, poolclass=NullPool)

    async def give_up() -> None:
        with translated():
            async with engine.begin() as connection:
                await connection.execute(text("SET LOCAL statement_timeout = 1"))
                await connection.execute(text("SELECT pg_sleep(10)"))

    with pytest.raises(Overloaded, match=r"gave up a statement .*due to statement timeout") as caught:
        await give_up()
    await engine.dispose()
    assert "cannot be reached" not in str(caught.value)


async def test_a_migration_reads_through_each_table_once(empty_database_url: str) -> None:
    await migrations.upgrade(empty_database_url, "0001")
    with statements() as sent:
        await migrations.upgrade(empty_database_url)
        await migrations.downgrade(empty_database_url, "0001")
    added = [one for one in sent if one.startswith("ALTER TABLE") and "ADD CONSTRAINT ck_" in one]
    checked = Counter(one.split()[2] for one in added if "NOT VALID" not in one)
    # Once for each migration that checks it, up and down.
    # The stream head has one row.
    assert checked.pop("stream_head") == 1
    assert checked == {"namespaces": 4, "shards": 3, "changes": 7, "shard_history": 4, "rebalance_plans": 2}


@pytest.mark.parametrize(("born", "same"), [("7300000000000000000", False), (None, True)], ids=["elsewhere", "here"])
async def test_a_copy_that_is_upgraded_before_it_is_used_is_another_stream(
    empty_database_url: str, *, born: str | None, same: bool
) -> None:
    await migrations.upgrade(empty_database_url, "0007")
    if born is not None:
        await fetch(empty_database_url, "UPDATE stream_head SET origin = regexp_replace(origin, '^[0-9]+', $1)", born)
    # Another timeline is none: whether a failover lost anything is seen from the changes.
    later = "UPDATE stream_head SET origin = regexp_replace(origin, '/[0-9A-F]{8}/', '/0000000F/')"
    await fetch(empty_database_url, later)
    before = await fetch(empty_database_url, "SELECT epoch FROM stream_head")
    await migrations.upgrade(empty_database_url)
    assert (await fetch(empty_database_url, "SELECT epoch FROM stream_head") == before) is same


async def test_an_empty_database_is_told_from_a_current_one(empty_database_url: str, database_url: str) -> None:
    with pytest.raises(SchemaOutOfDate, match="is empty; run 'omnirelay db upgrade'"):
        await migrations.require_compatible(empty_database_url)
    await migrations.require_compatible(database_url)


async def test_a_database_newer_than_the_program_is_refused(database_url: str) -> None:
    await fetch(database_url, NEWER, ["9999"])
    with pytest.raises(SchemaOutOfDate, match=r"newer than this program \(.*\), and serves programs of 9999; update"):
        await migrations.require_compatible(database_url)


async def test_a_database_newer_than_the_program_that_serves_it_is_served(database_url: str) -> None:
    await fetch(database_url, NEWER, ["9999", migrations.newest()])
    await migrations.require_compatible(database_url)


async def test_a_database_older_than_the_program_is_to_be_upgraded_whatever_it_serves(empty_database_url: str) -> None:
    for revision in revisions()[:-1]:
        await migrations.upgrade(empty_database_url, revision)
        with pytest.raises(SchemaOutOfDate, match=f"at revision {revision}, .*is needed; run 'omnirelay db upgrade'"):
            await migrations.require_compatible(empty_database_url)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("DELETE FROM alembic_version", "revision unknown, for programs of 0009"),
        ("DROP TABLE alembic_version", "revision unknown, for programs of 0009"),
        ("DELETE FROM stream_head", "revision 0009, for programs of none"),
        ("DROP TABLE stream_head", "revision 0009, for programs of none"),
        ("INSERT INTO alembic_version VALUES ('0001')", "revision 0001, 0009, for programs of 0009"),
        ("UPDATE stream_head SET compatible_revisions = '{0008,9999}'", "revision 0009, for programs of 0008, 9999"),
        ("UPDATE stream_head SET compatible_revisions = '{}'", "revision 0009, for programs of none"),
    ],
)
async def test_a_store_that_is_not_whole_is_refused(database_url: str, damage: str, problem: str) -> None:
    await fetch(database_url, damage)
    with pytest.raises(
        SchemaOutOfDate, match=rf"a part of a store only \({problem.replace('0009', migrations.newest())}"
    ):
        await migrations.require_compatible(database_url)


@pytest.mark.parametrize("damage", ["DELETE FROM alembic_version", "DROP TABLE alembic_version"])
async def test_tables_without_a_revision_are_not_migrated(database_url: str, damage: str) -> None:
    await fetch(database_url, damage)
    with pytest.raises(SchemaOutOfDate, match="a part of a store only"):
        await migrations.upgrade(database_url)


async def test_an_upgrade_leaves_a_newer_schema_alone(database_url: str) -> None:
    await fetch(database_url, NEWER, ["9999", migrations.newest()])
    before = await schema_of(database_url)
    assert (await migrations.upgrade(database_url)).found == "9999"
    await fetch(database_url, NEWER, ["9999"])
    with pytest.raises(SchemaOutOfDate, match="newer than this program"):
        await migrations.upgrade(database_url)
    assert await schema_of(database_url) == before


def test_a_program_commits_under_the_revision_of_its_newest_migration() -> None:
    assert migrations.newest() == SCHEMA_REVISION


def test_the_revisions_of_the_files_names_are_those_that_alembic_finds() -> None:
    scripts = ScriptDirectory.from_config(migrations._config())  # noqa: SLF001 - it is what Alembic migrates with
    assert migrations.known() == {script.revision for script in scripts.walk_revisions()}
    assert migrations.newest() == scripts.get_current_head()


async def test_the_revision_of_a_database_is_the_one_that_alembic_reads(empty_database_url: str) -> None:
    def heads(connection: Connection) -> tuple[str, ...]:
        return MigrationContext.configure(connection).get_current_heads()

    engine = engine_on(empty_database_url, poolclass=NullPool)
    for found, prepare in (
        ((), migrations.upgrade(empty_database_url, "base")),
        (("0007",), migrations.upgrade(empty_database_url, "0007")),
        ((migrations.newest(),), migrations.upgrade(empty_database_url)),
        (("0008", migrations.newest()), fetch(empty_database_url, "INSERT INTO alembic_version VALUES ('0008')")),
    ):
        await prepare
        async with engine.begin() as connection:
            assert sorted(await connection.run_sync(heads)) == list(found)
        assert await migrations.current(empty_database_url) == (", ".join(found) or None)
    await engine.dispose()


async def test_each_migration_says_which_programs_it_serves_and_the_way_back_takes_it_back(
    empty_database_url: str,
) -> None:
    said: dict[str, list[str]] = {}
    for revision in revisions():
        await migrations.upgrade(empty_database_url, revision)
        if revision >= "0008":
            ((said[revision],),) = await fetch(empty_database_url, SERVES)
            assert said[revision][0] == revision
            assert set(said[revision]) <= {"0008", *said}
    for revision in revisions()[-2 : -len(said) - 1 : -1]:
        await migrations.downgrade(empty_database_url, revision)
        assert [tuple(row) for row in await fetch(empty_database_url, SERVES)] == [(said[revision],)]


async def test_a_plans_document_is_written_before_the_stream_head_is_taken(database_url: str) -> None:
    """It may be a megabyte, and from the moment the head is taken every writer waits."""
    holder = await asyncpg.connect(database_url)
    async with open_store(database_url) as store:
        mesh = PlannedMesh(store)
        await mesh.configure()
        await mesh.registered("node-a")
        await mesh.filled(2, "gone")
        async with holder.transaction():
            await holder.execute("SELECT FROM stream_head FOR UPDATE")
            planning = asyncio.create_task(mesh.plan())
            async with asyncio.timeout(20):
                while not (waiting := await holder.fetch(WRITTEN_BY_WAITING)):
                    await holder.execute("SELECT pg_stat_clear_snapshot()")
        await planning
    await holder.close()
    assert "rebalance_plan_documents" in {row["relation"] for row in waiting}
    assert not {"rebalance_plans", "changes"} & {row["relation"] for row in waiting}


@pytest.mark.parametrize(
    ("function", "parameters"),
    [("commit_change", {name for name, _, _ in commit.PARAMETERS}), ("commit_changes", {*group_commit.PARAMETERS})],
)
async def test_the_calls_that_commit_have_the_parameters_of_the_functions(
    database_url: str, function: str, parameters: set[str]
) -> None:
    ((names, modes),) = await fetch(
        database_url,
        f"SELECT proargnames, proargmodes::text[] FROM pg_proc WHERE proname = '{function}'",  # noqa: S608 - from above
    )
    inputs = {name.removeprefix("p_") for name, mode in zip(names, modes, strict=True) if mode == "i"}
    assert inputs == parameters


def test_the_tables_are_those_of_the_newest_migration() -> None:
    assert migrations.newest() == SCHEMA_REVISION


async def test_the_way_back_is_barred_by_what_only_this_version_can_tell(database_url: str) -> None:
    async with open_store(database_url) as store:
        mesh = PlannedMesh(store)
        await mesh.configure()
        await mesh.create(new("a"))
    await migrations.downgrade(database_url, "0001")
    await migrations.upgrade(database_url)
    async with open_store(database_url) as store:
        mesh = PlannedMesh(store)
        await mesh.apply((await mesh.plan_to_rescue(1)).plan)
    with pytest.raises(StoreError, match="ck_changes_kind_known"):
        await migrations.downgrade(database_url, "0001")
    await migrations.require_compatible(database_url)


async def test_the_newest_change_of_a_node_is_found_by_an_index(database_url: str) -> None:
    """The expression in the statement must be the one that is indexed, to the letter."""
    async with open_store(database_url) as store:
        mesh = PlannedMesh(store)
        await mesh.registered("node-a", "node-b")
        with statements() as sent:
            async with store.unit_of_work() as unit:
                assert await unit.last_node_change("node-a") is not None
    (statement,) = sent
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SET enable_seqscan = off")
        await connection.execute(f"PREPARE newest AS {statement}")
        # A generic plan, which knows no more of the parameters than that they are there.
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        plan = await connection.fetch("EXPLAIN EXECUTE newest ('node-a', 1)")
    finally:
        await connection.close()
    assert any("ix_changes_node" in row[0] for row in plan), plan


async def test_indexes_that_were_built_beforehand_are_taken_as_they_are(
    database_url: str, empty_database_url: str
) -> None:
    """By the statements of the documentation, while programs of 0010 write."""
    await migrations.upgrade(empty_database_url, "0010")
    (block,) = re.findall(r"^```sql\n(.+?)^```$", UPGRADE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    for statement in block.split(";")[:-1]:
        await fetch(empty_database_url, statement)
    before = {tuple(row) for row in await fetch(empty_database_url, FILES)}
    await migrations.upgrade(empty_database_url)
    after = {tuple(row) for row in await fetch(empty_database_url, FILES)}
    # Only the whole's indexes, which have no rows of their own, are new.
    assert [name for name, _ in sorted(after - before)] == [
        "ix_shard_history_moves",
        "ix_shard_history_voluntary_moves",
        "uq_changes_idempotency_digest",
    ]
    assert await schema_of(empty_database_url) == await schema_of(database_url)


def test_a_check_of_a_long_table_is_added_without_reading_it_under_a_lock() -> None:
    """ADD CONSTRAINT reads the whole table while nothing else does: five seconds for five million rows of history.
    Since 0012 a constraint is added NOT VALID, which holds for what is written from then on, and validated in a
    migration of its own, beside which writes go on."""
    for file in sorted((Path(migrations.__file__).parent / "versions").glob("*.py")):
        if file.name >= "0012":
            source = file.read_text("utf-8")
            assert "create_check_constraint" not in source, file.name
            for added in re.findall(r"ADD CONSTRAINT[^;\"]*?CHECK[^;\"]*", source):
                # Of namespaces there are few.
                assert "NOT VALID" in added or "CONSTRAINT ck_namespaces_" in added, (file.name, added)
            assert not ("NOT VALID" in source and "VALIDATE CONSTRAINT" in source), file.name


def test_a_copy_of_the_database_is_another_stream(databases: Databases, template_database: str) -> None:
    """As after a dump and restore: revisions issued in the copy may contradict those of the original."""

    async def issue(url: str) -> object:
        async with open_store(url) as store:
            mesh = Mesh(store)
            await mesh.configure()
            return (await mesh.create(new("a"))).position

    async def resume(url: str, position: object) -> None:
        async with open_store(url) as store, live_feed(store.stream, store.signal) as feed:
            with pytest.raises(EpochMismatch):
                await feed.begin(position)  # type: ignore[arg-type]  # as it was issued

    with databases.temporary(template=template_database) as original:
        position = asyncio.run(issue(original))
        with databases.temporary(template=original.rpartition("/")[2].partition("?")[0]) as copy:
            asyncio.run(resume(copy, position))
