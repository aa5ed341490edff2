"""What a write and a page of changes read of a history that is much longer than what they are about."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from persistence.codec.json_documents import write_policy
from persistence.commands.read_state import ReadSet
from persistence.model.paging import COUNTED_AT_MOST, PageRequest
from persistence.model.policy import NamespacePolicy
from persistence.model.queries import ChangeFilter
from persistence.model.records import ChangeKind, ShardKey
from persistence.postgres.database import Database
from persistence.postgres.engine import create_engine, sessions
from persistence.postgres.read_state import read_state
from persistence.postgres.readers.changes import PostgresChanges
from persistence.postgres.store import open_store
from tests.support.blocks import blocks
from tests.support.databases import Databases
from tests.support.sql import fetch
from tests.support.statements import statements

CHANGES: Final = 40_000
"""Of one row of history each, a change a second. The first thousand are of a namespace, and of a kind, that came to an
end; each of the others is of the busy namespace, and one in ten of another one as well.
One in five moves a shard. Behind them are as many moves of the dying namespace, which nobody chose."""

LIMITS: Final = NamespacePolicy(window_seconds=2_592_000, window_moves=20, shard_window_moves=20)

# As a replica applies changes: without triggers and foreign keys.
_FILL: Final = f"""
    SET session_replication_role = replica;
    INSERT INTO namespaces (name, strategy, strategy_parameters, algorithm_version, parameters_digest, version, policy,
        created_at, updated_at)
    SELECT name, 'rendezvous', '{{}}', 1, repeat('0', 64), 1, '{json.dumps(write_policy(LIMITS))}', now(), now()
    FROM unnest(ARRAY['busy', 'idle', 'dying']) AS name;
    INSERT INTO namespace_heads (name, digest_high, digest_low, shard_count, revision)
    SELECT name, 0, 0, 0, 0 FROM namespaces;
    INSERT INTO changes (id, kind, actor, reason, namespaces, head_revision, shard_count, committed_at, content_digest,
        hash)
    SELECT c, CASE WHEN c <= 1000 THEN 'CREATE_SHARDS' ELSE 'UPDATE_SHARDS' END, 'ops', 'load',
        CASE WHEN c <= 1000 THEN '{{early}}' WHEN c % 1000 = 0 THEN '{{busy,rare}}'
            WHEN c % 10 = 0 THEN '{{busy,other}}' ELSE '{{busy}}' END::text[],
        c, 1, now() - ({CHANGES} - c) * interval '1 second', sha256(int8send(c)), sha256(int8send(c))
    FROM generate_series(1, {CHANGES}) AS c;
    INSERT INTO shard_history (revision, change_id, namespace, shard_id, version, kind, changed_fields, owner_node_id,
        previous_owner_node_id, previous_revision, previous_updated_at, created_at, previous, current)
    SELECT id, id, namespaces[1], 's' || id % 100, id, 'UPDATED', '{{}}', 'node-1',
        CASE WHEN id % 5 = 0 THEN 'node-2' ELSE 'node-1' END, id, committed_at, committed_at, '{{}}', '{{}}'
    FROM changes;
    INSERT INTO shard_history (revision, change_id, namespace, shard_id, version, kind, changed_fields, owner_node_id,
        previous_owner_node_id, previous_revision, previous_updated_at, created_at, previous, current, move_reason)
    SELECT {CHANGES} + id, id, 'dying', 's' || id, 1, 'UPDATED', '{{}}', 'node-1', 'node-2', id, committed_at,
        committed_at, '{{}}', '{{}}', 'OWNER_DOWN'
    FROM changes;
    UPDATE stream_head SET revision = 2 * {CHANGES}, change_id = {CHANGES};
    ALTER TABLE shard_history_0 SET (autovacuum_enabled = off);
    ALTER TABLE changes SET (autovacuum_enabled = off);
    ANALYZE;
"""  # noqa: S608 - constants

FEW: Final = 400
"""Blocks, where the tables have a thousand each: a page is 50 rows, each with its way
through an index, and at most 500 changes of several namespaces are looked through for it."""


@pytest.fixture(scope="module")
def filled(databases: Databases, template_database: str) -> Iterator[str]:
    async def fill(url: str) -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(_FILL)
        finally:
            await connection.close()

    with databases.temporary(template=template_database) as url:
        asyncio.run(fill(url))
        yield url


@pytest.fixture
async def engine(filled: str) -> AsyncIterator[AsyncEngine]:
    """Of one connection."""
    database = Database(filled)
    engine = create_engine(database, pool_size=1, isolation_level="AUTOCOMMIT")
    yield engine
    await engine.dispose()
    await database.close()


@pytest.fixture
def read(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    return sessions(engine, engine).read


@pytest.mark.parametrize("namespace", ["busy", "idle", "dying"])
async def test_the_moves_in_a_window_are_counted_no_further_than_its_limit(
    engine: AsyncEngine, read: async_sessionmaker[AsyncSession], namespace: str
) -> None:
    reads = ReadSet(namespaces=(namespace,), shards=(ShardKey(namespace, "s5"),), moves=True)

    async def decide() -> Any:
        async with engine.connect() as connection:
            return await read_state(connection, reads)

    assert await blocks(read, decide) < FEW
    recent = (await decide()).recent
    assert recent.namespaces == {namespace: 21 if namespace == "busy" else 0}
    assert set(recent.shards.values()) == {21 if namespace == "busy" else 0}


@pytest.mark.parametrize(("left", "broken"), [(10, "moves"), (-1, "moves"), (7_799, "moves"), (7_800, None)])
async def test_the_moves_since_a_decision_are_counted_no_further_than_those_left(
    read: async_sessionmaker[AsyncSession], left: int, broken: str | None
) -> None:
    """7,800 moves were made since this one, while the head is held."""
    for name in ("movesLeft", "voluntaryMovesLeft"):
        await _check_moves(read, {name: {"busy": left}, "revision": 1000}, broken, few=left <= 10)
    dying = {"voluntaryMovesLeft": {"dying": left}, "revision": 1000}
    await _check_moves(read, dying, "moves" if left < 0 else None, few=True)


async def _check_moves(
    read: async_sessionmaker[AsyncSession], of: dict[str, Any], broken: str | None, *, few: bool
) -> None:
    guards = json.dumps(of)

    async def check() -> Any:
        async with read() as session:
            await session.execute(text("SET plan_cache_mode = force_generic_plan"))
            return (await session.execute(text("SELECT broken_guard(:guards, now())"), {"guards": guards})).scalar_one()

    assert await check() == broken
    if few:
        assert await blocks(read, check) < FEW


def _at(second: int) -> dict[str, datetime]:
    return {"until": datetime.now(UTC) - timedelta(seconds=CHANGES - second)}


def _named(value: object) -> str:
    """The same in every process that collects this: without the times, which are of now."""
    return re.sub(r"datetime\.datetime\(.*?utc\)", "time", str(value))


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize(
    "fields",
    [
        {"namespace": "busy"},
        {"namespace": "early"},
        {"namespace": "other"},
        {"namespace": "rare"},
        {"namespace": "none"},
        {"kinds": (ChangeKind.UPDATE_SHARDS,)},
        {"kinds": (ChangeKind.CREATE_SHARDS,)},
        {"kinds": (ChangeKind.CREATE_SHARDS, ChangeKind.DELETE_SHARDS, ChangeKind.CREATE_SHARDS)},
        {"kinds": (ChangeKind.APPLY_PLAN,)},
        _at(500),
        {"kinds": (ChangeKind.UPDATE_SHARDS,), **_at(5_000)},
        {"namespace": "busy", "up_to_id": 5_000},
    ],
    ids=_named,
)
async def test_a_page_of_changes_reads_those_alone(
    read: async_sessionmaker[AsyncSession], fields: dict[str, Any], *, newest_first: bool
) -> None:
    where, reader = ChangeFilter(**fields), PostgresChanges(read)
    taken = await blocks(read, lambda: reader.page(where, PageRequest(50), newest_first=newest_first))
    assert taken < FEW


@pytest.mark.parametrize(
    ("fields", "matching"),
    [
        ({"namespace": "busy"}, "namespaces @> '{busy}'"),
        ({"namespace": "early"}, "namespaces @> '{early}'"),
        ({"namespace": "other"}, "namespaces @> '{other}'"),
        ({"namespace": "rare"}, "namespaces @> '{rare}'"),
        ({"namespace": "busy", "up_to_id": 20_030}, "namespaces @> '{busy}' AND id <= 20030"),
        ({"namespace": "busy", "kinds": (ChangeKind.CREATE_SHARDS,)}, "false"),
        ({"kinds": (ChangeKind.CREATE_SHARDS,) * 2}, "kind = 'CREATE_SHARDS'"),
        ({"kinds": tuple(ChangeKind)}, "true"),
    ],
    ids=_named,
)
@pytest.mark.parametrize("newest_first", [True, False])
async def test_pages_of_changes_hold_those_that_match_in_order(
    read: async_sessionmaker[AsyncSession], filled: str, fields: dict[str, Any], matching: str, *, newest_first: bool
) -> None:
    rows = await fetch(filled, f"SELECT id FROM changes WHERE {matching} ORDER BY id")  # noqa: S608 - from above
    ids = [row[0] for row in rows][:: -1 if newest_first else 1]
    reader, where = PostgresChanges(read), ChangeFilter(**fields)
    for cursor in (None, 990, 20_004, 39_990):
        beyond = [one for one in ids if cursor is None or (one < cursor if newest_first else one > cursor)]
        ahead = [one for one in ids if cursor is None or (one > cursor if newest_first else one < cursor)]
        for request, expected in (
            (PageRequest(20, after=cursor, counted=True), beyond[:20]),
            (PageRequest(20, before=cursor, backward=True), ahead[-20:]),
        ):
            page = await reader.page(where, request, newest_first=newest_first)
            assert [change.id for change in page.items] == expected
            if request.counted:
                assert (page.total, page.total_is_exact) == (min(len(ids), COUNTED_AT_MOST), len(ids) < COUNTED_AT_MOST)


async def test_the_newest_configuration_is_looked_for_among_configurations_alone(filled: str) -> None:
    async with open_store(filled) as store, store.unit_of_work() as unit:
        with statements() as sent:
            assert await unit.last_configuration("busy") is None
    (statement,) = sent
    connection = await asyncpg.connect(filled)
    try:
        await connection.execute(f"SET plan_cache_mode = force_generic_plan; PREPARE newest AS {statement}")
        plan = await connection.fetch("EXPLAIN EXECUTE newest ('{busy}', 'CONFIGURE_NAMESPACE', 1)")
    finally:
        await connection.close()
    assert any("ix_changes_kind_id" in row[0] for row in plan), plan


async def test_changes_without_an_idempotency_key_take_no_room_in_its_index(filled: str) -> None:
    ((size,),) = await fetch(filled, "SELECT pg_relation_size('uq_changes_idempotency_digest') / 8192")
    assert size <= 1


_LOOKUPS: Final = {
    "commit_change": "SELECT EXISTS (SELECT FROM changes AS c WHERE c.idempotency_digest = $1)",
    "commit_changes": """
        SELECT d.change FROM unnest(ARRAY[$1::bytea]) WITH ORDINALITY AS d (digest, change)
        JOIN changes AS c ON c.idempotency_digest = d.digest
    """,
}


@pytest.mark.parametrize("lookup", _LOOKUPS.values(), ids=_LOOKUPS)
async def test_an_idempotency_key_is_found_by_an_index(filled: str, lookup: str) -> None:
    """As the functions that commit look for it, under a plan for any parameters."""
    connection = await asyncpg.connect(filled)
    try:
        await connection.execute(f"SET plan_cache_mode = force_generic_plan; PREPARE lookup (bytea) AS {lookup}")
        plan = await connection.fetch(r"EXPLAIN EXECUTE lookup ('\x00')")
    finally:
        await connection.close()
    assert any("uq_changes_idempotency_digest" in row[0] for row in plan), plan
    assert not any("Seq Scan on changes" in row[0] for row in plan), plan
