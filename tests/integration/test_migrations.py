"""Migrations up and down, proven equal to the models, and the rules the database keeps by itself."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from sqlalchemy.pool import NullPool

import migrations
from persistence.errors import EpochMismatch, SchemaOutOfDate
from persistence.feed import live_feed
from persistence.ports import DiffFilter
from persistence.postgres import open_store
from persistence.postgres.connecting import engine_on
from persistence.postgres.models import Base
from tests.support.databases import Databases
from tests.support.mesh import Mesh, new

COLUMNS = """
    SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version' ORDER BY 1, 2
"""
CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version' ORDER BY 1, 2
"""
INDEXES = """
    SELECT tablename, indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1, 2
"""
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


async def run(url: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(statement, *arguments))
    finally:
        await connection.close()


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
    assert await run(empty_database_url, LEFT_OVER) == []
    assert await migrations.current(empty_database_url) is None
    await migrations.upgrade(empty_database_url)
    assert await schema_of(empty_database_url) == before


async def test_processes_that_migrate_at_once_wait_for_each_other(empty_database_url: str) -> None:
    await asyncio.gather(*(migrations.upgrade(empty_database_url) for _ in range(4)))
    assert await migrations.current(empty_database_url) == migrations.newest()


async def test_an_empty_database_is_told_from_a_current_one(empty_database_url: str, database_url: str) -> None:
    with pytest.raises(SchemaOutOfDate, match="is empty; run 'omnirelay db upgrade'"):
        await migrations.require_current(empty_database_url)
    await migrations.require_current(database_url)


async def test_a_database_newer_than_the_program_is_refused(database_url: str) -> None:
    await run(database_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaOutOfDate, match="newer than this program"):
        await migrations.require_current(database_url)


@pytest.mark.parametrize("table", ["changes", "shard_history"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET namespace = 'x'", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
async def test_history_is_append_only(database_url: str, table: str, statement: str) -> None:
    async with open_store(database_url) as store:
        mesh = Mesh(store)
        await mesh.configure()
        await mesh.create(new("a"))
        rows = await mesh.history(), await mesh.changes()
        edit = statement.format(table)
        if table == "changes":
            edit = edit.replace("namespace = 'x'", "reason = 'x'")
        with pytest.raises(asyncpg.RestrictViolationError, match="is append-only"):
            await run(database_url, edit)
        assert (await mesh.history(), await mesh.changes()) == rows


@pytest.mark.parametrize(
    ("column", "value", "constraint"),
    [
        ("shard_id", "'white space'", "ck_shards_shard_id_format"),
        ("shard_id", "E'a\\n'", "ck_shards_shard_id_format"),
        ("owner_node_id", "''", "ck_shards_owner_node_id_format"),
        ("owner_node_id", "repeat('x', 129)", "ck_shards_owner_node_id_format"),
        ("leader_id", "'-x'", "ck_shards_leader_id_format"),
        ("locality_hint", "'a/b/c'", "ck_shards_locality_hint_format"),
        ("capacity_hint", "-1", "ck_shards_capacity_hint_finite"),
        ("capacity_hint", "'NaN'", "ck_shards_capacity_hint_finite"),
        ("capacity_hint", "'Infinity'", "ck_shards_capacity_hint_finite"),
        ("status", "'active'", "ck_shards_status_known"),
        ("owner_epoch", "version + 1", "ck_shards_owner_epoch_range"),
        ("checksum", "'x'", "ck_shards_checksum_format"),
        ("change_ticket", "''", "ck_shards_change_ticket_length"),
        ("pinned_by", "'alice'", "ck_shards_pin_complete"),
        ("namespace", "'nowhere'", "fk_shards_namespace_namespaces"),
    ],
)
async def test_the_database_keeps_each_rule_by_itself(
    database_url: str, column: str, value: str, constraint: str
) -> None:
    async with open_store(database_url) as store:
        mesh = Mesh(store)
        await mesh.configure()
        await mesh.create(new("a"))
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await run(database_url, f"UPDATE shards SET {column} = {value}")  # noqa: S608 - literals above
    assert refused.value.constraint_name == constraint


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
                await anext(feed.follow(position, DiffFilter()))  # type: ignore[arg-type]  # as it was issued

    with databases.temporary(template=template_database) as original:
        position = asyncio.run(issue(original))
        with databases.temporary(template=original.rpartition("/")[2].partition("?")[0]) as copy:
            asyncio.run(resume(copy, position))
