"""The live end of the stream as a passive state machine: it is told what was read, and says what that means.

Pure: no I/O, no clock. `live.py` drives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from persistence.feed.ring import Ring
from persistence.ports import StreamHead
from persistence.records import ShardDiff, StreamPosition


@dataclass(frozen=True, slots=True)
class Advanced:
    """These diffs are new, perhaps none. `more`: the stream goes on after them, so read on at once."""

    diffs: Sequence[ShardDiff]
    more: bool


@dataclass(frozen=True, slots=True)
class Replaced:
    """It is another stream, or its old end is gone. The tail is now at its head; what was held is forgotten."""

    position: StreamPosition


@dataclass(frozen=True, slots=True)
class WentBack:
    """Revisions that were seen are gone: an older copy was put in place, and may issue them once more. The stream must
    be given a new epoch before anything else is read of it; the tail stays where it is until then."""

    seen: int
    head: StreamHead


Received: TypeAlias = Advanced | Replaced | WentBack


class Tailer:
    """Holds the newest diffs, and which stream they are of."""

    def __init__(self, head: StreamHead, capacity: int) -> None:
        self._capacity = capacity
        self._epoch = head.epoch
        self.ring = Ring(capacity, head.revision)

    @property
    def position(self) -> StreamPosition:
        """How far it has been told."""
        return StreamPosition(self._epoch, self.ring.end)

    def receive(self, head: StreamHead, diffs: Sequence[ShardDiff]) -> Received:
        """What followed `position` when it was read, and the head in the same snapshot.

        Raises ValueError, and stays as it was, if the diffs do not follow: a gap here would be a lost diff.
        """
        if head.epoch == self._epoch and head.revision < self.ring.end:
            return WentBack(self.ring.end, head)
        if head.epoch != self._epoch or head.floor > self.ring.end:
            self._epoch = head.epoch
            self.ring = Ring(self._capacity, head.revision)
            return Replaced(self.position)
        self.ring.extend(diffs)
        return Advanced(diffs, more=bool(diffs) and self.ring.end < head.revision)
