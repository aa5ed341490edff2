"""All changes as they are committed, those of nodes, plans and rules among them: the stream of changes.

Followers wait for the feed to hear of a newer change, which it does by the same signal and poll as of diffs. What is
new is read once for all of them, when the first one needs it; without followers nothing is read. One that is behind
what is held reads pages of its own. Changes are never compacted, so there is no position that is too old.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from persistence.errors import EpochMismatch, StoreError
from persistence.feed.subscriber import SubscriberPosition
from persistence.feed.tailer import DEFAULT_LIMITS, FeedLimits
from persistence.model.paging import PageRequest
from persistence.model.queries import ChangeFilter, DiffFilter
from persistence.model.records import NO_CHANGE, Change, ChangeMark, StreamPosition
from persistence.model.stream import CommittedChange, DiffBatch
from persistence.ports.feed import ChangeStream
from persistence.ports.readers import ChangeReader

if TYPE_CHECKING:
    from persistence.feed.live import NewestChange

HELD: Final = 1_000
"""Changes that are held for those who keep up; most have less than a kilobyte."""


class HeadFeed(Protocol):
    """What this process has received of changes."""

    @property
    def newest(self) -> NewestChange: ...

    @property
    def changed(self) -> asyncio.Event: ...

    async def same_epoch(self, epoch: str) -> None: ...


class LiveChanges:
    """Of one process. A position has the id of a change as its revision. Needs no task of its own."""

    def __init__(
        self, changes: ChangeReader, stream: ChangeStream, feed: HeadFeed, limits: FeedLimits = DEFAULT_LIMITS
    ) -> None:
        self._changes = changes
        self._stream = stream
        self._feed = feed
        self._limits = limits
        self._held: deque[Change] = deque(maxlen=HELD)
        """Without a gap, oldest first, of the stream `_epoch`."""
        self._epoch = ""
        # Of what is new, and of what is older than what is held: followers that are behind, each at a position of its
        # own, do not make those wait that keep up.
        self._reading, self._reading_older = asyncio.Lock(), asyncio.Lock()

    async def begin(self, after: StreamPosition | None) -> StreamPosition:
        """Where following starts: at that position, or (null) at the newest change. Raises EpochMismatch for a position
        of another stream, or one whose change was lost in a failover."""
        mark = NO_CHANGE if after is None else after.mark
        head, _, known = await self._stream.after(0, 0, mark=mark)
        if after is not None and (after.epoch != head.epoch or not known):
            raise EpochMismatch(after.epoch, head.epoch)
        await self._feed.same_epoch(head.epoch)
        return after or _position(head.epoch, head.newest)

    async def follow(self, begin: StreamPosition, where: ChangeFilter) -> AsyncGenerator[DiffBatch, None]:
        """Everything after a position that `begin` gave or a batch led to, once and in order, for ever. The first batch
        comes at once, with or without changes; its items are CommittedChange. Raises EpochMismatch."""
        subscriber = SubscriberPosition(begin, DiffFilter(), self._limits)
        while True:
            changed, newest, position = self._feed.changed, self._feed.newest, subscriber.position
            if newest.epoch != position.epoch:
                raise EpochMismatch(position.epoch, newest.epoch)
            following = await self._after(position) if newest.mark.change_id > position.revision else ()
            if following is None:
                await self._pause(changed, self._limits.poll_seconds)
                continue
            more: Sequence[Change] = following
            reached = _position(position.epoch, more[-1].mark) if more else position
            matched = [CommittedChange(change) for change in more if where.matches(change)]
            now = asyncio.get_running_loop().time()
            subscriber.newest_at = newest.committed_at
            head = max(newest.mark.change_id, reached.revision)
            batch = subscriber.advance(reached, cast("Any", matched), head, now)
            if batch is not None:
                yield batch
            elif not more:
                await self._pause(changed, subscriber.seconds_to_bookmark(now))
            if more:
                await asyncio.sleep(0)

    async def _after(self, position: StreamPosition) -> Sequence[Change] | None:
        """Up to a page of changes that follow; none where there are none yet, null where they cannot be read just now.
        Raises EpochMismatch where the change that the position names is not in history any more."""
        if (held := self._held_after(position)) is not None:
            return held
        async with self._reading_older if self._is_older(position) else self._reading:
            if (held := self._held_after(position)) is not None:
                return held
            try:
                async with asyncio.timeout(self._limits.read_seconds):
                    rows = await self._read(position)
            except (StoreError, TimeoutError):
                return None
        # Its change is read in one snapshot with those that follow it.
        if position.revision and (not rows or rows[0].mark != position.mark):
            raise EpochMismatch(position.epoch, self._feed.newest.epoch)
        self._hold(position.epoch, rows)
        return rows[1:] if position.revision else rows

    async def _read(self, position: StreamPosition) -> Sequence[Change]:
        """The change that the position names, and those that follow."""
        first = position.revision or 1
        page = PageRequest(self._limits.page + 1, after=first - 1 or None)
        return (await self._changes.page(ChangeFilter(), page, newest_first=False)).items

    def _held_after(self, position: StreamPosition) -> Sequence[Change] | None:
        """Null where they are not held, or where none is."""
        if self._epoch != position.epoch or not self._held:
            return None
        index = position.revision - self._held[0].id
        if not 0 <= index < len(self._held) - 1 or self._held[index].mark != position.mark:
            return None
        last = min(index + 1 + self._limits.page, len(self._held))
        return [self._held[at] for at in range(index + 1, last)]

    def _is_older(self, position: StreamPosition) -> bool:
        """Whether what follows is not held because newer changes are."""
        return self._epoch == position.epoch and bool(self._held) and position.revision < self._held[0].id

    def _hold(self, epoch: str, rows: Sequence[Change]) -> None:
        """Those that follow what is held; where they follow with a gap, those in its place."""
        if not rows:
            return
        if self._epoch != epoch or not self._held or rows[0].id > self._held[-1].id + 1:
            self._held.clear()
            self._epoch = epoch
        newest = self._held[-1].id if self._held else 0
        self._held.extend(change for change in rows if change.id > newest)

    @staticmethod
    async def _pause(changed: asyncio.Event, seconds: float) -> None:
        """Until there is a newer change, or `seconds` have passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await changed.wait()


def _position(epoch: str, mark: ChangeMark) -> StreamPosition:
    return StreamPosition(epoch, mark.change_id, mark)


def changes_of(batch: DiffBatch) -> Sequence[Change]:
    """Of a batch that `LiveChanges.follow` gave."""
    return [item.change for item in batch.diffs]
