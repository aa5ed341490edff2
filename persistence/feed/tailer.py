"""The live end of the stream as a passive state machine: it is told what was read, and says what that means.

Pure: no I/O, no clock. `live.py` drives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from persistence.feed.ring import FeedLimits, Ring
from persistence.model.records import ChangeMark, ShardDiff, StreamPosition
from persistence.ports import OmittedRange, StreamHead, StreamPage


@dataclass(frozen=True, slots=True)
class Advanced:
    """These diffs are new, perhaps none, and so is the stretch after them, if any, that was left out. `more`: the
    stream goes on after that, so read on at once."""

    diffs: Sequence[ShardDiff]
    left_out: OmittedRange | None
    more: bool


@dataclass(frozen=True, slots=True)
class Replaced:
    """It is another stream, or its old end is gone. The tail is now at its head; what was held is forgotten."""

    position: StreamPosition


@dataclass(frozen=True, slots=True)
class Lost:
    """A change that was seen is gone: the database lost its end in a failover, or an older copy was put in its place,
    and revisions that were told stand for something else, or will. The stream must be given a new epoch before anything
    else is read of it; the tail stays where it is until then."""

    seen: StreamPosition
    newest: ChangeMark
    head: StreamHead


Received: TypeAlias = Advanced | Replaced | Lost


class Tailer:
    """Holds the newest diffs, and which stream they are of.

    Of a change that goes on for more than a page it leaves out the rest: reading ten thousand diffs takes a second, for
    which everybody would wait, also those who follow other namespaces.
    """

    def __init__(self, head: StreamHead, limits: FeedLimits) -> None:
        self._limits = limits
        self._epoch = head.epoch
        self._newest = head.newest
        self.ring = Ring(limits.ring, head.revision, head.mark)

    @property
    def position(self) -> StreamPosition:
        """How far it has been told."""
        return StreamPosition(self._epoch, self.ring.end, self.ring.end_mark)

    @property
    def newest(self) -> ChangeMark:
        """The newest change it has been told of. As long as the stream knows that one, nothing told was lost."""
        return self._newest

    def receive(self, page: StreamPage) -> Received:
        """What followed `position` when it was read, asked for with the mark `newest`.

        Raises ValueError, and stays as it was, if the diffs do not follow: a gap here would be a lost diff.
        """
        head, diffs = page.head, page.diffs
        if head.epoch == self._epoch and (head.revision < self.ring.end or not page.known):
            return Lost(self.position, self._newest, head)
        if head.epoch != self._epoch or head.floor > self.ring.end:
            self._epoch, self._newest = head.epoch, head.newest
            self.ring = Ring(self._limits.ring, head.revision, head.mark)
            return Replaced(self.position)
        self.ring.extend(diffs)
        left_out = self._rest(diffs[-1], head) if diffs else None
        if left_out is not None:
            self.ring.leave_out(left_out)
        if self.ring.end == head.revision:
            self._newest = head.newest
        elif diffs:
            self._newest = diffs[-1].change.mark
        return Advanced(diffs, left_out, more=bool(diffs) and self.ring.end < head.revision)

    def _rest(self, diff: ShardDiff, head: StreamHead) -> OmittedRange | None:
        """What the change of this diff goes on with, if that is long."""
        last = diff.change.last_revision or 0
        if last - diff.revision <= self._limits.page or last > head.revision:
            return None
        return OmittedRange(diff.revision + 1, last, frozenset(diff.change.namespaces), diff.change.mark)
