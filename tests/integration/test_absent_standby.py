"""Commits that wait for a synchronous standby which is not there: no server may answer or send anything of them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial

import asyncpg
import pytest
from sqlalchemy import text

from persistence.audit.export import ExportFilter, JsonLines
from persistence.errors import CommitUnknown, StoreUnavailable, Unavailable
from persistence.feed.live import live_feed
from persistence.feed.tailer import FeedLimits
from persistence.model.queries import DiffFilter
from persistence.model.records import NO_CHANGE, ChangeMark
from persistence.postgres import driver_errors
from persistence.postgres import engine as session_errors
from persistence.postgres.audit.export import export
from persistence.postgres.database import Database
from persistence.postgres.driver import Connection, connect
from persistence.postgres.engine import create_engine, sessions
from persistence.postgres.store import open_store
from persistence.postgres.stream import PostgresStream
from tests.support.mesh import Mesh, new
from tests.support.own_postgres import ABSENT, OwnPostgres, own_postgres, within

INSERT = "INSERT INTO told (what) VALUES ($1)"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnPostgres]:
    with own_postgres(tmp_path_factory.mktemp("standby") / "data") as server:
        asyncio.run(server.sql("CREATE TABLE told (what text)"))
        yield server


@pytest.fixture
async def server(shared: OwnPostgres) -> AsyncIterator[OwnPostgres]:
    """Commits wait."""
    async with shared.without_standby():
        yield shared
    # Let those that were left behind end: the next test counts them.
    while await shared.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"):
        pass


async def told(server: OwnPostgres, what: str) -> bool:
    return bool(await server.sql("SELECT count(*) FROM told WHERE what = $1", what))


async def begun(server: OwnPostgres, connection: asyncpg.Connection, what: str, **options: float) -> asyncio.Task[None]:
    """A commit that waits for the standby by now."""
    before = await server.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    task = asyncio.create_task(connection.execute(INSERT, what, **options))
    await server.waiting_for_standby(before + 1)
    return task


async def cancelled(server: OwnPostgres, connection: asyncpg.Connection, what: str) -> None:
    task = await begun(server, connection, what)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def out_of_time(server: OwnPostgres, connection: asyncpg.Connection, what: str) -> None:
    with pytest.raises(TimeoutError):
        await (await begun(server, connection, what, timeout=1))


async def closed(server: OwnPostgres, connection: asyncpg.Connection, what: str) -> None:
    task = await begun(server, connection, what)
    # The driver as it comes waits for what it has cancelled, and calls it an internal error.
    with suppress(TimeoutError):
        await connection.close(timeout=1)
    with pytest.raises(asyncpg.PostgresConnectionError if type(connection) is Connection else Exception):
        await task


@pytest.mark.parametrize("given_up", [cancelled, out_of_time, closed])
async def test_a_commit_that_is_given_up_stays_invisible_until_the_standby_has_it(
    server: OwnPostgres, given_up: Callable[[OwnPostgres, asyncpg.Connection, str], Awaitable[None]]
) -> None:
    ours = await connect(server.url)
    await given_up(server, ours, f"ours {given_up}")
    (left_behind,) = await server.waiting_for_standby()
    # The driver as it comes does the same thing afterwards, and is the proof that it can be seen.
    stock = await asyncpg.connect(server.url)
    await given_up(server, stock, f"stock {given_up}")
    while not await told(server, f"stock {given_up}"):
        pass
    stock.terminate()
    assert not await told(server, f"ours {given_up}")
    assert left_behind in await server.waiting_for_standby()
    assert ours.is_closed()
    await server.set_standby("")
    while not await told(server, f"ours {given_up}"):
        pass


async def test_a_pool_that_gives_up_a_commit_does_not_cancel_it(shared: OwnPostgres) -> None:
    database = Database(shared.url)
    engine = create_engine(database, pool_size=1, command_seconds=0.5, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        async with shared.without_standby():
            with pytest.raises(CommitUnknown), session_errors.committing():
                await connection.execute(text("INSERT INTO told VALUES ('pooled')"))
            await engine.dispose()
            await shared.waiting_for_standby()
            assert not await told(shared, "pooled")
    await database.close()
    while not await told(shared, "pooled"):
        pass


async def test_a_wait_that_an_administrator_cancels_is_no_success(server: OwnPostgres) -> None:
    """The server answers that the statement is done, and warns."""
    connection = await connect(server.url)

    async def commit() -> None:
        with driver_errors.committing():
            await connection.execute(INSERT, "cancelled by hand")

    committing = asyncio.create_task(commit())
    (waiting,) = await server.waiting_for_standby()
    assert await server.sql("SELECT pg_cancel_backend($1)", waiting)
    with pytest.raises(CommitUnknown):
        await committing
    await connection.close()


async def test_a_commit_whose_backend_is_ended_while_it_waits_is_unknown(server: OwnPostgres) -> None:
    connection = await connect(server.url)

    async def commit() -> None:
        with driver_errors.committing():
            await connection.execute(INSERT, "ended by hand")

    committing = asyncio.create_task(commit())
    (waiting,) = await server.waiting_for_standby()
    assert await server.sql("SELECT pg_terminate_backend($1)", waiting)
    with pytest.raises(CommitUnknown):
        await committing


async def test_one_commit_is_waited_for_by_all_who_ask(server: OwnPostgres) -> None:
    """And one by all who come while it is under way: no backend is left behind by those who give up."""
    database = Database(server.url)
    with within(3):
        for _ in range(5):
            with pytest.raises(StoreUnavailable) as refused:
                await database.barrier.wait(0.05)
            assert refused.value.reason is Unavailable.AWAITING_STANDBY
    assert len(await server.waiting_for_standby()) == 1
    waiting = [asyncio.create_task(database.barrier.wait()) for _ in range(20)]
    await server.set_standby("")
    lives = await asyncio.gather(*waiting)
    assert len(set(lives)) == 1
    await database.close()


async def test_a_server_that_waits_tells_of_nothing_that_came_before_it(
    shared: OwnPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart in place: recovery makes a commit visible that no standby has, and a promotion would lose it."""
    monkeypatch.setattr("persistence.postgres.database.BARRIER_SECONDS", 0.3)
    limits = FeedLimits(poll_seconds=0.1)
    async with open_store(shared.url) as store, live_feed(store.stream, store.signal, limits) as feed:
        mesh = Mesh(store)
        await mesh.configure()
        await mesh.create(new("a"))
        await feed.wait_for(1)
        await shared.set_standby(ABSENT)
        creating = asyncio.create_task(mesh.create(new("b")))
        await shared.waiting_for_standby()
        await asyncio.to_thread(shared.kill_and_restart)
        with pytest.raises(StoreUnavailable):
            await creating
        assert await shared.sql("SELECT revision FROM stream_head") == 2, "anybody else is told of it"
        for _ in range(3):
            with pytest.raises(StoreUnavailable) as refused:
                await store.stream.head()
            assert refused.value.reason is Unavailable.AWAITING_STANDBY
        assert feed.position.revision == 1
        await shared.set_standby("")
        await feed.wait_for(2)
        assert (await store.stream.head()).revision == 2
        batches = feed.follow(await feed.begin(None), DiffFilter())
        assert (await anext(batches)).position.revision == 2
        await batches.aclose()


async def test_an_audit_tells_of_nothing_that_the_standby_may_not_have(
    server: OwnPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persistence.postgres.audit.reader.BARRIER_SECONDS", 0.3)
    with pytest.raises(StoreUnavailable) as refused:
        await export(server.url, ExportFilter(), JsonLines(), lambda _: None)
    assert refused.value.reason is Unavailable.AWAITING_STANDBY
    await server.set_standby("")
    await export(server.url, ExportFilter(), JsonLines(), lambda _: None)


async def test_what_a_primary_does_not_have_is_not_called_lost_while_its_standby_may_have_gone_on_without_it(
    shared: OwnPostgres,
) -> None:
    """Cut off from all but this server, it knows nothing of a promotion; others have been told of what came then."""
    elsewhere = ChangeMark(1_000, b"eight of")
    database = Database(shared.url)
    reads = create_engine(database, pool_size=1, isolation_level="AUTOCOMMIT")
    stream = PostgresStream(sessions(reads, reads).read, partial(database.barrier.wait, 0.3))
    head = await stream.head()
    await shared.set_standby(ABSENT)
    for mark in (elsewhere, NO_CHANGE):
        with pytest.raises(StoreUnavailable) as refused:
            await stream.after(1_000, 0, mark=mark)
        assert refused.value.reason is Unavailable.AWAITING_STANDBY
    known = await stream.after(head.revision, 0, mark=head.newest)
    assert (known.head, known.known) == (head, True), "what is there needs no proof"
    await shared.set_standby("")
    assert not (await stream.after(1_000, 0, mark=elsewhere)).known
    await reads.dispose()
    await database.close()


async def test_recovery_from_the_crash_of_one_backend_is_another_life(
    shared: OwnPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The postmaster goes on, and says that it started when it did."""
    monkeypatch.setattr("persistence.postgres.database.BARRIER_SECONDS", 0.3)
    database = Database(shared.url)
    victim = await database.connect()
    before = victim.admitted.life
    started = await victim.fetchval("SELECT pg_postmaster_start_time()")
    await shared.set_standby(ABSENT)
    os.kill(victim.get_server_pid(), signal.SIGKILL)
    while (refused := await _refusal(database)).reason is Unavailable.UNREACHABLE:
        pass
    assert refused.reason is Unavailable.AWAITING_STANDBY
    await shared.set_standby("")
    after = await database.connect()
    assert await after.fetchval("SELECT pg_postmaster_start_time()") == started
    assert after.admitted.life != before
    await after.close()
    await database.close()


async def _refusal(database: Database) -> StoreUnavailable:
    with pytest.raises(StoreUnavailable) as refused:
        await database.connect()
    return refused.value
