"""One subscriber's position in the stream, as a passive state machine, and the diffs that its filter matches.

Pure: no I/O, and the time is given.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from persistence.feed.tailer import FeedLimits
from persistence.model.queries import DiffFilter
from persistence.model.records import ShardDiff, StreamPosition
from persistence.model.stream import DiffBatch


class SubscriberPosition:
    """Goes forward over every diff, and makes batches of those that match.

    Batches without diffs are bookmarks: one at once, so that the client holds a cursor; then one `bookmark_seconds`
    after the last batch, or once a page's worth of diffs was filtered out, so that resuming need not read them again.
    """

    def __init__(self, position: StreamPosition, where: DiffFilter, limits: FeedLimits) -> None:
        self.position = position
        self.where = where
        self._limits = limits
        self._last_batch: int | None = None
        self._bookmark_at = 0.0
        self.newest_at: datetime | None = None
        """When the newest change that is known of was committed, for the batches to come."""

    def advance(self, position: StreamPosition, diffs: Sequence[ShardDiff], head: int, now: float) -> DiffBatch | None:
        """Go on to that position; `diffs` are all that match of those after the last one and up to there.

        `head` is the newest revision known, `now` the time in seconds. Null if no batch is due.
        """
        self.position = position
        revision = position.revision
        bookmark_due = (
            self._last_batch is None or now >= self._bookmark_at or revision - self._last_batch >= self._limits.page
        )
        if not diffs and not bookmark_due:
            return None
        self._last_batch = revision
        self._bookmark_at = now + self._limits.bookmark_seconds
        return DiffBatch(position, diffs, revision >= head, max(head, revision), self.newest_at)

    def skip_to(self, position: StreamPosition) -> None:
        """Go on to that position, with nothing that matches before it."""
        self.position = position

    def seconds_to_bookmark(self, now: float) -> float:
        """Seconds until a bookmark is due although nothing happens."""
        return max(0.0, self._bookmark_at - now)


_REMEMBERED: Final = 256
"""Runs of diffs, each for one filter. Subscribers that keep up need the newest one only."""

_EVERYTHING: Final = DiffFilter()


class Matching:
    """The diffs that each filter matches, computed once for all subscribers that share it. Of one stream: made anew
    when that is replaced."""

    def __init__(self) -> None:
        self._selected: OrderedDict[tuple[DiffFilter, int, int, str], Sequence[ShardDiff]] = OrderedDict()

    def select(self, where: DiffFilter, diffs: Sequence[ShardDiff]) -> Sequence[ShardDiff]:
        """Those of a gapless run of diffs that the filter matches, in order."""
        if not diffs or where == _EVERYTHING:
            return diffs
        # Revisions alone do not distinguish a run of diffs from one that replaced it in a failover.
        key = (where, diffs[0].revision, diffs[-1].revision, diffs[-1].change.hash)
        selected = self._selected.get(key)
        if selected is None:
            selected = self._selected[key] = [diff for diff in diffs if where.matches(diff)]
            if len(self._selected) > _REMEMBERED:
                self._selected.popitem(last=False)
        return selected
