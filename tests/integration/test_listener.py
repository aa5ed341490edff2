"""Losing the LISTEN connection, and losing notifications: neither may lose a diff."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import asyncpg
import pytest

from persistence.feed import live_feed
from persistence.feed.live import FeedLimits
from persistence.ports import DiffFilter
from persistence.postgres import open_store
from persistence.postgres.listener import listening
from tests.support.mesh import Mesh, new

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
    async with listening(database_url) as listener:
        await listener.wait()  # raised once on connecting
        assert listener.connected
        await notify(database_url)
        await listener.wait()


async def test_a_terminated_listener_comes_back_and_asks_readers_to_look(database_url: str) -> None:
    async with listening(database_url) as listener:
        await listener.wait()
        assert await terminate_listeners(database_url) == 1
        await listener.wait()  # without any notification: something may have been missed meanwhile
        assert listener.connected
        await notify(database_url)
        await listener.wait()


async def test_subscribers_hear_of_what_was_committed_while_the_listener_was_away(database_url: str) -> None:
    async with (
        open_store(database_url) as store,
        live_feed(store.stream, store.signal, FeedLimits(poll_seconds=NEVER)) as feed,
        aclosing(feed.follow(None, DiffFilter())) as batches,
    ):
        mesh = Mesh(store)
        await mesh.configure()
        await anext(batches)
        heard: list[int] = []
        for number in range(5):
            await terminate_listeners(database_url)
            await mesh.create(new(f"s{number}"))
            heard += [diff.revision for diff in (await anext(batches)).diffs]
        assert heard == [1, 2, 3, 4, 5]


async def test_a_lost_notification_costs_a_poll_and_not_the_diff(database_url: str) -> None:
    class Deaf:
        async def wait(self) -> None:
            await asyncio.Event().wait()

    async with (
        open_store(database_url) as store,
        live_feed(store.stream, Deaf(), FeedLimits(poll_seconds=0.05)) as feed,
        aclosing(feed.follow(None, DiffFilter())) as batches,
    ):
        mesh = Mesh(store)
        await mesh.configure()
        await anext(batches)
        await mesh.create(new("a"))
        (diff,) = (await anext(batches)).diffs
        assert diff.shard_id == "a"


async def test_nothing_is_notified_when_a_unit_of_work_is_undone(database_url: str) -> None:
    async with open_store(database_url) as store, listening(database_url) as listener:
        mesh = Mesh(store)
        await mesh.configure()
        shard = await mesh.created("a")
        while True:
            try:
                await asyncio.wait_for(listener.wait(), 0.2)
            except TimeoutError:
                break
        await mesh.updated(shard, owner_node_id="node-b")
        await listener.wait()
        with pytest.raises(AssertionError, match="VersionConflict"):
            await mesh.updated(shard, owner_node_id="node-c")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(listener.wait(), 0.2)
