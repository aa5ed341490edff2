"""What a connection must be before it is used: of the right server, with its settings, in a session of its own."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

import asyncpg
import pytest
from sqlalchemy import text

from persistence.commands.refusals import refusal_of
from persistence.commands.shards import CreateShards
from persistence.errors import (
    CommitUnknown,
    Fenced,
    InvalidArgument,
    Overloaded,
    SchemaOutOfDate,
    StoreUnavailable,
    Unavailable,
)
from persistence.model.outcomes import NotFound
from persistence.postgres.database import Database, Fence
from persistence.postgres.driver import SERVER_SETTINGS, Connection, connect
from persistence.postgres.engine import COMMAND_SECONDS, POOLED_SETTINGS, committing, create_engine, translated
from persistence.postgres.store import open_store
from tests.support.mesh import CHANGE, Mesh, new
from tests.support.own_postgres import OwnPostgres, own_postgres, within

RAISE_DISK_FULL: Final = "DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$"


def at(*hosts: str, more: str = "") -> str:
    """A URL of several hosts: folders of sockets, or addresses with ports."""
    return f"postgresql://postgres@/postgres?host={','.join(quote(host) for host in hosts)}&port=5432{more}"


def folder_of(url: str) -> str:
    return url.partition("?host=")[2].partition("&")[0].replace("%2F", "/")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnPostgres]:
    with own_postgres(tmp_path_factory.mktemp("own") / "data") as server:
        yield server


@contextmanager
def mute() -> Iterator[tuple[str, int]]:
    """A server that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        yield host, port


async def refused(database: Database) -> StoreUnavailable:
    with pytest.raises(StoreUnavailable) as error:
        await database.connect()
    return error.value


# Hosts


async def test_a_host_that_says_nothing_does_not_hide_the_next(server: OwnPostgres) -> None:
    there = folder_of(server.url)
    with mute() as (host, port):
        url = f"postgresql://postgres@/postgres?host={host},{quote(there)}&port={port},5432&connect_timeout=1"
        database = Database(url)
        with within(5):
            connection = await database.connect()
        assert connection.host is not None
        assert connection.host.host.startswith(there)
        await connection.close()
        with within(0.9):  # the one that worked comes first from now on
            await (await database.connect()).close()
        await database.close()


async def test_a_frozen_primary_does_not_hide_the_next_and_what_is_under_way_ends(
    server: OwnPostgres, tmp_path: Path
) -> None:
    """Each has 3 seconds, where there are several; a statement has 10."""
    await asyncio.to_thread(server.stop)
    other = await asyncio.to_thread(server.copy_to, tmp_path / "copy")
    await asyncio.to_thread(server.restart)
    try:
        async with open_store(at(folder_of(server.url), folder_of(other.url))) as store:
            await store.stream.head()
            with server.frozen():
                begun = time.monotonic()
                under_way = [asyncio.create_task(store.stream.head()) for _ in range(2)]
                for task in under_way:
                    with pytest.raises(StoreUnavailable):
                        await task
                assert time.monotonic() - begun < 11
                with within(5):
                    await store.stream.head()
    finally:
        await asyncio.to_thread(other.stop)


async def test_every_host_is_named_when_none_will_do(server: OwnPostgres) -> None:
    database = Database(at("/nowhere", "/nowhere-else"))
    with within(2):
        error = await refused(database)
    assert error.reason is Unavailable.UNREACHABLE
    for host in ("/nowhere/.s.PGSQL.5432: ", "/nowhere-else/.s.PGSQL.5432: "):
        assert host in str(error)
    assert server.pid


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://db:port/mesh", "invalid literal"),
        ("postgresql:///mesh?host=a,b&port=1,2,3", "could not match 3 port numbers to 2 hosts"),
        ("postgresql://db/mesh?connect_timeout=soon", "could not convert"),
    ],
)
async def test_a_url_that_cannot_be_read_is_refused_by_name(url: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=f"database_url: .*{message}"):
        await connect(url)


async def test_the_attributes_of_a_session_choose_among_the_hosts(server: OwnPostgres) -> None:
    for attributes in ("any", "primary", "read-write", "prefer-standby"):
        await (await connect(f"{server.url}&target_session_attrs={attributes}")).close()
    with pytest.raises(StoreUnavailable, match="the database is not standby") as error:
        await connect(f"{server.url}&target_session_attrs=standby")
    assert error.value.reason is Unavailable.READ_ONLY


# Settings


async def test_settings_are_there_and_synchronous_commit_is_never_less_than_on(database_url: str) -> None:
    for said, found in (("off", "on"), ("local", "on"), ("on", "on"), ("remote_apply", "remote_apply")):
        name = database_url.rpartition("/")[2].partition("?")[0]
        await _execute(database_url, f"ALTER DATABASE {name} SET synchronous_commit = {said}")
        database = Database(database_url)
        connection = await database.connect()
        assert await connection.fetchval("SHOW synchronous_commit") == found
        for name, value in SERVER_SETTINGS.items():
            if name.startswith("tcp_"):
                continue  # of no use to a socket, which shows 0
            same = await connection.fetchval("SELECT set_config($1, $2, false) = $3", name, value, value)
            assert same or name == "statement_timeout", name
        assert await connection.fetchval("SHOW client_connection_check_interval") == "1s"
        await connection.close()
        await database.close()


async def test_what_reads_and_commits_rely_on_is_no_default_of_the_database(database_url: str) -> None:
    """A commit that kept one snapshot would be refused whenever it had waited for another one."""
    name = database_url.rpartition("/")[2].partition("?")[0]
    await _execute(database_url, f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    database = Database(database_url)
    connection = await database.connect()
    assert await connection.fetchval("SHOW transaction_isolation") == "read committed"
    await connection.close()
    await database.close()


async def test_a_server_that_takes_no_more_connections_says_so(tmp_path: Path) -> None:
    crowded = await asyncio.to_thread(OwnPostgres.start, tmp_path / "crowded")
    try:
        await crowded.sql("ALTER SYSTEM SET max_connections = 4")
        await crowded.sql("ALTER SYSTEM SET max_wal_senders = 0")
        await crowded.sql("ALTER SYSTEM SET superuser_reserved_connections = 0")
        await asyncio.to_thread(crowded.stop)
        await asyncio.to_thread(crowded.restart)
        taken = [await asyncpg.connect(crowded.url) for _ in range(4)]
        database = Database(crowded.url)
        error = await refused(database)
        assert error.reason is Unavailable.TOO_MANY_CONNECTIONS
        assert await database.trouble() is Unavailable.TOO_MANY_CONNECTIONS
        for connection in taken:
            await connection.close()
    finally:
        await asyncio.to_thread(crowded.stop)


@pytest.mark.parametrize(
    ("closed", "open_again"),
    [
        ("ALTER ROLE some_server NOLOGIN", "ALTER ROLE some_server LOGIN"),
        ("ALTER DATABASE theirs ALLOW_CONNECTIONS false", "ALTER DATABASE theirs ALLOW_CONNECTIONS true"),
        ("REVOKE CONNECT ON DATABASE theirs FROM PUBLIC", "GRANT CONNECT ON DATABASE theirs TO PUBLIC"),
    ],
    ids=["the role", "the database", "the privilege"],
)
async def test_a_database_that_denies_access_says_so_until_it_is_open(
    server: OwnPostgres, closed: str, open_again: str
) -> None:
    await server.sql("CREATE ROLE some_server LOGIN")
    await server.sql("CREATE DATABASE theirs")
    url = f"postgresql://some_server@/theirs?host={quote(folder_of(server.url))}&port=5432"
    try:
        await server.sql(closed)
        with pytest.raises(StoreUnavailable) as denied:
            await connect(url)
        assert denied.value.reason is Unavailable.ACCESS_DENIED
        await server.sql(open_again)
        await (await connect(url)).close()
    finally:
        await server.sql("DROP DATABASE theirs WITH (FORCE)")
        await server.sql("DROP ROLE some_server")


# Timelines


async def test_an_old_primary_that_comes_back_is_refused_and_the_new_one_found(
    server: OwnPostgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two servers of one system, one of them promoted: whichever stands first in the URL, the newer one is used."""
    await asyncio.to_thread(server.stop)
    promoted = await asyncio.to_thread(server.copy_to, tmp_path / "promoted")
    try:
        await promoted.promote()
        await asyncio.to_thread(server.restart)
        old, new_one = folder_of(server.url), folder_of(promoted.url)
        fence = Fence()
        async with open_store(at(old, new_one), fence=fence) as store:
            epoch = (await store.stream.head()).epoch
            mesh = Mesh(store)
            await mesh.configure()
            assert await server.sql("SELECT count(*) FROM namespaces") == 1, "the only one it knows by now"
        async with open_store(at(new_one, old), fence=fence) as store:
            head = await store.stream.head()
            assert (head.epoch, head.revision) == (epoch, 0), "the same stream, as it is there"
            assert await promoted.sql("SELECT timeline FROM stream_head") == 2
        async with open_store(at(old, new_one), fence=fence) as store:
            mesh = Mesh(store)
            await mesh.configure()
            await mesh.create(new("a"))
        assert await promoted.sql("SELECT revision FROM stream_head") == 1
        assert await server.sql("SELECT revision FROM stream_head") == 0
        assert [record.levelno for record in caplog.records if "old primary came back" in record.message] == [
            logging.ERROR
        ]
        alone = Database(server.url, fence=fence)
        with pytest.raises(Fenced):
            await alone.connect()
        await alone.close()
    finally:
        await asyncio.to_thread(promoted.stop)


async def test_a_primary_that_goes_on_when_another_was_promoted_is_left(
    server: OwnPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections never break, and it answers reads. What waits there for a standby that follows another is given
    up at once."""
    monkeypatch.setattr("persistence.postgres.listener.HEARTBEAT_SECONDS", 0.05)
    await asyncio.to_thread(server.stop)
    promoted = await asyncio.to_thread(server.copy_to, tmp_path / "promoted")
    await asyncio.to_thread(server.restart)
    try:
        async with open_store(at(folder_of(server.url), folder_of(promoted.url))) as store:
            mesh = Mesh(store)
            await store.stream.head()
            async with server.without_standby():
                under_way = asyncio.create_task(mesh.configure("left"))
                await server.waiting_for_standby()
                await promoted.promote()
                with within(5), pytest.raises(CommitUnknown):
                    await under_way
                with within(5):
                    await mesh.configure("left")
            assert await promoted.sql("SELECT timeline FROM stream_head") == 2
            assert await promoted.sql("SELECT count(*) FROM namespaces WHERE name = 'left'") == 1
    finally:
        await asyncio.to_thread(promoted.stop)


async def test_what_another_host_of_the_url_says_of_a_foreign_cluster_is_not_heeded(
    server: OwnPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persistence.postgres.listener.HEARTBEAT_SECONDS", 0.05)
    looked = asyncio.Event()
    look = Database.look_beside

    async def counted(database: Database, connection: Connection) -> None:
        await look(database, connection)
        looked.set()

    monkeypatch.setattr(Database, "look_beside", counted)
    fence = Fence()
    foreign = await asyncio.to_thread(OwnPostgres.start, tmp_path / "foreign")
    try:
        await foreign.promote()
        async with open_store(at(folder_of(server.url), folder_of(foreign.url)), fence=fence) as store:
            with within(5):
                await looked.wait()
            await store.stream.head()
            assert fence.newest(await foreign.sql("SELECT system_identifier::text FROM pg_control_system()")) == 0
    finally:
        await asyncio.to_thread(foreign.stop)


async def test_connections_to_an_older_timeline_are_not_used_again(server: OwnPostgres) -> None:
    fence = Fence()
    async with open_store(server.url, fence=fence, read_connections=2) as store:
        await asyncio.gather(store.stream.head(), store.stream.head())
        system = await server.sql("SELECT system_identifier::text FROM pg_control_system()")
        fence.admit(system, fence.newest(system) + 1)
        with pytest.raises(Fenced):
            await store.stream.head()


async def test_nothing_is_confirmed_by_an_old_primary_once_another_process_has_seen_the_new_one(
    server: OwnPostgres,
) -> None:
    """The connection of the barrier is in no pool that would look at it."""
    word = multiprocessing.get_context("spawn").RawValue("Q")
    database = Database(server.url, fence=Fence(word))
    life = await database.barrier.wait()
    Fence(word).admit(life.system, life.timeline + 1)
    with pytest.raises(Fenced):
        await database.barrier.wait()
    await database.close()


# Schema


async def test_a_schema_that_does_not_serve_this_program_is_refused_by_name(database_url: str) -> None:
    await _execute(database_url, "UPDATE stream_head SET compatible_revisions = '{0098,0099}'")
    database = Database(database_url, program_revision="0016")
    with pytest.raises(
        SchemaOutOfDate, match=r"is at revision \d+ and serves programs of revision 0098, 0099; this .* 0016"
    ):
        await database.connect()
    await database.close()
    served = Database(database_url, program_revision="0098")
    await (await served.connect()).close()
    await served.close()


async def test_a_schema_that_is_upgraded_under_a_server_is_noticed_where_nothing_is_written(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the heartbeat: the connections that idle in the pools are not used again."""
    monkeypatch.setattr("persistence.postgres.listener.HEARTBEAT_SECONDS", 0.05)
    async with open_store(database_url, program_revision="0016") as store:
        await store.stream.head()
        await _execute(database_url, "UPDATE stream_head SET compatible_revisions = '{0099}'")

        async def read_for_ever() -> None:
            while True:
                await store.stream.head()

        with pytest.raises(SchemaOutOfDate):
            await read_for_ever()


async def test_a_refusal_is_not_written_to_a_schema_that_does_not_serve_this_program(database_url: str) -> None:
    """Nor by a connection that is open."""
    async with open_store(database_url, write_connections=1) as store:
        mesh = Mesh(store)
        await mesh.configure()
        refused = CreateShards([new("a", namespace="nowhere")], CHANGE)
        await mesh.execute(refused)
        await _execute(database_url, "UPDATE stream_head SET compatible_revisions = '{0099}'")
        with pytest.raises(SchemaOutOfDate):
            await store.refusals.append(refusal_of(refused, NotFound(namespaces=("nowhere",)), 0))
    counted = await asyncpg.connect(database_url)
    assert await counted.fetchval("SELECT count(*) FROM refusals") == 1
    await counted.close()


# What has died


async def test_connections_that_died_in_the_pool_cost_no_request_an_error(server: OwnPostgres) -> None:
    async with open_store(server.url, read_connections=4, write_connections=2) as store:
        mesh = Mesh(store)
        await mesh.configure("pooled")
        await asyncio.gather(*(store.stream.head() for _ in range(4)))
        for _ in range(3):
            await server.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            heads = await asyncio.gather(*(store.stream.head() for _ in range(4)))
            assert len(set(heads)) == 1
            assert (await mesh.namespace("pooled")).name == "pooled"


async def test_a_read_whose_connection_is_lost_under_way_is_sent_again(database_url: str) -> None:
    """Nothing could be known before it was sent: the peer hangs up while the answer is waited for."""
    async with open_store(database_url, read_connections=1) as store:
        await store.stream.head()
        holder = await asyncpg.connect(database_url)
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("LOCK TABLE stream_head IN ACCESS EXCLUSIVE MODE")
        reading = asyncio.create_task(store.stream.head())
        ended = await _end_waiting(database_url)
        await transaction.rollback()
        assert ended
        assert (await reading).revision == 0
        await holder.close()


# What is not the network's


async def test_a_pool_that_is_busy_is_told_as_overload(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persistence.postgres.engine.POOL_SECONDS", 0.1)
    async with open_store(database_url, read_connections=1) as store:
        await store.stream.head()
        holder = await asyncpg.connect(database_url)
        async with holder.transaction():
            await holder.execute("LOCK TABLE stream_head IN ACCESS EXCLUSIVE MODE")
            waiting = asyncio.create_task(store.stream.head())
            await asyncio.sleep(0)  # it has begun, and so it has the connection
            with pytest.raises(Overloaded, match="all connections to the database are busy"):
                await store.namespaces.get("billing")
        await waiting
        await holder.close()


async def test_a_statement_that_waits_too_long_is_answered_by_the_server(
    database_url: str,
) -> None:
    """So that it is known that nothing was written: its limit comes before that of the connection."""
    assert int(POOLED_SETTINGS["statement_timeout"].removesuffix("s")) < COMMAND_SECONDS
    database = Database(database_url)
    engine = create_engine(database, pool_size=1, settings={**POOLED_SETTINGS, "statement_timeout": "50ms"})
    async with engine.connect() as connection:
        with pytest.raises(Overloaded), translated(), committing():
            await connection.execute(text("SELECT pg_sleep(10)"))
    await engine.dispose()
    await database.close()


async def test_a_writer_that_waits_for_others_gives_up_in_its_own_time(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With OVERLOADED after one wait, a tenth as long here as it is, and not after one for each attempt."""
    shorter = dict(POOLED_SETTINGS)
    for name in ("statement_timeout", "lock_timeout"):
        tenths = int(POOLED_SETTINGS[name].removesuffix("s"))
        shorter[name] = f"{tenths}00ms" if tenths else "0"
    monkeypatch.setattr("persistence.postgres.store.create_engine", partial(create_engine, settings=shorter))
    async with open_store(database_url) as store:
        mesh = Mesh(store)
        await mesh.configure()
        holder = await asyncpg.connect(database_url)
        async with holder.transaction():
            await holder.execute("SELECT FROM stream_head FOR UPDATE")
            with within(2), pytest.raises(Overloaded):
                await mesh.create(new("a"))
        await holder.close()


async def test_a_full_disk_is_told_by_name_and_remembered_while_it_is_full(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(database_url)
    engine = create_engine(database, pool_size=1)
    async with engine.connect() as connection:
        with pytest.raises(StoreUnavailable) as refused, translated():
            await connection.execute(text(RAISE_DISK_FULL))
    assert refused.value.reason is await database.trouble() is Unavailable.DISK_FULL
    monkeypatch.setattr("persistence.postgres.database.TROUBLE_SECONDS", 0)
    with monkeypatch.context() as full:
        full.setattr("persistence.postgres.database._LOOK", RAISE_DISK_FULL)
        assert await database.trouble() is Unavailable.DISK_FULL
    assert await database.trouble() is None
    await engine.dispose()
    await database.close()


async def test_a_database_that_takes_no_writes_drops_the_sessions_and_goes_on_reading(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = database_url.rpartition("/")[2].partition("?")[0]
    async with open_store(database_url) as store:
        mesh = Mesh(store)
        await mesh.configure()
        await _execute(database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await _execute(
            database_url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        with pytest.raises(StoreUnavailable) as refused:
            await mesh.create(new("a"))
        assert refused.value.reason is await store.trouble() is Unavailable.READ_ONLY
        monkeypatch.setattr("persistence.postgres.database.TROUBLE_SECONDS", 0)
        assert await store.trouble() is Unavailable.READ_ONLY, "it still is"
        assert (await store.stream.head()).revision == 0
        connection = await asyncpg.connect(database_url, server_settings={"default_transaction_read_only": "off"})
        await connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await connection.close()
        await mesh.create(new("a"))
        assert await store.trouble() is None


async def _end_waiting(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        while True:
            pid = await connection.fetchval(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if pid is not None:
                await connection.fetchval("SELECT pg_terminate_backend($1)", pid)
                return int(pid)
    finally:
        await connection.close()


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
