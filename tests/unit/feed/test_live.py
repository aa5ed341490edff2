"""What the driver adds to the state machines: turns for all, and no diff of one stream for another's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest

from persistence.errors import EpochMismatch, FutureRevision, StoreUnavailable
from persistence.feed.live import LiveFeed, live_feed
from persistence.feed.tailer import FeedLimits
from persistence.model.queries import DiffFilter, ShardFilter
from persistence.model.records import NO_CHANGE, UNMARKED, ChangeMark, ShardDiff, StreamPosition
from persistence.model.stream import ChangedShard, DiffBatch, OmittedRange, StreamHead, StreamPage
from tests.support.rows import HISTORY, history_row, position, rows_of_one_change

LIMITS = FeedLimits(ring=1_000, page=10, bookmark_seconds=3_600.0, poll_seconds=60.0)
BILLING = DiffFilter(namespace="billing")


class Stream:
    """A ChangeStream and its CommitSignal. What is read after the position `held` is kept back."""

    def __init__(self) -> None:
        self.epoch = "one"
        self.rows: list[ShardDiff] = []
        self.let_go = asyncio.Event()
        self.holding = asyncio.Event()
        self.held: tuple[str, int] | None = None
        self.asked: list[int] = []
        self.failing: list[Exception] = []
        self._committed = asyncio.Event()

    async def head(self) -> StreamHead:
        mark = self.rows[-1].change.mark if self.rows else NO_CHANGE
        return StreamHead(self.epoch, len(self.rows), 0, mark, mark)

    async def oldest_at(self) -> None:
        raise NotImplementedError

    async def renew(self, epoch: str) -> None:
        if epoch == self.epoch:
            self.epoch = f"after {epoch}"
            self._committed.set()

    async def position_at(self, revision: int) -> StreamPosition:
        raise NotImplementedError

    async def after(
        self, revision: int, limit: int, namespace: str | None = None, *, mark: ChangeMark = NO_CHANGE
    ) -> StreamPage:
        self.asked.append(revision)
        rows = [row for row in self.rows[revision:] if namespace in {None, row.namespace}]
        known = mark == NO_CHANGE or mark in {row.change.mark for row in self.rows}
        answer = StreamPage(await self.head(), rows[:limit], known)
        if self.held == (self.epoch, revision):
            self.holding.set()
            await self.let_go.wait()
        return answer

    async def rest_of_change(self, omitted: OmittedRange, revision: int, limit: int) -> Sequence[ChangedShard]:
        if self.failing:
            raise self.failing.pop()
        rows = [row for row in self.rows[revision : omitted.last] if row.change.mark == omitted.mark]
        return [ChangedShard(row.revision, row.namespace, row.shard_id, row.current) for row in rows[:limit]]

    async def wait(self) -> None:
        await self._committed.wait()
        self._committed.clear()

    def put(self, *rows: ShardDiff) -> None:
        self.rows += rows
        self._committed.set()

    def lose(self, kept: int, *rows: ShardDiff) -> None:
        """A failover in which all but the first `kept` were lost, and these were committed since."""
        self.rows = [*self.rows[:kept], *rows]
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


async def test_one_that_reads_a_long_range_lets_others_have_their_turn(stream: Stream, feed: LiveFeed) -> None:
    stream.put(*(history_row(revision) for revision in range(1, 501)))
    await feed.wait_for(500)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    async with aclosing(feed.follow(position(0), DiffFilter())) as batches:
        async for batch in batches:
            if batch.caught_up:
                break
    task.cancel()
    assert turns >= 49


async def test_a_page_of_a_stream_that_was_replaced_meanwhile_is_not_taken_for_one_of_the_new(stream: Stream) -> None:
    """Revisions 1 and 2 are another thing in each, and older than the ring in both."""
    start = position(0)
    stream.put(*(history_row(revision, owner="node-old") for revision in (1, 2)))
    stream.held = "one", 0
    async with live_feed(stream, stream, LIMITS) as feed, aclosing(feed.follow(start, BILLING)) as old:
        reading = asyncio.ensure_future(anext(old))
        await stream.holding.wait()
        stream.replace(*(history_row(revision, owner="node-new") for revision in (1, 2)))
        for _ in range(20):  # turns of the loop: more than the feed needs to notice
            await asyncio.sleep(0)
        assert feed.position.epoch == "two"
        stream.let_go.set()
        assert owners(await reading) == ["node-old", "node-old"]
        async with aclosing(feed.follow(position(0, "two"), BILLING)) as new:
            assert owners(await anext(new)) == ["node-new", "node-new"]
        with pytest.raises(EpochMismatch):
            await anext(old)


def owners(batch: DiffBatch) -> list[str]:
    return [diff.current.owner_node_id for diff in batch.diffs if diff.current is not None]


async def test_who_follows_another_namespace_does_not_wait_for_a_long_change(stream: Stream, feed: LiveFeed) -> None:
    """Nothing of it is read but the page it begins with, and nothing can be."""
    stream.held = "one", 10
    stream.put(*rows_of_one_change(1, [("orders", "node-a")] * 5_000), history_row(5_001, namespace="billing"))
    async with asyncio.timeout(10), aclosing(feed.follow(position(0), BILLING)) as batches:
        told = await anext(batches)
        while not told.diffs:
            told = await anext(batches)
    assert (told.position.revision, [diff.revision for diff in told.diffs]) == (5_001, [5_001])
    assert not stream.holding.is_set()


async def test_who_follows_its_namespace_is_told_all_of_it(stream: Stream, feed: LiveFeed) -> None:
    rows = [*rows_of_one_change(1, [("billing", "node-a")] * 95), history_row(96, namespace="billing")]
    stream.put(*rows)
    await feed.wait_for(96)
    assert await received(feed, BILLING) == rows


class Lagging:
    """A Watcher that shows what came after a revision when the test lets it."""

    def __init__(self, shown: int) -> None:
        self.shown = shown
        self.caught_up = asyncio.Event()
        self.waiting = asyncio.Event()
        self.waited_for: list[int] = []

    def advanced(self, position: StreamPosition, diffs: Sequence[ShardDiff], omitted: OmittedRange | None) -> None: ...

    def replaced(self, position: StreamPosition) -> None: ...

    def lags_behind(self, diffs: Sequence[ShardDiff]) -> bool:
        return any(diff.revision > self.shown for diff in diffs) and not self.caught_up.is_set()

    async def pass_by(self, diffs: Sequence[ShardDiff]) -> None:
        self.waited_for.append(diffs[0].revision)
        self.waiting.set()
        await self.caught_up.wait()


async def test_subscribers_are_sent_nothing_that_a_watcher_does_not_show_yet(stream: Stream, feed: LiveFeed) -> None:
    """A client that is sent a change must not look the shard up and see it as it was. Each diff comes once."""
    rows = rows_of_one_change(1, [("billing", "node-a")] * 95)
    watcher = Lagging(20)
    with feed.watched_by(watcher):
        stream.put(*rows)
        await feed.wait_for(95)
        async with aclosing(feed.follow(position(0), BILLING)) as batches:
            told = [*(await anext(batches)).diffs, *(await anext(batches)).diffs]
            assert told == rows[:20]
            waiting = asyncio.ensure_future(anext(batches))
            await watcher.waiting.wait()
            assert not waiting.done()
            watcher.caught_up.set()
            told += (await waiting).diffs
            while len(told) < 95:
                told += (await anext(batches)).diffs
            assert told == rows
            assert watcher.waited_for == [21]


@pytest.mark.parametrize("compacted", [False, True])
async def test_a_watcher_reads_what_is_omitted_without_what_it_has_no_use_for(
    stream: Stream, feed: LiveFeed, monkeypatch: pytest.MonkeyPatch, *, compacted: bool
) -> None:
    """Where not all of it comes so, it is read as others read it."""
    rows = rows_of_one_change(1, [("billing", "node-a")] * 95)
    stream.put(*rows, history_row(96, namespace="billing"))
    await feed.wait_for(96)
    omitted = OmittedRange(11, 95, frozenset({"billing"}), rows[0].change.mark)
    stream.failing = [StoreUnavailable("away")]
    monkeypatch.setattr("persistence.feed.live._READ_AT_ONCE", 20)
    monkeypatch.setattr(feed, "_limits", replace(LIMITS, poll_seconds=0.0))
    if compacted:
        rest = stream.rest_of_change

        async def without_one(omitted: OmittedRange, revision: int, limit: int) -> Sequence[ChangedShard]:
            return [row for row in await rest(omitted, revision, limit) if row.revision != 45]

        monkeypatch.setattr(stream, "rest_of_change", without_one)
    read: list[ChangedShard | ShardDiff] = []
    async with aclosing(feed.read_omitted(omitted)) as slices:
        async for found in slices:
            read += found
    assert [(row.revision, row.current) for row in read] == [(row.revision, row.current) for row in rows[10:]]
    assert {type(row) for row in read} == ({ChangedShard, ShardDiff} if compacted else {ChangedShard})


async def test_what_is_omitted_and_then_lost_is_not_read(stream: Stream, feed: LiveFeed) -> None:
    rows = rows_of_one_change(1, [("billing", "node-a")] * 95)
    stream.put(*rows)
    await feed.wait_for(95)
    omitted = OmittedRange(11, 95, frozenset({"billing"}), rows[0].change.mark)
    other = OmittedRange(11, 95, frozenset({"billing"}), ChangeMark(7, b"of other"))
    with pytest.raises(EpochMismatch):
        await anext(feed.read_omitted(other))
    stream.lose(0, *rows_of_one_change(1, [("billing", "node-b")] * 95, history="lost"))
    with pytest.raises(EpochMismatch):
        await anext(feed.read_omitted(omitted))


async def test_a_page_of_history_is_read_once_for_all_who_ask_for_it(stream: Stream, feed: LiveFeed) -> None:
    rows = rows_of_one_change(1, [("billing", "node-a")] * 95)
    stream.put(*rows)
    await feed.wait_for(95)
    for where in (BILLING, DiffFilter()):
        stream.asked.clear()
        for told in await asyncio.gather(*(received(feed, where) for _ in range(10))):
            assert told == rows
        assert sorted(stream.asked) == [10, 20, 30, 40, 50, 60, 70, 80, *[90] * 10]  # the last one is not full


async def test_those_that_come_back_from_different_positions_soon_read_the_same_pages(stream: Stream) -> None:
    rows = rows_of_one_change(1, [("billing", "node-a")] * 60)
    stream.put(*rows)
    async with live_feed(stream, stream, LIMITS) as feed:
        begins = (StreamPosition("one", revision, rows[0].change.mark) for revision in (3, 7, 11, 18))
        for told in await asyncio.gather(*(received(feed, DiffFilter(), begin) for begin in begins)):
            assert told == rows[-len(told) :]
    assert sorted(each for each in stream.asked if each < 60) == [3, 7, 10, 11, 18, 20, 30, 40, 50]


async def test_of_history_only_the_namespace_that_is_wanted_is_read(stream: Stream) -> None:
    rows = rows_of_one_change(1, [("orders", "node-a")] * 500 + [("billing", "node-a")] * 3)
    stream.put(*rows)
    async with live_feed(stream, stream, LIMITS) as feed:
        assert await received(feed, BILLING) == rows[500:]
        assert await received(feed, DiffFilter(shards=ShardFilter(namespace="billing"))) == rows[500:]
    assert set(stream.asked) <= {0, 503}


async def test_a_feed_whose_last_change_is_gone_gives_the_stream_a_new_epoch(
    stream: Stream, feed: LiveFeed, caplog: pytest.LogCaptureFixture
) -> None:
    """Although other changes have its revisions by the time it reads on."""
    stream.put(*(history_row(revision) for revision in range(1, 6)))
    await feed.wait_for(5)
    async with aclosing(feed.follow(position(2), DiffFilter())) as batches:
        assert (await anext(batches)).position == position(5)
        stream.lose(3, *(history_row(revision, history="another") for revision in range(4, 9)))
        with pytest.raises(EpochMismatch):
            await anext(batches)
    assert feed.position == position(8, "after one", "another")
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "change 5, seen at revision 5" in caplog.text


async def test_a_feed_that_lost_nothing_goes_on_and_so_do_its_subscribers(stream: Stream, feed: LiveFeed) -> None:
    """What it had not read of the lost end is not missed by it."""
    stream.put(*(history_row(revision) for revision in range(1, 6)))
    await feed.wait_for(5)
    async with aclosing(feed.follow(position(5), DiffFilter())) as batches:
        assert (await anext(batches)).position == position(5)
        stream.lose(5, history_row(6, history="another"))
        assert [diff.revision for diff in (await anext(batches)).diffs] == [6]
    assert feed.position == position(6, "one", "another")


async def test_one_that_has_received_more_than_the_feed_before_that_was_lost_is_refused_when_the_feed_comes_by(
    stream: Stream, feed: LiveFeed
) -> None:
    """The feed has lost nothing, and revisions follow: only the change of the revision is another."""
    stream.put(*(history_row(revision) for revision in range(1, 6)))
    await feed.wait_for(5)
    stream.rows += [history_row(6), history_row(7)]  # without a signal, so the feed has not read them
    ahead = await feed.begin(position(7))
    async with aclosing(feed.follow(ahead, DiffFilter())) as batches:
        assert await anext(batches) == DiffBatch(ahead, [], caught_up=True)
        stream.lose(5, *(history_row(revision, history="another") for revision in range(6, 10)))
        with pytest.raises(EpochMismatch, match="is not in stream one"):
            await anext(batches)
    await feed.wait_for(9)
    assert feed.position == position(9, "one", "another")


async def test_one_that_has_received_more_than_there_is_now_is_refused_although_nothing_follows(stream: Stream) -> None:
    async with live_feed(stream, stream, replace(LIMITS, poll_seconds=0.01)) as feed:
        stream.put(*(history_row(revision) for revision in range(1, 6)))
        await feed.wait_for(5)
        stream.rows.append(history_row(6))
        ahead = await feed.begin(position(6))
        stream.lose(5)
        async with aclosing(feed.follow(ahead, DiffFilter())) as batches:
            with pytest.raises(EpochMismatch):
                await anext(batches)
    assert feed.position == position(5)


async def test_a_position_whose_change_was_lost_is_refused_and_one_before_it_is_served(stream: Stream) -> None:
    rows = [history_row(revision, history="another" if revision > 3 else HISTORY) for revision in range(1, 9)]
    stream.put(*rows)
    async with live_feed(stream, stream, LIMITS) as feed:
        for lost in (position(4), position(8), position(9), position(3)._replace(mark=UNMARKED)):
            with pytest.raises(EpochMismatch, match="is not in stream one"):
                await feed.begin(lost)
        assert await received(feed, DiffFilter(), await feed.begin(position(3))) == rows[3:]


async def test_a_page_of_history_that_is_another_one_is_refused_each_time(stream: Stream) -> None:
    rows = [history_row(revision, history="another") for revision in range(1, 31)]
    stream.put(*rows)
    async with live_feed(stream, stream, LIMITS) as feed:
        for _ in range(2):
            async with aclosing(feed.follow(position(4), DiffFilter())) as batches:
                with pytest.raises(EpochMismatch):
                    await anext(batches)


async def test_waiting_for_a_revision_that_the_store_does_not_have_is_refused_at_once(
    stream: Stream, feed: LiveFeed
) -> None:
    stream.put(history_row(1))
    await feed.wait_for(1)
    with pytest.raises(FutureRevision) as refused:
        await feed.wait_for(2)
    assert (refused.value.requested, refused.value.head) == (2, 1)


async def test_waiting_for_a_position_ends_when_the_feed_has_come_there(stream: Stream, feed: LiveFeed) -> None:
    stream.rows += [history_row(1), history_row(2)]
    waiting = asyncio.create_task(feed.wait_for_position(position(2)))
    await asyncio.sleep(0)
    assert not waiting.done()
    stream.put()
    await waiting
    assert feed.position == position(2)
    asked = len(stream.asked)
    await feed.wait_for_position(position(1))
    assert len(stream.asked) == asked


async def test_waiting_for_a_position_that_was_lost_is_refused_however_far_the_feed_is(
    stream: Stream, feed: LiveFeed
) -> None:
    stream.put(*(history_row(revision, history="another") for revision in range(1, 6)))
    await feed.wait_for(5)
    for foreign in (position(3), position(9), position(3, "two", "another")):
        with pytest.raises(EpochMismatch):
            await feed.wait_for_position(foreign)


async def test_a_feed_is_fresh_for_a_while_after_it_has_read_to_the_end(stream: Stream) -> None:
    now = 100.0
    feed = LiveFeed(stream, stream, await stream.head(), LIMITS, lambda: now)
    task = asyncio.create_task(feed.run())
    try:
        known = []
        for passed in (LIMITS.fresh_seconds, 0.1):  # as where the process is stopped: nothing runs
            now += passed
            known.append(feed.fresh)
        stream.put(history_row(1))
        await feed.wait_for(1)
        assert [*known, feed.fresh] == [True, False, True]
    finally:
        task.cancel()


async def test_a_feed_is_as_fresh_as_the_time_it_began_to_read(stream: Stream) -> None:
    """Not as the time it had the answer: that may have waited for the process to go on."""
    now = 100.0
    feed = LiveFeed(stream, stream, await stream.head(), LIMITS, lambda: now)
    stream.held = "one", 0
    task = asyncio.create_task(feed.run())
    try:
        await stream.holding.wait()
        now += LIMITS.fresh_seconds + 0.1
        stream.held = None
        stream.let_go.set()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not feed.fresh
    finally:
        task.cancel()


async def received(feed: LiveFeed, where: DiffFilter, begin: StreamPosition | None = None) -> list[ShardDiff]:
    """Everything from there to the head."""
    told: list[ShardDiff] = []
    async with aclosing(feed.follow(begin or position(0), where)) as batches:
        async for batch in batches:
            told += batch.diffs
            if batch.caught_up:
                break
    return told
