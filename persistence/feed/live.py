"""The live end of the change stream, for every subscriber of a process.

The tailer is woken by commit signals and by a slow poll, and reads what is new from history: a lost signal costs a poll
interval, never a diff. Subscribers pull at their own pace. One that falls behind the ring reads pages of history until
it has caught up: it costs its socket, a cursor and one page, and delays nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from persistence.errors import (
    Compacted,
    EpochMismatch,
    FutureCursor,
    PositionUnavailable,
    StaleRead,
    StoreError,
)
from persistence.feed.ring import Ring
from persistence.ports import ChangeStream, CommitSignal, DiffBatch, DiffFilter, StreamHead
from persistence.records import ShardDiff, StreamPosition

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FeedLimits:
    """`ring` and `page` count diffs; `bookmark_seconds` is how long an idle subscriber goes without a sign of life.

    A page is decoded in one go, a millisecond for every twenty rows, in which the process answers nobody.
    """

    ring: int = 16_384
    page: int = 100
    poll_seconds: float = 1.0
    bookmark_seconds: float = 10.0
    catch_up_seconds: float = 2.0
    read_seconds: float = 10.0


DEFAULT_LIMITS = FeedLimits()


class LiveFeed:
    """DiffFeed. `run` must be running; `live_feed` sees to it."""

    def __init__(self, stream: ChangeStream, signal: CommitSignal, head: StreamHead, limits: FeedLimits) -> None:
        self._stream = stream
        self._signal = signal
        self._limits = limits
        self._epoch = head.epoch
        self._ring = Ring(limits.ring, head.revision)
        self._moved = asyncio.Event()
        self._interrupted = False

    @property
    def position(self) -> StreamPosition:
        """How far this process has seen."""
        return StreamPosition(self._epoch, self._ring.end)

    @property
    def interrupted(self) -> bool:
        """True while the last attempt to read the stream failed."""
        return self._interrupted

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
                while self._ring.end < revision:
                    await self._moved.wait()
        except TimeoutError:
            raise StaleRead(revision, self._ring.end) from None

    async def follow(self, after: StreamPosition | None, where: DiffFilter) -> AsyncGenerator[DiffBatch, None]:
        head = await self._stream.head()
        if after is not None:
            _require_servable(after, head)
        await self._same_epoch(head)
        epoch, revision = after or head.position
        told: int | None = None
        due = 0.0
        while True:
            moved = self._moved
            self._require_epoch(epoch)
            diffs = await self._next(epoch, revision)
            if diffs is None:
                await self._pause(moved, self._limits.poll_seconds)
                continue
            if diffs:
                revision = diffs[-1].revision
            wanted = [diff for diff in diffs if where.matches(diff)]
            # Bookmarks: one at once, so that the client holds a cursor; then whenever it has heard nothing for a while
            # or a long stretch was filtered out, so that resuming need not read that stretch again.
            now = asyncio.get_running_loop().time()
            if wanted or told is None or now >= due or revision - told >= self._limits.page:
                yield DiffBatch(StreamPosition(epoch, revision), wanted, caught_up=revision >= self._ring.end)
                told = revision
                due = now + self._limits.bookmark_seconds
            elif not diffs:
                await self._pause(moved, due - now)

    async def _advance(self) -> None:
        """Read everything new into the ring."""
        while True:
            head, diffs = await self._read(self._ring.end)
            if head.epoch == self._epoch and head.revision < self._ring.end:
                # Revisions that were seen are gone: an older copy was put in place, and may issue them once more.
                _log.error("the stream went back from revision %d to %d", self._ring.end, head.revision)
                await self._stream.renew(head.epoch)
                continue
            if head.epoch != self._epoch or head.floor > self._ring.end:
                _log.warning("the stream was replaced (epoch %s, revision %d); starting anew", *head.position)
                self._epoch = head.epoch
                self._ring = Ring(self._limits.ring, head.revision)
                self._wake()
                return
            if not diffs:
                return
            self._ring.extend(diffs)
            self._wake()
            if self._ring.end >= head.revision:
                return

    async def _read(self, revision: int) -> tuple[StreamHead, Sequence[ShardDiff]]:
        # A peer that vanished behind a firewall would otherwise hold the feed until the driver's own, longer timeout.
        async with asyncio.timeout(self._limits.read_seconds):
            return await self._stream.after(revision, self._limits.page)

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def _next(self, epoch: str, revision: int) -> Sequence[ShardDiff] | None:
        """What follows `revision`, from the ring or else from history; null when history cannot be read just now."""
        held = self._ring.after(revision, self._limits.page)
        if held is not None:
            return held
        try:
            head, diffs = await self._read(revision)
        except (StoreError, TimeoutError):
            return None
        _require_servable(StreamPosition(epoch, revision), head)
        return diffs

    def _require_epoch(self, epoch: str) -> None:
        if epoch != self._epoch:
            raise EpochMismatch(epoch, self._epoch)

    async def _same_epoch(self, head: StreamHead) -> None:
        """Until the tailer has noticed that the store was replaced, which a poll tells it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.catch_up_seconds):
                while head.epoch != self._epoch:
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
