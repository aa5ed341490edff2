"""Losing the LISTEN connection, and losing notifications: neither may lose a diff."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import asyncpg
import pytest
from sqlalchemy.pool import NullPool

from persistence.commands.shards import UpdateShards
from persistence.commands.write_set import WriteSet
from persistence.errors import EpochMismatch
from persistence.feed.live import live_feed
from persistence.feed.tailer import FeedLimits
from persistence.handlers.dispatch import decide
from persistence.model.outcomes import VersionConflict
from persistence.model.queries import DiffFilter
from persistence.model.stream import DiffBatch
from persistence.postgres.commit import Relied, commit
from persistence.postgres.database import Database
from persistence.postgres.engine import engine_on
from persistence.postgres.listener import listening
from persistence.postgres.store import open_store
from strategies.registry import Registry
from tests.support.mesh import CHANGE, Mesh, new, patch

NEVER = 3_600.0


async def terminate_listeners(url: str) -> int:
    """Number of listening backends that were terminated, as an operator would."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'omnirelay-listener' AND datname = current_database()"
        )
        return len(rows)
    finally:
        await connection.close()


async def notify(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("NOTIFY omnirelay_shards")
    finally:
        await connection.close()


async def test_a_notification_raises_the_signal(database_url: str) -> None:
    async with listening(Database(database_url)) as listener:
        await listener.wait()  # raised once on connecting
        assert listener.connected
        await notify(database_url)
        await listener.wait()


async def test_a_terminated_listener_comes_back_and_asks_readers_to_look(database_url: str) -> None:
    async with listening(Database(database_url)) as listener:
        await listener.wait()
        assert await terminate_listeners(database_url) == 1
        await listener.wait()  # without any notification: something may have been missed meanwhile
        assert listener.connected
        await notify(database_url)
        await listener.wait()


async def test_subscribers_receive_what_was_committed_while_the_listener_was_away(database_url: str) -> None:
    async with (
        open_store(database_url) as store,
        live_feed(store.stream, store.signal, FeedLimits(poll_seconds=NEVER)) as feed,
        aclosing(feed.follow(await feed.begin(None), DiffFilter())) as batches,
    ):
        mesh = Mesh(store)
        await mesh.configure()
        await anext(batches)
        received: list[int] = []
        for number in range(5):
            await terminate_listeners(database_url)
            await mesh.create(new(f"s{number}"))
            received += [diff.revision for diff in (await anext(batches)).diffs]
        assert received == [1, 2, 3, 4, 5]


async def test_a_lost_notification_costs_a_poll_and_not_the_diff(database_url: str) -> None:
    class Deaf:
        async def wait(self) -> None:
            await asyncio.Event().wait()

    async with (
        open_store(database_url) as store,
        live_feed(store.stream, Deaf(), FeedLimits(poll_seconds=0.05)) as feed,
        aclosing(feed.follow(await feed.begin(None), DiffFilter())) as batches,
    ):
        mesh = Mesh(store)
        await mesh.configure()
        await anext(batches)
        await mesh.create(new("a"))
        (diff,) = (await anext(batches)).diffs
        assert diff.shard_id == "a"


async def test_nothing_is_notified_when_a_unit_of_work_is_undone(database_url: str) -> None:
    async with open_store(database_url) as store:
        mesh = Mesh(store)
        await mesh.configure()
        shard = await mesh.created("a")
        received: asyncio.Queue[object] = asyncio.Queue()
        connection = await asyncpg.connect(database_url)
        await connection.add_listener("omnirelay_shards", lambda *message: received.put_nowait(message[-1]))
        after = await mesh.updated(shard, owner_node_id="node-b")
        conflict = await mesh.execute(UpdateShards([patch(shard, owner_node_id="node-c")], CHANGE))
        assert isinstance(conflict, VersionConflict)
        async with store.unit_of_work() as unit:
            # Written and notified inside the transaction, which then fails instead of committing.
            undone = UpdateShards([patch(after, owner_node_id="node-d")], CHANGE)
            state = await unit.read(undone.reads)
            decision = decide(undone, state, Registry())
            assert isinstance(decision, WriteSet)
        engine = engine_on(database_url, poolclass=NullPool)
        async with engine.connect() as transaction:
            await commit(transaction, decision, Relied())  # everything of a commit but the COMMIT
            await transaction.rollback()
        await engine.dispose()
        await mesh.updated(after, owner_node_id="node-e")
        # Notifications come in commit order, so the last one closes the account of those before it.
        assert [await received.get(), await received.get()] == ["2", "3"]
        assert received.empty()
        await connection.close()


async def test_a_stream_that_went_back_is_another_stream_even_to_those_who_follow_it(database_url: str) -> None:
    """As when an older copy of the data is put in place: what was seen is gone, its revisions will be issued again."""
    async with (
        open_store(database_url) as store,
        live_feed(store.stream, store.signal, FeedLimits(poll_seconds=0.05)) as feed,
        aclosing(feed.follow(await feed.begin(None), DiffFilter())) as batches,
    ):
        mesh = Mesh(store)
        await mesh.configure()
        await anext(batches)
        await mesh.create(new("a"), new("b"))
        assert (await anext(batches)).position.revision == 2
        connection = await asyncpg.connect(database_url)
        await connection.execute("UPDATE stream_head SET revision = 1")
        await connection.close()
        with pytest.raises(EpochMismatch):
            await _nothing_but_bookmarks(batches)


async def test_a_stream_head_restored_under_open_connections_starts_a_new_epoch(database_url: str) -> None:
    """As `pg_restore --clean` does it: the table is another one, the connections are not."""
    async with open_store(database_url) as store:
        mesh = Mesh(store)
        await mesh.configure()
        before = await mesh.create(new("a"))
        connection = await asyncpg.connect(database_url)
        await connection.execute(
            "ALTER TABLE stream_head RENAME TO old_head; CREATE TABLE stream_head (LIKE old_head INCLUDING ALL);"
            "INSERT INTO stream_head SELECT * FROM old_head; DROP TABLE old_head"
        )
        await connection.close()
        first = await mesh.create(new("b"))
        second = await mesh.create(new("c"))
        assert before.position.epoch != first.position.epoch == second.position.epoch


async def test_a_change_bears_the_time_from_which_it_can_be_seen_not_that_of_its_wait(database_url: str) -> None:
    async with open_store(database_url) as store:
        mesh = Mesh(store)
        await mesh.configure()
        holder = await asyncpg.connect(database_url)
        waiting = await asyncpg.connect(database_url)
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("SELECT FROM stream_head FOR UPDATE")
        creating = asyncio.create_task(mesh.create(new("a")))
        blocked = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        while not await waiting.fetchval(blocked):
            pass
        released = await waiting.fetchval("SELECT clock_timestamp()")
        await transaction.rollback()
        assert (await creating).change.committed_at > released
        await holder.close()
        await waiting.close()


async def _nothing_but_bookmarks(batches: AsyncIterator[DiffBatch]) -> None:
    async for batch in batches:
        assert batch.diffs == []
