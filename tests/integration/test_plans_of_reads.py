"""What pages of history and other lists read, in blocks, once their statements have been executed often enough for
PostgreSQL to hold on to a plan."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.model.paging import PageRequest
from persistence.model.queries import (
    ChangeFilter,
    DiffDetail,
    HistoryOrder,
    RefusalFilter,
    ShardFilter,
    ShardHistoryFilter,
)
from persistence.model.records import AsOf, ShardKey
from persistence.postgres.database import Database
from persistence.postgres.engine import create_engine, sessions
from persistence.postgres.readers.changes import PostgresChanges
from persistence.postgres.readers.history import PostgresHistory
from persistence.postgres.readers.refusals import PostgresRefusals
from persistence.postgres.readers.shards import PostgresShards
from tests.support.blocks import FLUSH, OFTEN, blocks
from tests.support.databases import Databases
from tests.support.explained import explain, sent_reads
from tests.support.statements import statements

ROWS: Final = 24_000
"""Of history, ten a change, a change a second: 20 namespaces in turn, and before them one that is there no more."""

BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)

FEW_CHANGES: Final = 200
"""PostgreSQL would rather compare each row of a page with each of so many than look for its change in an index."""


# As a replica applies changes: without triggers and foreign keys.
def _filling(rows: int) -> str:
    return f"""
    SET session_replication_role = replica;
    INSERT INTO changes (id, kind, actor, reason, change_ticket, namespaces, head_revision, shard_count, committed_at,
        content_digest, hash)
    SELECT c, 'UPDATE_SHARDS', CASE WHEN c = 7 THEN 'rarely' ELSE 'ops-' || c % 10 END, 'load', 'CHG-' || c,
        ARRAY[CASE WHEN c <= 400 THEN 'early' ELSE 'ns-' || c % 20 END], c * 10, 10,
        '2026-01-01 00:00Z'::timestamptz + c * interval '1 second', sha256(int8send(c)), sha256(int8send(c))
    FROM generate_series(1, {rows} / 10) AS c;
    INSERT INTO shard_history (revision, change_id, namespace, shard_id, version, kind, changed_fields, owner_node_id,
        created_at, current)
    SELECT r, c.id, c.namespaces[1], 's' || r, 1, 'CREATED', '{{}}', 'node-' || r % 10, c.committed_at,
        json_build_object('shardId', 's' || r, 'namespace', c.namespaces[1], 'ownerNodeId', 'node-' || r % 10,
            'strategy', 'rendezvous', 'leaderId', null, 'capacityHint', 1, 'localityHint', null, 'status', 'ACTIVE',
            'pinned', null, 'antiAffinityGroup', null, 'changeTicket', null, 'version', 1, 'ownerEpoch', 1,
            'checksum', md5(r::text))
    FROM changes AS c, generate_series(c.head_revision - 9, c.head_revision) AS r;
    UPDATE stream_head SET revision = {rows}, change_id = {rows} / 10;
    ALTER TABLE shard_history_0 SET (autovacuum_enabled = off);
    ALTER TABLE changes SET (autovacuum_enabled = off);
"""  # noqa: S608 - a number


_TRANSACTIONS: Final = text(
    "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
)

_GENERIC: Final = text("""
    SELECT statement FROM pg_prepared_statements WHERE generic_plans > 0 AND cardinality(parameter_types) > 0
""")


@dataclass(frozen=True)
class Reads:
    """The readers, on one connection."""

    sessions: async_sessionmaker[AsyncSession]
    history: PostgresHistory
    changes: PostgresChanges

    async def blocks(self, read: Callable[[], Awaitable[Any]]) -> int:
        """Of history and changes that reading takes."""
        return await blocks(self.sessions, read)

    async def page(self, **fields: Any) -> int:
        """Blocks of a page of history; `fields` are those of the filter, the cursor and the order."""
        request: PageRequest[int] = PageRequest(
            50,
            after=fields.pop("after", None),
            backward=fields.pop("backward", False),
            counted=fields.pop("counted", False),
        )
        order, where = fields.pop("order", HistoryOrder.REVISION_DESC), ShardHistoryFilter(**fields)
        return await self.blocks(lambda: self.history.page(where, order, request))


async def _fill(url: str, rows: int) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_filling(rows))
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def filled(databases: Databases, template_database: str) -> Iterator[str]:
    """A database with a history that PostgreSQL has statistics of."""
    with databases.temporary(template=template_database) as url:
        asyncio.run(_fill(url, ROWS))
        yield url


@pytest.fixture(scope="module")
def of_few_changes(databases: Databases, template_database: str) -> Iterator[str]:
    with databases.temporary(template=template_database) as url:
        asyncio.run(_fill(url, FEW_CHANGES * 10))
        yield url


@asynccontextmanager
async def _reading(url: str) -> AsyncIterator[Reads]:
    database = Database(url)
    engine = create_engine(database, pool_size=1, isolation_level="AUTOCOMMIT")
    read = sessions(engine, engine).read
    yield Reads(read, PostgresHistory(read), PostgresChanges(read))
    await engine.dispose()
    await database.close()


@pytest.fixture
async def reads(filled: str) -> AsyncIterator[Reads]:
    async with _reading(filled) as reading:
        yield reading


FEW: Final = 300
"""Blocks; history has two thousand. A page is 50 rows, each of them in a block of its own at worst, with its change and
the way through an index to both."""

FOUND: Final = FEW + 50
"""Where a page is searched for: its rows are found first, each by an index, and read then, by another."""


@pytest.mark.parametrize("order", list(HistoryOrder))
async def test_a_page_of_one_namespace_reads_its_rows_alone(reads: Reads, order: HistoryOrder) -> None:
    assert await reads.page(namespace="ns-7", order=order) < FEW


@pytest.mark.parametrize("generic", [False, True])
@pytest.mark.parametrize(
    "where",
    [
        ShardHistoryFilter(),
        ShardHistoryFilter("early"),
        ShardHistoryFilter("early", owner_node_id="node-3"),
        ShardHistoryFilter(actor="ops-3"),
    ],
    ids=["all", "namespace", "owner", "actor"],
)
async def test_the_change_of_each_row_is_found_by_its_index_where_there_are_few(
    of_few_changes: str, where: ShardHistoryFilter, *, generic: bool
) -> None:
    shown = DiffDetail(images=True, image_times=True, whole_change=True)
    with sent_reads() as sent:
        async with _reading(of_few_changes) as reads:
            page = await reads.history.page(where, HistoryOrder.REVISION_DESC, PageRequest(50), shown)
    assert page.items
    connection = await asyncpg.connect(of_few_changes)
    try:
        explained = await explain(connection, sent[-1], generic=generic)
    finally:
        await connection.close()
    assert "changes" not in explained.read_whole, explained.plan


async def test_a_namespace_without_rows_takes_no_more_than_one_with(reads: Reads) -> None:
    assert await reads.page(namespace="none") <= await reads.page(namespace="ns-7")


async def test_rows_that_are_all_old_are_found_without_passing_the_newer_ones(reads: Reads) -> None:
    assert await reads.page(namespace="early") < FEW


async def test_a_page_deep_in_history_takes_what_the_first_takes(reads: Reads) -> None:
    first, deep = await reads.page(namespace="ns-7"), await reads.page(namespace="ns-7", after=5_000)
    assert deep <= 1.5 * first
    assert await reads.page() < FEW
    assert await reads.page(after=100) < FEW


@pytest.mark.parametrize("shard_id", ["s4070", "none"])
async def test_a_shard_takes_its_rows(reads: Reads, shard_id: str) -> None:
    assert await reads.page(namespace="ns-7", shard_id=shard_id) < FEW
    assert await reads.page(namespace="ns-7", shard_id=shard_id, backward=True) < FEW
    assert await reads.page(namespace="ns-7", shard_id=shard_id, actor="ops-7") < FEW


@pytest.mark.parametrize("change", [7, 2_000, 999_999])
async def test_the_rows_of_a_change_are_read_by_their_revisions(reads: Reads, change: int) -> None:
    assert await reads.page(change_id=change) < FEW
    assert await reads.page(change_id=change, namespace="ns-7") < FEW


async def test_an_old_stretch_of_time_is_read_by_its_revisions(reads: Reads) -> None:
    stretch = {"since": BEGINNING + timedelta(seconds=500), "until": BEGINNING + timedelta(seconds=520)}
    assert await reads.page(**stretch) < FEW
    assert await reads.page(**stretch, namespace="ns-7") < FEW


@pytest.mark.parametrize("fields", [{"actor": "rarely"}, {"actor": "nobody"}, {"change_ticket": "CHG-30"}])
async def test_rows_of_few_changes_are_found_through_these(reads: Reads, fields: dict[str, Any]) -> None:
    assert await reads.page(**fields) < FEW
    assert await reads.page(**fields, namespace="ns-7") < FEW


@pytest.mark.parametrize("fields", [{"actor": "rarely"}, {"actor": "nobody"}, {"change_ticket": "CHG-30"}])
async def test_rows_of_few_changes_are_counted_through_these(reads: Reads, fields: dict[str, Any]) -> None:
    assert await reads.page(**fields, counted=True) < FEW
    assert await reads.page(**fields, namespace="early", counted=True) < FEW
    page = await reads.history.page(
        ShardHistoryFilter(**fields, until=BEGINNING + timedelta(days=1)),
        HistoryOrder.REVISION_DESC,
        PageRequest(5, counted=True),
    )
    assert page.total == (0 if fields == {"actor": "nobody"} else 10)


async def test_rows_of_many_changes_are_read_from_the_cursor_on(reads: Reads) -> None:
    assert await reads.page(actor="ops-3") < FOUND
    assert await reads.page(actor="ops-3", after=10_000) < FOUND
    assert await reads.page(actor="ops-3", after=10_000, order=HistoryOrder.REVISION_ASC) < FOUND


async def test_changes_of_an_actor_without_any_are_not_looked_for_in_all(reads: Reads) -> None:
    assert (
        await reads.blocks(lambda: reads.changes.page(ChangeFilter(actor="nobody"), PageRequest(50), newest_first=True))
        < 20
    )


async def test_a_page_is_one_statement_that_is_not_within_a_transaction(reads: Reads) -> None:
    async def count() -> int:
        async with reads.sessions() as session:
            await session.execute(FLUSH)
            return int((await session.execute(_TRANSACTIONS)).scalar_one())

    where, shown = ShardHistoryFilter("ns-7"), DiffDetail(images=True, image_times=True, whole_change=True)
    before = await count()
    counting = await count() - before
    with statements() as sent:
        for number in range(OFTEN):
            request: PageRequest[int] = PageRequest(50 - number, counted=True)
            page = await reads.history.page(where, HistoryOrder.REVISION_DESC, request, shown)
            assert (len(page.items), page.total) == (request.limit, 1_000)
    assert len(sent) == OFTEN
    assert await count() - before == OFTEN + 2 * counting


async def test_a_page_that_is_read_again_is_not_read_but_what_is_newest_of_its_namespace(reads: Reads) -> None:
    where, shown = ShardHistoryFilter("ns-7"), DiffDetail(images=True, image_times=True, whole_change=True)

    async def read() -> int:
        page = await reads.history.page(where, HistoryOrder.REVISION_DESC, PageRequest(33), shown)
        return len(page.items)

    for _ in range(2):
        await read()
    with statements() as sent:
        for _ in range(OFTEN):
            assert await read() == 33
    assert len(sent) == OFTEN
    assert not any("move_reason" in statement for statement in sent)
    assert await reads.blocks(read) < 20


Read: TypeAlias = Callable[[async_sessionmaker[AsyncSession]], Awaitable[Any]]

_PAGE: Final[PageRequest[Any]] = PageRequest(50)


@pytest.mark.parametrize(
    "read",
    [
        lambda read: PostgresHistory(read).difference("ns-7", 100, 20_000, _PAGE),
        lambda read: PostgresRefusals(read, read).page(RefusalFilter(namespace="ops"), _PAGE, newest_first=True),
    ],
    ids=["difference", "refusals"],
)
async def test_a_filter_that_few_or_many_may_match_is_planned_for_what_it_is_given(reads: Reads, read: Read) -> None:
    assert await planned_once_for_all(reads, read) == []


@pytest.mark.parametrize(
    "read",
    [
        lambda read: PostgresHistory(read).page(ShardHistoryFilter("ns-7"), HistoryOrder.REVISION_DESC, _PAGE),
        lambda read: PostgresHistory(read).page(ShardHistoryFilter(actor="ops-1"), HistoryOrder.REVISION_DESC, _PAGE),
        lambda read: PostgresChanges(read).page(ChangeFilter(namespace="ns-7"), _PAGE, newest_first=True),
        lambda read: PostgresRefusals(read, read).page(RefusalFilter(actor="ops"), _PAGE, newest_first=True),
        lambda read: PostgresShards(read).get(ShardKey("ns-7", "s7")),
        lambda read: PostgresShards(read).page(ShardFilter(owner_node_ids=("node-1",)), _PAGE),
        lambda read: PostgresShards(read).page(ShardFilter(change_ticket="CHG-1"), _PAGE, AsOf(revision=100)),
    ],
    ids=["history", "an actor's", "changes", "refusals", "one shard", "shards", "as of"],
)
async def test_what_one_plan_serves_is_not_planned_at_each_execution(reads: Reads, read: Read) -> None:
    assert await planned_once_for_all(reads, read)


async def planned_once_for_all(reads: Reads, read: Read) -> Sequence[str]:
    """The statements with parameters that PostgreSQL has used one plan for."""
    for _ in range(2 * OFTEN):
        await read(reads.sessions)
    async with reads.sessions() as session:
        return (await session.execute(_GENERIC)).scalars().all()
