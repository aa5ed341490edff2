"""The live end of the change stream, shared by all subscribers of a process.

One task is woken by commit signals and by a slow poll, and reads what is new from history: a lost signal costs a poll
interval, never a diff. Subscribers pull at their own pace. One that falls behind the ring reads pages of history until
it has caught up: it costs its socket, a cursor and one page, and delays no other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from datetime import datetime
from typing import Final, NamedTuple, TypeAlias

from persistence.errors import Compacted, EpochMismatch, FutureCursor, FutureRevision, StaleRead, StoreError
from persistence.feed.pages import Pages
from persistence.feed.subscriber import Matching, SubscriberPosition
from persistence.feed.tailer import DEFAULT_LIMITS, Advanced, FeedLimits, Lost, Replaced, Tailer
from persistence.model.queries import DiffFilter
from persistence.model.records import ChangeMark, ShardDiff, StreamPosition
from persistence.model.stream import ChangedShard, DiffBatch, OmittedRange, StreamHead
from persistence.ports.feed import ChangeStream, CommitSignal, Watcher
from persistence.tasks import end

_READ_AT_ONCE: Final = 500
"""Rows of an omitted range."""

_log = logging.getLogger(__name__)

Clock: TypeAlias = Callable[[], float]


def boot_time() -> float:
    """Seconds of a clock that is never set and that goes on while the machine is asleep: time.monotonic stops with
    it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class NewestChange(NamedTuple):
    """`committed_at` is null before the first one."""

    epoch: str
    mark: ChangeMark
    committed_at: datetime | None


class LiveFeed:
    """DiffFeed. `run` must be running, as in `live_feed`.

    Before it goes on from a position, its own or a subscriber's, it compares the change that the position names with
    the history that follows: with the ring, or in the snapshot of the page.
    """

    def __init__(
        self,
        stream: ChangeStream,
        signal: CommitSignal,
        head: StreamHead,
        limits: FeedLimits,
        clock: Clock = boot_time,
    ) -> None:
        """`head` has just been read."""
        self._stream = stream
        self._signal = signal
        self._limits = limits
        self._tailer = Tailer(head, limits)
        self._pages = Pages(stream, limits)
        self._matching = Matching()
        self._watchers: list[Watcher] = []
        self._advanced = asyncio.Event()
        self._changed = asyncio.Event()
        self._interrupted = False
        self._clock = clock
        self._at_end_since = clock()

    @property
    def position(self) -> StreamPosition:
        """Up to where this process has received the stream."""
        return self._tailer.position

    @property
    def newest(self) -> NewestChange:
        """The newest change that this process has heard of."""
        return NewestChange(self.position.epoch, self._tailer.newest, self._tailer.committed_at)

    @property
    def changed(self) -> asyncio.Event:
        """Set when there is a newer change, or another stream; to be taken before `newest` is read."""
        return self._changed

    @property
    def interrupted(self) -> bool:
        """True while the last attempt to read the stream failed."""
        return self._interrupted

    @property
    def fresh(self) -> bool:
        """Whether everything committed `fresh_seconds` ago has been received; false also after this process stood
        still."""
        return self.is_fresh(self._at_end_since)

    def now(self) -> float:
        """Seconds of the feed's clock."""
        return self._clock()

    def is_fresh(self, received: float) -> bool:
        """Whether what lacks what was received then is as fresh as the feed has to be."""
        return self._clock() - received <= self._limits.fresh_seconds

    @property
    def age_seconds(self) -> float:
        """For how long it is not certain that everything committed has been received: a poll's time at most while all
        is well."""
        return self._clock() - self._at_end_since

    @contextmanager
    def watched_by(self, watcher: Watcher) -> Iterator[StreamPosition]:
        """Calls the watcher with everything that follows the position yielded."""
        self._watchers.append(watcher)
        try:
            yield self.position
        finally:
            self._watchers.remove(watcher)

    async def run(self) -> None:
        """Tail the stream until cancelled. Every failure is logged and tried again: a feed that died is silent."""
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
        if self.position.revision >= revision:
            return
        head = (await self._stream.after(revision, 0)).head
        if head.revision < revision:
            raise FutureRevision(revision, head.revision)
        await self._reach(revision)

    async def wait_for_position(self, position: StreamPosition) -> None:
        if position.epoch == self.position.epoch and self._tailer.mark_at(position.revision) == position.mark:
            return
        page = await self._stream.after(position.revision, 0, mark=position.mark)
        _require_known(position, page.head, known=page.known)
        await self.same_epoch(page.head.epoch)
        await self._reach(position.revision)
        self._require_same_history(position)

    async def begin(self, after: StreamPosition | None) -> StreamPosition:
        if after is None:
            head = await self._stream.head()
        else:
            head, _, known = await self._stream.after(after.revision, 0, mark=after.mark)
            _require_servable(after, head, known=known)
        await self.same_epoch(head.epoch)
        return after or head.position

    def follow(self, begin: StreamPosition, where: DiffFilter) -> AsyncGenerator[DiffBatch, None]:
        return self._follow(begin, where, self._watchers)

    async def read_omitted(self, omitted: OmittedRange) -> AsyncGenerator[Sequence[ChangedShard | ShardDiff], None]:
        """All of it, once and in order, for a watcher. Raises EpochMismatch when it is not part of the stream any more,
        and Compacted."""
        position = StreamPosition(self.position.epoch, omitted.first - 1, omitted.mark)
        while position.revision < omitted.last:
            self._require_same_history(StreamPosition(position.epoch, omitted.last, omitted.mark))
            try:
                async with asyncio.timeout(self._limits.read_seconds):
                    rows = await self._stream.rest_of_change(omitted, position.revision, _READ_AT_ONCE)
            except (StoreError, TimeoutError):
                await asyncio.sleep(self._limits.poll_seconds)
                continue
            if not rows or rows[-1].revision - position.revision != len(rows):
                break
            yield rows
            position = position._replace(revision=rows[-1].revision)
        else:
            return
        async with aclosing(self._follow(position, DiffFilter(), ())) as batches:
            async for batch in batches:
                yield [diff for diff in batch.diffs if diff.revision <= omitted.last]
                if batch.position.revision >= omitted.last:
                    return

    async def _follow(
        self, begin: StreamPosition, where: DiffFilter, watchers: Sequence[Watcher]
    ) -> AsyncGenerator[DiffBatch, None]:
        subscriber = SubscriberPosition(begin, where, self._limits)
        while True:
            advanced, matching, position = self._advanced, self._matching, subscriber.position
            self._require_same_history(position)
            omitted = self._tailer.ring.omitted_after(position.revision)
            if omitted is not None and not where.may_match_in(omitted.namespaces):
                subscriber.skip_to(StreamPosition(position.epoch, omitted.last, omitted.mark))
                continue
            following = self._tailer.after(position) or await self._read_after(position, where)
            if following is None:
                await self._pause(advanced, self._limits.poll_seconds)
                continue
            diffs, reached = following
            now = asyncio.get_running_loop().time()
            head, matched = self._tailer.position.revision, matching.select(where, diffs)
            subscriber.newest_at = self._tailer.committed_at
            batch = subscriber.advance(reached, matched, head, now)
            if batch is not None:
                for watcher in watchers:
                    if watcher.lags_behind(batch.diffs):
                        await watcher.pass_by(batch.diffs)
                yield batch
            elif reached == position:
                ahead = reached.revision > self._tailer.position.revision
                seconds = subscriber.seconds_to_bookmark(now)
                await self._pause(advanced, min(seconds, self._limits.poll_seconds) if ahead else seconds)
            if reached.revision < self._tailer.position.revision:
                # More follows at once, and nothing on the way to it need suspend: other tasks run here.
                await asyncio.sleep(0)

    async def _advance(self) -> None:
        """Receive everything new."""
        newest = self.newest
        try:
            await self._receive()
        finally:
            if self.newest != newest:
                changed, self._changed = self._changed, asyncio.Event()
                changed.set()

    async def _receive(self) -> None:
        more = True
        while more:
            began = self._clock()
            # Without it, a peer that vanished behind a firewall holds the feed until the driver's longer timeout.
            async with asyncio.timeout(self._limits.read_seconds):
                page = await self._stream.after(
                    self._tailer.position.revision, self._limits.page, mark=self._tailer.newest
                )
            match self._tailer.receive(page):
                case Lost(seen, newest, head):
                    _log.error(
                        "change %d, seen at revision %d, is not in the store's history any more, which now ends with "
                        "change %d at revision %d: changes were lost in a failover, or an older copy was put in place. "
                        "The stream is given a new epoch, and all subscribers list again",
                        newest.change_id, seen.revision, head.newest.change_id, head.revision,
                    )  # fmt: skip
                    await self._stream.renew(head.epoch)
                case Replaced(position):
                    _log.warning(
                        "the stream was replaced (epoch %s, revision %d); starting anew",
                        position.epoch,
                        position.revision,
                    )
                    self._at_end_since = began
                    self._matching = Matching()
                    for watcher in self._watchers:
                        watcher.replaced(position)
                    self._wake()
                    more = False
                case Advanced(diffs, omitted, more):
                    if diffs:
                        for watcher in self._watchers:
                            watcher.advanced(self._tailer.position, diffs, omitted)
                        self._wake()
                    if self._tailer.position.revision == page.head.revision:
                        self._at_end_since = began

    def _wake(self) -> None:
        advanced, self._advanced = self._advanced, asyncio.Event()
        advanced.set()

    async def _read_after(
        self, position: StreamPosition, where: DiffFilter
    ) -> tuple[Sequence[ShardDiff], StreamPosition] | None:
        """What follows the position in history, all that could match, and how far that goes; null when that cannot be
        read just now. Also for a position that is ahead of the tailer: whether that is the future, or was lost, the
        database answers."""
        try:
            page = await self._pages.after(position, where.only_namespace)
        except (StoreError, TimeoutError):
            return None
        _require_servable(position, page.head, known=page.known)
        return page.diffs, page.reached

    async def _reach(self, revision: int) -> None:
        """Raises StaleRead."""
        try:
            async with asyncio.timeout(self._limits.catch_up_seconds):
                while self.position.revision < revision:
                    await self._advanced.wait()
        except TimeoutError:
            raise StaleRead(revision, self.position.revision) from None

    def _require_same_history(self, position: StreamPosition) -> None:
        """Raises EpochMismatch if what is held shows that the position is of another history: the database may have
        lost its end before the feed had come there, and then has other changes for the same revisions."""
        held, epoch = self._tailer.mark_at(position.revision), self._tailer.position.epoch
        if position.epoch != epoch or held not in {None, position.mark}:
            raise EpochMismatch(position.epoch, epoch)

    async def same_epoch(self, epoch: str) -> None:
        """Until the feed has noticed, at the next poll, that the store was replaced. Returns after `catch_up_seconds`
        anyway."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.catch_up_seconds):
                while epoch != self.position.epoch:
                    await self._advanced.wait()

    @staticmethod
    async def _pause(advanced: asyncio.Event, seconds: float) -> None:
        """Until the feed has advanced, or `seconds` have passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await advanced.wait()


@asynccontextmanager
async def live_feed(
    stream: ChangeStream, signal: CommitSignal, limits: FeedLimits = DEFAULT_LIMITS, clock: Clock = boot_time
) -> AsyncIterator[LiveFeed]:
    """A feed that begins at the current head, with a task of its own that ends with the context."""
    feed = LiveFeed(stream, signal, await stream.head(), limits, clock)
    task = asyncio.create_task(feed.run(), name="omnirelay-feed")
    try:
        yield feed
    finally:
        await end(task)


def _require_servable(position: StreamPosition, head: StreamHead, *, known: bool) -> None:
    """Raises EpochMismatch, FutureCursor or Compacted for a position that cannot be resumed from."""
    _require_known(position, head, known=known)
    if position.revision < head.floor:
        raise Compacted(position.revision, head.floor)


def _require_known(position: StreamPosition, head: StreamHead, *, known: bool) -> None:
    """Raises EpochMismatch or FutureCursor for a position that is not in history. `known`: its change is."""
    if position.epoch != head.epoch or not known:
        raise EpochMismatch(position.epoch, head.epoch)
    if position.revision > head.revision:
        raise FutureCursor(position.revision, head.revision)
