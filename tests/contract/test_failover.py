"""Following across a failover: a subscriber that lost nothing notices nothing, and none goes on from what was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

import pytest

from persistence.errors import EpochMismatch, StoreError
from persistence.feed.live import LiveFeed, live_feed
from persistence.feed.tailer import FeedLimits
from persistence.model.queries import DiffFilter
from persistence.model.records import Shard, ShardDiff, StreamPosition
from persistence.model.stream import DiffBatch
from persistence.ports.readers import Stamped
from persistence.ports.store import Store
from persistence.replica.replica import Replica, following
from tests.contract.conftest import Backend, FailOver
from tests.support.mesh import SEARCH, Mesh, new


@asynccontextmanager
async def feed_of(store: Store) -> AsyncIterator[LiveFeed]:
    async with live_feed(store.stream, store.signal, FeedLimits(poll_seconds=0.05, catch_up_seconds=30.0)) as feed:
        yield feed


async def received(feed: LiveFeed, after: StreamPosition, last: int) -> list[ShardDiff]:
    """What follows the position, until revision `last` has come."""
    told: list[ShardDiff] = []
    async with asyncio.timeout(30), aclosing(feed.follow(await feed.begin(after), DiffFilter())) as batches:
        async for batch in batches:
            told += batch.diffs
            if batch.position.revision >= last:
                break
    return told


async def created_at(mesh: Mesh, shard_id: str) -> StreamPosition:
    return (await mesh.create(new(shard_id))).position


async def settled(mesh: Mesh) -> None:
    """Until connections that are gone have been replaced, of readers and of writers. Makes no revision."""
    while True:
        try:
            await mesh.store.stream.head()
            await mesh.configure("settled")
        except StoreError:
            continue
        return


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - what is waited for gives no signal
            await asyncio.sleep(0.01)


async def test_a_failover_that_loses_nothing_costs_no_subscriber_its_cursor(mesh: Mesh, backend: Backend) -> None:
    positions = [await created_at(mesh, name) for name in "abc"]
    await mesh.configure(SEARCH)
    async with (
        feed_of(mesh.store) as feed,
        aclosing(feed.follow(await feed.begin(positions[2]), DiffFilter())) as batches,
    ):
        await anext(batches)
        await (await backend.keep())()
        await settled(mesh)
        last = await created_at(mesh, "d")
        received_since = [diff async for diff in _until(batches, 4)]
        assert [diff.shard_id for diff in received_since] == ["d"]
        for position in positions:
            revisions = [diff.revision for diff in await received(feed, position, 4)]
            assert revisions == list(range(position.revision + 1, 5))
        assert feed.position == last
        assert last.epoch == positions[0].epoch


async def test_one_that_loses_changes_costs_exactly_those_their_cursors_who_heard_of_them(
    mesh: Mesh, backend: Backend
) -> None:
    """Of a server that had not. Other changes have their revisions by now."""
    kept = [await created_at(mesh, "a"), (await mesh.create(new("b"), new("c"))).position]
    fail_over = await backend.keep()
    lost = [(await mesh.create(new("d"), new("e"), new("f"))).position, await created_at(mesh, "g")]
    await fail_over()
    await settled(mesh)
    for name in "wxyz":
        await mesh.created(name)
    assert (await mesh.store.stream.head()).revision == lost[1].revision
    async with feed_of(mesh.store) as feed:
        for position in (*kept, kept[1]._replace(revision=2)):
            names = "abcwxyz"[position.revision :]
            assert [diff.shard_id for diff in await received(feed, position, 7)] == list(names)
        for position in (*lost, lost[0]._replace(revision=4), lost[0]._replace(revision=5)):
            with pytest.raises(EpochMismatch):
                await feed.begin(position)
            with pytest.raises(EpochMismatch):
                await feed.wait_for_position(position)


async def test_a_server_that_has_told_what_was_lost_ends_every_stream_and_every_cursor(
    mesh: Mesh, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    kept = await created_at(mesh, "a")
    fail_over = await backend.keep()
    async with (
        feed_of(mesh.store) as feed,
        aclosing(feed.follow(await feed.begin(kept), DiffFilter())) as batches,
    ):
        await mesh.created("b")
        assert [diff.shard_id async for diff in _until(batches, 2)] == ["b"]
        await fail_over()
        await settled(mesh)
        await mesh.create(new("x"), new("y"))
        with pytest.raises(EpochMismatch):
            [diff async for diff in _until(batches, 3)]
        await until(lambda: feed.position.epoch != kept.epoch)
        with pytest.raises(EpochMismatch):
            await feed.begin(kept)
        assert [diff.shard_id for diff in await received(feed, await mesh.store.stream.position_at(0), 3)] == list(
            "axy"
        )
    assert "change 3, seen at revision 2, is not in the store's history any more" in caplog.text


async def test_losing_a_change_of_no_shard_is_a_loss_to_a_server_that_has_seen_it(mesh: Mesh, backend: Backend) -> None:
    kept = await created_at(mesh, "a")
    fail_over = await backend.keep()
    async with feed_of(mesh.store) as feed:
        assert await feed.begin(kept) == kept
        await mesh.configure(SEARCH)
        newest = (await mesh.store.stream.head()).newest
        await until(lambda: feed._tailer.newest == newest)  # noqa: SLF001 - nothing else shows it
        await fail_over()
        await until(lambda: feed.position.epoch != kept.epoch)
        assert feed.position[1:] == kept[1:]


async def test_a_replica_that_was_read_across_a_failover_is_read_anew(mesh: Mesh, backend: Backend) -> None:
    """Its slice had a shard that was lost, and the feed had not come by: revisions follow all the same."""
    await mesh.created("a")
    fail_over = await backend.keep()
    feed = LiveFeed(mesh.store.stream, mesh.store.signal, await mesh.store.stream.head(), FeedLimits(poll_seconds=0.05))
    await mesh.created("lost")
    reader = _FailsOver(mesh.store, fail_over)
    async with following(reader, feed) as replica:  # type: ignore[arg-type]  # of a reader it needs `scan`
        await reader.read.wait()
        await settled(mesh)
        await mesh.created("other")
        await mesh.created("another")
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(feed.run())
            await feed.wait_for(3)
            await replica.ready()
            await until(lambda: _names(replica) is not None)
            running.cancel()
        assert _names(replica) == {"a", "other", "another"}


class _FailsOver:
    """A ShardReader, after whose first slice the database fails over."""

    def __init__(self, store: Store, fail_over: FailOver) -> None:
        self._store = store
        self._fail_over = fail_over
        self.read = asyncio.Event()

    async def scan(self) -> AsyncGenerator[Stamped[Sequence[Shard]], None]:
        async for found in self._store.shards.scan():
            if not self.read.is_set():
                await self._fail_over()
                self.read.set()
            yield found


def _names(replica: Replica) -> set[str] | None:
    table = replica.table_of("billing")
    return None if table is None else set(table.value.shards("billing"))


async def _until(batches: AsyncIterator[DiffBatch], last: int) -> AsyncIterator[ShardDiff]:
    async for batch in batches:
        for diff in batch.diffs:
            yield diff
        if batch.position.revision >= last:
            return
