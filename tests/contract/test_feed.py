"""Following the stream: exactly what comes after a position, or a refusal with the reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from persistence.errors import Compacted, EpochMismatch, FutureCursor, FutureRevision, StaleRead
from persistence.feed.live import LiveFeed, live_feed
from persistence.feed.tailer import FeedLimits
from persistence.model.paging import PageRequest
from persistence.model.queries import DiffFilter, ShardFilter
from persistence.model.records import NO_CHANGE, UNMARKED, AsOf, DiffKind, Shard, ShardKey, StreamPosition
from persistence.model.stream import DiffBatch
from persistence.ports.store import Store
from tests.contract.conftest import Backend
from tests.support.mesh import SEARCH, Mesh, because, new

EVERYTHING = DiffFilter()


class Subscriber:
    """One subscription, read batch by batch."""

    def __init__(self, batches: AsyncIterator[DiffBatch]) -> None:
        self._batches = batches
        self.position: StreamPosition | None = None

    async def batch(self) -> DiffBatch:
        batch = await anext(self._batches)
        self.position = batch.position
        return batch

    async def revisions(self, count: int) -> list[int]:
        """At least the next `count` revisions."""
        received: list[int] = []
        while len(received) < count:
            received += [diff.revision for diff in (await self.batch()).diffs]
        return received


@asynccontextmanager
async def following(
    feed: LiveFeed, after: StreamPosition | None = None, where: DiffFilter = EVERYTHING
) -> AsyncIterator[Subscriber]:
    async with aclosing(feed.follow(await feed.begin(after), where)) as batches:
        yield Subscriber(batches)


@asynccontextmanager
async def feed_of(store: Store, **limits: float) -> AsyncIterator[LiveFeed]:
    # Patient by default: a busy machine is no reason to fail.
    chosen: dict[str, Any] = {"catch_up_seconds": 30.0, **limits}
    async with live_feed(store.stream, store.signal, FeedLimits(**chosen)) as feed:
        yield feed


async def test_without_a_position_it_begins_with_a_bookmark_at_the_head(mesh: Mesh) -> None:
    created = await mesh.create(new("a"), new("b"))
    async with feed_of(mesh.store) as feed, following(feed) as subscriber:
        first = await subscriber.batch()
        assert first == DiffBatch(created.position, [], caught_up=True)
        await mesh.create(new("c"))
        (diff,) = (await subscriber.batch()).diffs
        assert (diff.revision, diff.shard_id, diff.kind) == (3, "c", DiffKind.CREATED)


async def test_after_a_position_comes_exactly_what_followed_it(mesh: Mesh) -> None:
    first = await mesh.create(new("a"))
    await mesh.create(new("b"), new("c"))
    async with feed_of(mesh.store) as feed, following(feed, first.position) as subscriber:
        assert await subscriber.revisions(2) == [2, 3]
        await mesh.create(new("d"))
        assert await subscriber.revisions(1) == [4]


async def test_a_diff_carries_the_shard_before_and_after_and_the_change(mesh: Mesh) -> None:
    before = await mesh.created("a", "node-a")
    async with feed_of(mesh.store) as feed, following(feed) as subscriber:
        await subscriber.batch()
        after = await mesh.updated(before, owner_node_id="node-b")
        (diff,) = (await subscriber.batch()).diffs
        assert (diff.previous, diff.current, diff.changed_fields) == (before, after, ("ownerNodeId",))
        assert diff.change == (await mesh.changes())[-1]


async def test_listing_and_then_following_the_lists_position_leaves_no_gap_and_no_duplicate(mesh: Mesh) -> None:
    writing = asyncio.create_task(_create_one_by_one(mesh, 60))
    async with feed_of(mesh.store) as feed:
        async with following(feed, await mesh.store.stream.position_at(0)) as subscriber:
            await subscriber.revisions(20)
        page = await mesh.store.shards.page(ShardFilter(), PageRequest(500))
        table = {shard.key: shard for shard in page.value.items}
        async with following(feed, page.position) as subscriber:
            await writing
            while (batch := await subscriber.batch()).position.revision < 60:
                _apply(table, batch)
            _apply(table, batch)
    assert table == await mesh.table()


async def test_a_subscriber_that_is_behind_the_ring_is_served_from_history(mesh: Mesh) -> None:
    start = (await mesh.store.stream.head()).position
    async with feed_of(mesh.store, ring=5, page=4) as feed, following(feed, start) as subscriber:
        await mesh.create(*(new(f"s{number:02}") for number in range(30)))
        assert await subscriber.revisions(30) == list(range(1, 31))


async def test_a_subscriber_receives_that_a_shard_leaves_its_filter(mesh: Mesh) -> None:
    shard = await mesh.created("a", "node-a")
    await mesh.created("b", "node-b")
    where = DiffFilter(shards=ShardFilter(owner_node_ids=("node-a",)))
    async with feed_of(mesh.store) as feed, following(feed, None, where) as subscriber:
        await subscriber.batch()
        await mesh.created("c", "node-b")
        await mesh.updated(shard, owner_node_id="node-c")
        (diff,) = (await subscriber.batch()).diffs
        assert (diff.shard_id, diff.revision) == ("a", 4)


async def test_only_the_namespace_asked_for_is_delivered(mesh: Mesh) -> None:
    await mesh.configure(SEARCH)
    async with feed_of(mesh.store) as feed, following(feed, None, DiffFilter(namespace=SEARCH)) as subscriber:
        await subscriber.batch()
        await mesh.create(new("a"))
        await mesh.create(new("a", namespace=SEARCH))
        assert await subscriber.revisions(1) == [2]


async def test_a_range_that_was_filtered_out_is_sent_as_a_bookmark(mesh: Mesh) -> None:
    async with (
        feed_of(mesh.store, page=10, bookmark_seconds=3_600) as feed,
        following(feed, None, DiffFilter(namespace=SEARCH)) as subscriber,
    ):
        await subscriber.batch()
        await mesh.create(*(new(f"s{number:02}") for number in range(30)))
        bookmark = await subscriber.batch()
        assert bookmark.diffs == []
        assert bookmark.position.revision >= 10


async def test_an_idle_stream_sends_bookmarks(mesh: Mesh) -> None:
    async with feed_of(mesh.store, bookmark_seconds=0.05) as feed, following(feed) as subscriber:
        assert [(await subscriber.batch()).diffs for _ in range(3)] == [[], [], []]


async def test_a_position_beyond_the_head_is_refused(mesh: Mesh) -> None:
    head = await mesh.store.stream.head()
    async with feed_of(mesh.store) as feed:
        with pytest.raises(FutureCursor) as refused:
            await feed.begin(head.position._replace(revision=1))
        assert (refused.value.requested, refused.value.head) == (1, 0)


async def test_a_position_of_another_stream_is_refused(mesh: Mesh) -> None:
    async with feed_of(mesh.store) as feed:
        with pytest.raises(EpochMismatch):
            await feed.begin(StreamPosition("elsewhere", 0, NO_CHANGE))


async def test_a_compacted_position_is_refused_and_names_the_oldest(backend: Backend, mesh: Mesh) -> None:
    created = await mesh.create(new("a"), new("b"), new("c"))
    await backend.compact(2)
    async with feed_of(mesh.store) as feed:
        with pytest.raises(Compacted) as refused:
            await feed.begin(created.position._replace(revision=1))
        assert refused.value.oldest == 2
        async with following(feed, created.position._replace(revision=2)) as subscriber:
            assert await subscriber.revisions(1) == [3]


async def test_waiting_ends_when_the_process_has_seen_the_revision_or_the_position(mesh: Mesh) -> None:
    async with feed_of(mesh.store) as feed:
        for number in range(1, 6):
            position = (await mesh.create(new(f"s{number}"))).position
            await asyncio.gather(feed.wait_for(number), feed.wait_for_position(position))
            assert feed.position == position


async def test_waiting_for_a_feed_that_stays_behind_is_a_stale_read(mesh: Mesh) -> None:
    limits = FeedLimits(catch_up_seconds=0.05)
    feed = LiveFeed(mesh.store.stream, mesh.store.signal, await mesh.store.stream.head(), limits)  # and it is not run
    created = await mesh.create(new("a"))
    for waiting in (feed.wait_for(1), feed.wait_for_position(created.position)):
        with pytest.raises(StaleRead) as refused:
            await waiting
        assert (refused.value.requested, refused.value.reached) == (1, 0)


async def test_waiting_for_what_the_store_does_not_have_is_refused_at_once(mesh: Mesh) -> None:
    position = (await mesh.create(new("a"))).position
    async with feed_of(mesh.store) as feed:
        with pytest.raises(FutureRevision) as refused:
            await feed.wait_for(7)
        assert (refused.value.requested, refused.value.head) == (7, 1)
        lost = position.mark._replace(hash=b"elsewise")
        for foreign in (position._replace(epoch="another"), position._replace(mark=lost)):
            with pytest.raises(EpochMismatch):
                await feed.wait_for_position(foreign)
        with pytest.raises(FutureCursor):
            await feed.wait_for_position(position._replace(revision=2))


async def test_a_position_is_the_same_wherever_it_comes_from(mesh: Mesh) -> None:
    """Of the head, of a list now and then, of a mutation told and told again, and of a batch; also once changes that
    made no revision have followed."""
    created = await mesh.create(new("a"), new("b"), change=because("once", idempotency_key="k"))
    await mesh.configure(SEARCH)
    again = await mesh.create(new("a"), new("b"), change=because("once", idempotency_key="k"))
    stream, shards = mesh.store.stream, mesh.store.shards
    assert again.replayed
    expected = StreamPosition((await stream.head()).epoch, 2, created.change.mark)
    async with feed_of(mesh.store) as feed, following(feed, (await stream.position_at(0))) as subscriber:
        batch = await subscriber.batch()
        assert {
            created.position,
            again.position,
            (await stream.head()).position,
            await stream.position_at(2),
            (await shards.get(new("a").key)).position,
            (await shards.page(ShardFilter(), PageRequest(5))).position,
            (await shards.page(ShardFilter(), PageRequest(5), AsOf(revision=2))).position,
            (await shards.page(ShardFilter(), PageRequest(5), AsOf(time=created.change.committed_at))).position,
            feed.position,
            batch.position,
            await feed.begin(None),
        } == {expected}
    inside = await stream.position_at(1)
    assert inside == expected._replace(revision=1)
    async with feed_of(mesh.store) as feed, following(feed, inside) as subscriber:
        assert await subscriber.revisions(1) == [2]


async def test_there_is_no_position_beyond_the_head_nor_below_the_floor(backend: Backend, mesh: Mesh) -> None:
    created = await mesh.create(new("a"), new("b"), new("c"))
    await backend.compact(2)
    assert await mesh.store.stream.position_at(2) == created.position._replace(revision=2)
    with pytest.raises(FutureCursor):
        await mesh.store.stream.position_at(4)
    with pytest.raises(Compacted):
        await mesh.store.stream.position_at(1)


async def test_a_position_whose_change_is_not_in_the_history_is_refused(mesh: Mesh) -> None:
    first = (await mesh.create(new("a"))).position
    second = (await mesh.create(new("b"))).position
    async with feed_of(mesh.store) as feed:
        for wrong in (
            first._replace(mark=second.mark._replace(hash=first.mark.hash)),
            second._replace(mark=second.mark._replace(change_id=9)),
            first._replace(mark=UNMARKED),
            first._replace(revision=0, mark=UNMARKED),
        ):
            with pytest.raises(EpochMismatch, match="the change that the cursor names is not in stream"):
                await feed.begin(wrong)
        assert await feed.begin(first) == first


async def test_a_slow_subscriber_delays_no_other(mesh: Mesh) -> None:
    async with feed_of(mesh.store, ring=5, page=4) as feed, following(feed) as slow, following(feed) as quick:
        await slow.batch()
        await quick.batch()
        for number in range(20):
            await mesh.created(f"s{number:02}")
            assert await quick.revisions(1) == [number + 1]
        assert await slow.revisions(20) == list(range(1, 21))


async def _create_one_by_one(mesh: Mesh, count: int) -> None:
    for number in range(count):
        await mesh.create(new(f"s{number:02}"))


def _apply(table: dict[ShardKey, Shard], batch: DiffBatch) -> None:
    for diff in batch.diffs:
        assert table.get(diff.key) == diff.previous
        if diff.current is None:
            del table[diff.key]
        else:
            table[diff.key] = diff.current
