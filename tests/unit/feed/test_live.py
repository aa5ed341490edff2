"""What the driver adds to the state machines: turns for all, and no diff of one stream for another's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest

from persistence.errors import EpochMismatch
from persistence.feed import FeedLimits, LiveFeed, live_feed
from persistence.ports import DiffBatch, DiffFilter, StreamHead
from persistence.queries import ShardFilter
from persistence.records import ShardDiff, StreamPosition
from tests.support.rows import history_row, rows_of_one_change

LIMITS = FeedLimits(ring=1_000, page=10, bookmark_seconds=3_600.0, poll_seconds=60.0)
BILLING = DiffFilter(namespace="billing")


class Stream:
    """A ChangeStream and its CommitSignal. What is read after the position `held` is kept back."""

    def __init__(self) -> None:
        self.epoch = "one"
        self.rows: list[ShardDiff] = []
        self.let_go = asyncio.Event()
        self.holding = asyncio.Event()
        self.held: StreamPosition | None = None
        self.asked: list[int] = []
        self._committed = asyncio.Event()

    async def head(self) -> StreamHead:
        return StreamHead(self.epoch, len(self.rows), 0)

    async def renew(self, epoch: str) -> None:
        raise NotImplementedError

    async def after(
        self, revision: int, limit: int, namespace: str | None = None
    ) -> tuple[StreamHead, Sequence[ShardDiff]]:
        self.asked.append(revision)
        rows = [row for row in self.rows[revision:] if namespace in {None, row.namespace}]
        answer = await self.head(), rows[:limit]
        if self.held == (self.epoch, revision):
            self.holding.set()
            await self.let_go.wait()
        return answer

    async def wait(self) -> None:
        await self._committed.wait()
        self._committed.clear()

    def put(self, *rows: ShardDiff) -> None:
        self.rows += rows
        self._committed.set()

    def replace(self, *rows: ShardDiff) -> None:
        self.epoch, self.rows = "two", list(rows)
        self._committed.set()


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
async def feed(stream: Stream) -> AsyncIterator[LiveFeed]:
    async with live_feed(stream, stream, LIMITS) as feed:
        yield feed


async def test_one_that_reads_a_long_stretch_lets_others_have_their_turn(stream: Stream, feed: LiveFeed) -> None:
    stream.put(*(history_row(revision) for revision in range(1, 501)))
    await feed.wait_for(500)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    async with aclosing(feed.follow(StreamPosition("one", 0), DiffFilter())) as batches:
        async for batch in batches:
            if batch.caught_up:
                break
    task.cancel()
    assert turns >= 49


async def test_a_page_of_a_stream_that_was_replaced_meanwhile_is_not_taken_for_one_of_the_new(stream: Stream) -> None:
    """Revisions 1 and 2 are another thing in each, and older than the ring in both."""
    start = StreamPosition("one", 0)
    stream.put(*(history_row(revision, owner="node-old") for revision in (1, 2)))
    stream.held = start
    async with live_feed(stream, stream, LIMITS) as feed, aclosing(feed.follow(start, BILLING)) as old:
        reading = asyncio.ensure_future(anext(old))
        await stream.holding.wait()
        stream.replace(*(history_row(revision, owner="node-new") for revision in (1, 2)))
        for _ in range(20):  # turns of the loop: more than the feed needs to notice
            await asyncio.sleep(0)
        assert feed.position.epoch == "two"
        stream.let_go.set()
        assert owners(await reading) == ["node-old", "node-old"]
        async with aclosing(feed.follow(StreamPosition("two", 0), BILLING)) as new:
            assert owners(await anext(new)) == ["node-new", "node-new"]
        with pytest.raises(EpochMismatch):
            await anext(old)


def owners(batch: DiffBatch) -> list[str]:
    return [diff.current.owner_node_id for diff in batch.diffs if diff.current is not None]


async def test_who_follows_another_namespace_does_not_wait_for_a_long_change(stream: Stream, feed: LiveFeed) -> None:
    """Nothing of it is read but the page it begins with, and nothing can be."""
    stream.held = StreamPosition("one", 10)
    stream.put(*rows_of_one_change(1, [("orders", "node-a")] * 5_000), history_row(5_001, namespace="billing"))
    async with asyncio.timeout(10), aclosing(feed.follow(StreamPosition("one", 0), BILLING)) as batches:
        told = await anext(batches)
        while not told.diffs:
            told = await anext(batches)
    assert (told.position.revision, [diff.revision for diff in told.diffs]) == (5_001, [5_001])
    assert not stream.holding.is_set()


async def test_who_follows_its_namespace_is_told_all_of_it(stream: Stream, feed: LiveFeed) -> None:
    rows = [*rows_of_one_change(1, [("billing", "node-a")] * 95), history_row(96, namespace="billing")]
    stream.put(*rows)
    await feed.wait_for(96)
    assert await heard(feed, BILLING) == rows


async def test_a_page_of_history_is_read_once_for_all_who_ask_for_it(stream: Stream, feed: LiveFeed) -> None:
    rows = rows_of_one_change(1, [("billing", "node-a")] * 95)
    stream.put(*rows)
    await feed.wait_for(95)
    for where in (BILLING, DiffFilter()):
        stream.asked.clear()
        for told in await asyncio.gather(*(heard(feed, where) for _ in range(10))):
            assert told == rows
        assert sorted(stream.asked) == [10, 20, 30, 40, 50, 60, 70, 80, *[90] * 10]  # the last one is not full


async def test_those_who_come_back_from_different_places_soon_read_the_same_pages(stream: Stream) -> None:
    rows = rows_of_one_change(1, [("billing", "node-a")] * 60)
    stream.put(*rows)
    async with live_feed(stream, stream, LIMITS) as feed:
        for told in await asyncio.gather(*(heard(feed, DiffFilter(), begin) for begin in (3, 7, 11, 18))):
            assert told == rows[-len(told) :]
    assert sorted(each for each in stream.asked if each < 60) == [3, 7, 10, 11, 18, 20, 30, 40, 50]


async def test_of_history_only_the_namespace_that_is_wanted_is_read(stream: Stream) -> None:
    rows = rows_of_one_change(1, [("orders", "node-a")] * 500 + [("billing", "node-a")] * 3)
    stream.put(*rows)
    async with live_feed(stream, stream, LIMITS) as feed:
        assert await heard(feed, BILLING) == rows[500:]
        assert await heard(feed, DiffFilter(shards=ShardFilter(namespace="billing"))) == rows[500:]
    assert set(stream.asked) <= {0, 503}


async def heard(feed: LiveFeed, where: DiffFilter, begin: int = 0) -> list[ShardDiff]:
    """Everything from there to the head."""
    told: list[ShardDiff] = []
    async with aclosing(feed.follow(StreamPosition("one", begin), where)) as batches:
        async for batch in batches:
            told += batch.diffs
            if batch.caught_up:
                break
    return told
