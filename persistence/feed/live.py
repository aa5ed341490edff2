"""The live end of the change stream, for every subscriber of a process.

A task is woken by commit signals and by a slow poll, and reads what is new from history: a lost signal costs a poll
interval, never a diff. Subscribers pull at their own pace. One that falls behind the ring reads pages of history until
it has caught up: it costs its socket, a cursor and one page, and delays nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Protocol

from persistence.errors import (
    Compacted,
    EpochMismatch,
    FutureCursor,
    PositionUnavailable,
    StaleRead,
    StoreError,
)
from persistence.feed.limits import DEFAULT_LIMITS, FeedLimits
from persistence.feed.matching import Matching
from persistence.feed.pages import Pages
from persistence.feed.place import Place
from persistence.feed.ring import Stretch
from persistence.feed.tailer import Advanced, Replaced, Tailer, WentBack
from persistence.ports import ChangeStream, CommitSignal, DiffBatch, DiffFilter, StreamHead
from persistence.records import ShardDiff, StreamPosition

_log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Something of this process that keeps up with the feed itself: it is told first, so it is never behind. What it
    raises is a defect: it is logged, and subscribers hear of those diffs a poll later."""

    def advanced(self, position: StreamPosition, diffs: Sequence[ShardDiff], left_out: Stretch | None) -> None:
        """These came next, and then a stretch that is to be read with `follow`; they lead to `position`."""
        ...

    def replaced(self, position: StreamPosition) -> None:
        """Another stream takes over at `position`; nothing learned from the old one holds."""
        ...


class LiveFeed:
    """DiffFeed. `run` must be running; `live_feed` sees to it."""

    def __init__(self, stream: ChangeStream, signal: CommitSignal, head: StreamHead, limits: FeedLimits) -> None:
        self._stream = stream
        self._signal = signal
        self._limits = limits
        self._tailer = Tailer(head, limits)
        self._pages = Pages(stream, limits)
        self._matching = Matching()
        self._watchers: list[Watcher] = []
        self._moved = asyncio.Event()
        self._interrupted = False

    @property
    def position(self) -> StreamPosition:
        """How far this process has seen."""
        return self._tailer.position

    @property
    def interrupted(self) -> bool:
        """True while the last attempt to read the stream failed."""
        return self._interrupted

    @contextmanager
    def watched_by(self, watcher: Watcher) -> Iterator[StreamPosition]:
        """Tells the watcher of everything from the position on that this gives."""
        self._watchers.append(watcher)
        try:
            yield self.position
        finally:
            self._watchers.remove(watcher)

    async def run(self) -> None:
        """Tail the stream until cancelled. Whatever fails is logged and tried again: a feed that died is silent."""
        while True:
            try:
                await self._advance()
                self._interrupted = False
            except (StoreError, TimeoutError) as error:
                if not self._interrupted:
                    _log.warning(
                        "the change feed is interrupted, subscribers wait: %s", str(error) or "no answer in time"
                    )
                self._interrupted = True
            except Exception:  # noqa: BLE001 - see above; it is logged with its traceback
                _log.exception("the change feed met something it should not have; trying again")
                self._interrupted = True
            # Not `wait_for`: before Python 3.12 it swallows a cancellation that meets a hint, and this task never ends.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._limits.poll_seconds):
                    await self._signal.wait()

    async def wait_for(self, revision: int) -> None:
        try:
            async with asyncio.timeout(self._limits.catch_up_seconds):
                while self.position.revision < revision:
                    await self._moved.wait()
        except TimeoutError:
            raise StaleRead(revision, self.position.revision) from None

    async def begin(self, after: StreamPosition | None) -> StreamPosition:
        head = await self._stream.head()
        if after is not None:
            _require_servable(after, head)
        await self._same_epoch(head)
        return after or head.position

    async def follow(self, begin: StreamPosition, where: DiffFilter) -> AsyncGenerator[DiffBatch, None]:
        place = Place(begin, where, self._limits)
        while True:
            moved, matching = self._moved, self._matching
            self._require_epoch(place.position.epoch)
            left_out = self._tailer.ring.left_out_after(place.position.revision)
            if left_out is not None and not where.wants_any_of(left_out.namespaces):
                place.go_past(left_out.last)
                continue
            following = await self._next(place.position, where)
            if following is None:
                await self._pause(moved, self._limits.poll_seconds)
                continue
            diffs, reached = following
            now, before = asyncio.get_running_loop().time(), place.position.revision
            batch = place.advance(reached, matching.wanted(where, diffs), self.position.revision, now)
            if batch is not None:
                yield batch
            elif reached == before:
                await self._pause(moved, place.patience(now))
            if reached < self.position.revision:
                # There is more at once, and perhaps nothing else on the way that waits: others get their turn.
                await asyncio.sleep(0)

    async def _advance(self) -> None:
        """Read everything new."""
        more = True
        while more:
            head, diffs = await self._pages.newest(self.position.revision)
            match self._tailer.receive(head, diffs):
                case WentBack(seen, head):
                    _log.error("the stream went back from revision %d to %d", seen, head.revision)
                    await self._stream.renew(head.epoch)
                case Replaced(position):
                    _log.warning("the stream was replaced (epoch %s, revision %d); starting anew", *position)
                    self._matching = Matching()
                    for watcher in self._watchers:
                        watcher.replaced(position)
                    self._wake()
                    more = False
                case Advanced(diffs, left_out, more):
                    if diffs:
                        for watcher in self._watchers:
                            watcher.advanced(self.position, diffs, left_out)
                        self._wake()

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def _next(self, position: StreamPosition, where: DiffFilter) -> tuple[Sequence[ShardDiff], int] | None:
        """What follows the position, all that could be wanted, and how far that goes: from the ring or else from
        history; null when that cannot be read just now."""
        held = self._tailer.ring.after(position.revision, self._limits.to_page_end(position.revision))
        if held is not None:
            return held, held[-1].revision if held else position.revision
        try:
            page = await self._pages.after(position, where.only_namespace)
        except (StoreError, TimeoutError):
            return None
        _require_servable(position, page.head)
        return page.diffs, page.reached

    def _require_epoch(self, epoch: str) -> None:
        if epoch != self.position.epoch:
            raise EpochMismatch(epoch, self.position.epoch)

    async def _same_epoch(self, head: StreamHead) -> None:
        """Until the feed has noticed that the store was replaced, which a poll tells it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.catch_up_seconds):
                while head.epoch != self.position.epoch:
                    await self._moved.wait()

    @staticmethod
    async def _pause(moved: asyncio.Event, seconds: float) -> None:
        """Until the feed moves on, or `seconds` have passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await moved.wait()


@asynccontextmanager
async def live_feed(
    stream: ChangeStream, signal: CommitSignal, limits: FeedLimits = DEFAULT_LIMITS
) -> AsyncIterator[LiveFeed]:
    """A feed that begins at the current head, with a task of its own that ends with the context."""
    feed = LiveFeed(stream, signal, await stream.head(), limits)
    task = asyncio.create_task(feed.run(), name="omnirelay-feed")
    try:
        yield feed
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _require_servable(position: StreamPosition, head: StreamHead) -> None:
    """Raises what is wrong with resuming at `position`."""
    refusal: PositionUnavailable | None = None
    if position.epoch != head.epoch:
        refusal = EpochMismatch(position.epoch, head.epoch)
    elif position.revision > head.revision:
        refusal = FutureCursor(position.revision, head.revision)
    elif position.revision < head.floor:
        refusal = Compacted(position.revision, head.floor)
    if refusal is not None:
        raise refusal
