"""One subscriber's place in the stream as a passive state machine. Pure: no I/O, and the time is given to it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from persistence.feed.tailer import FeedLimits
from persistence.model.queries import DiffFilter
from persistence.model.records import ShardDiff, StreamPosition
from persistence.model.stream import DiffBatch


class SubscriberPosition:
    """Goes forward over every diff, and tells the subscriber of those it wants.

    Beside them it tells bookmarks: one at once, so that the client holds a cursor; then whenever the subscriber has
    heard nothing for a while or a long stretch was filtered out, so that resuming need not read that stretch again.
    """

    def __init__(self, position: StreamPosition, where: DiffFilter, limits: FeedLimits) -> None:
        self.position = position
        self.where = where
        self._limits = limits
        self._told: int | None = None
        self._due = 0.0

    def advance(self, position: StreamPosition, wanted: Sequence[ShardDiff], head: int, now: float) -> DiffBatch | None:
        """Go on to that position; `wanted` are all that match of the diffs after the last one and up to there.

        `head` is the newest revision known, `now` the time in seconds. Null if there is nothing to tell.
        """
        self.position = position
        revision = position.revision
        long_silent = self._told is None or now >= self._due or revision - self._told >= self._limits.page
        if not wanted and not long_silent:
            return None
        self._told = revision
        self._due = now + self._limits.bookmark_seconds
        return DiffBatch(position, wanted, caught_up=revision >= head)

    def skip_to(self, position: StreamPosition) -> None:
        """There is nothing the subscriber wants up to there."""
        self.position = position

    def seconds_to_bookmark(self, now: float) -> float:
        """Seconds until there is something to tell although nothing happens."""
        return max(0.0, self._due - now)


_REMEMBERED: Final = 256
"""Stretches. Subscribers who keep up ask for the newest one only, each filter once."""

_EVERYTHING: Final = DiffFilter()


class Matching:
    """For diffs of one stream; made anew when that is replaced."""

    def __init__(self) -> None:
        self._wanted: OrderedDict[tuple[DiffFilter, int, int, str], Sequence[ShardDiff]] = OrderedDict()

    def wanted(self, where: DiffFilter, diffs: Sequence[ShardDiff]) -> Sequence[ShardDiff]:
        """Those of a gapless stretch that the filter matches, in order."""
        if not diffs or where == _EVERYTHING:
            return diffs
        # Revisions alone do not tell a run of diffs from one that took its place in a failover.
        key = (where, diffs[0].revision, diffs[-1].revision, diffs[-1].change.hash)
        wanted = self._wanted.get(key)
        if wanted is None:
            wanted = self._wanted[key] = [diff for diff in diffs if where.matches(diff)]
            if len(self._wanted) > _REMEMBERED:
                self._wanted.popitem(last=False)
        return wanted
