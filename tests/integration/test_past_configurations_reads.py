"""What reading nodes and namespaces as of a time takes, in blocks, where most changes are of shards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.errors import InvalidArgument
from persistence.model.paging import PageRequest
from persistence.model.queries import NodeFilter
from persistence.model.records import AsOf, NodeStatus
from persistence.postgres.database import Database
from persistence.postgres.engine import create_engine, sessions
from persistence.postgres.readers import past_configurations
from persistence.postgres.readers.nodes import PostgresNamespaces, PostgresNodes
from tests.support.blocks import blocks
from tests.support.databases import Databases

CHANGES: Final = 20_000
"""A change a second: every fourth of one of 200 nodes, every fortieth of one of 20 namespaces, the others of shards."""

BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)

# As a replica applies changes: without triggers and foreign keys.
_FILLING: Final = f"""
    SET session_replication_role = replica;
    INSERT INTO changes (id, kind, actor, reason, namespaces, head_revision, shard_count, committed_at, configuration,
        content_digest, hash)
    SELECT c,
        CASE WHEN c % 4 = 0 THEN 'UPDATE_NODE' WHEN c % 40 = 1 THEN 'CONFIGURE_NAMESPACE' ELSE 'UPDATE_SHARDS' END,
        'ops', 'load', CASE WHEN c % 4 = 0 THEN '{{}}' ELSE ARRAY['ns-' || c / 40 % 20] END, c,
        CASE WHEN c % 4 = 0 OR c % 40 = 1 THEN 0 ELSE 1 END, '2026-01-01 00:00Z'::timestamptz + c * interval '1 second',
        CASE WHEN c % 4 = 0 THEN json_build_object('node', 'node-' || lpad((c / 4 % 200)::text, 3, '0'),
                'previous', null, 'current', json_build_object('region', 'eu', 'zone', null,
                    'labels', json_build_object(), 'weight', 1,
                    'status', CASE WHEN c / 4 % 3 = 0 THEN 'DRAINING' ELSE 'ACTIVE' END, 'version', c))
            WHEN c % 40 = 1 THEN json_build_object('namespace', 'ns-' || c / 40 % 20, 'previous', json_build_object(
                'strategy', 'ring', 'strategyParameters', json_build_object(), 'algorithmVersion', 1,
                'parametersDigest', '', 'version', c), 'current', json_build_object()) END,
        sha256(int8send(c)), sha256(int8send(c))
    FROM generate_series(1, {CHANGES}) AS c;
    INSERT INTO nodes (node_id, labels, weight, status, version, created_at, updated_at)
    SELECT 'node-' || lpad(n::text, 3, '0'), '{{}}', 1, 'ACTIVE', 1, now(), now() FROM generate_series(0, 199) AS n;
    INSERT INTO namespaces (name, strategy, strategy_parameters, algorithm_version, parameters_digest, version, policy,
        created_at, updated_at)
    SELECT 'ns-' || n, 'ring', '{{}}', 1, repeat('0', 64), 1, '{{"ticketRequired": false, "approvalRequired": false,
        "moveBudgetPercent": 10.0, "freezes": [], "windowSeconds": 60}}', now(), now() FROM generate_series(0, 19) AS n;
    UPDATE stream_head SET revision = {CHANGES}, change_id = {CHANGES};
    ANALYZE;
"""  # noqa: S608 - a number


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_FILLING)
    finally:
        await connection.close()


@pytest.fixture
def filled(databases: Databases, template_database: str) -> Iterator[str]:
    with databases.temporary(template=template_database) as url:
        asyncio.run(_fill(url))
        yield url


@pytest.fixture
async def read(filled: str) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    database = Database(filled)
    engine = create_engine(database, pool_size=1, isolation_level="AUTOCOMMIT")
    yield sessions(engine, engine).read
    await engine.dispose()
    await database.close()


async def test_they_are_found_by_an_index_however_much_was_done_with_shards(
    read: async_sessionmaker[AsyncSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes, namespaces = PostgresNodes(read), PostgresNamespaces(read)
    early = AsOf(time=BEGINNING + timedelta(seconds=CHANGES / 2))
    where = NodeFilter()
    found = await nodes.page_as_of(where, PageRequest(50), early)
    assert len(found.items) == 50
    assert {node.version for node in found.items} <= set(range(CHANGES // 2 - 800, CHANGES // 2 + 1))
    # Of each of the 200 the way through the index and its row, and of those of the page once more.
    assert await blocks(read, lambda: nodes.page_as_of(where, PageRequest(50), early)) < 1_600
    draining = NodeFilter(statuses=[NodeStatus.DRAINING])
    assert await blocks(read, lambda: nodes.page_as_of(draining, PageRequest(500), early)) < 1_600

    spaces = await namespaces.page_as_of(PageRequest(500), early)
    assert [one.version > CHANGES // 2 for one in spaces.items] == [True] * 20
    assert await blocks(read, lambda: namespaces.page_as_of(PageRequest(500), early)) < 800

    # Beyond what is walked it is refused, and not guessed.
    monkeypatch.setattr(past_configurations, "WALKED", 100)
    past_configurations._namespaces.cache_clear()  # noqa: SLF001 - statements are made with the number in them
    with pytest.raises(InvalidArgument, match=r"asOf.*is too long ago: namespaces were configured 100 times since"):
        await namespaces.page_as_of(PageRequest(500), early)
    late = AsOf(time=BEGINNING + timedelta(seconds=CHANGES - 1_000))
    assert len((await namespaces.page_as_of(PageRequest(500), late)).items) == 20
    past_configurations._namespaces.cache_clear()  # noqa: SLF001 - same
