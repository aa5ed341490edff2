"""The live end of the stream as a passive state machine: it is told what was read, and says what that means.

Pure: no I/O, no clock. `live.py` drives it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from persistence.model.records import ChangeMark, ShardDiff, StreamPosition
from persistence.model.stream import OmittedRange, StreamHead, StreamPage


@dataclass(frozen=True, slots=True)
class FeedLimits:
    """`ring` and `page` count diffs; `bookmark_seconds` is how long an idle subscriber goes without a sign of life.

    `fresh_seconds` after the stream was last read to its end, what was made of it is not fresh any more: more than a
    poll takes, so that an idle stream stays fresh.

    A page is decoded in one go, a millisecond for every twenty rows, in which the process answers nobody.
    """

    ring: int = 16_384
    page: int = 100
    poll_seconds: float = 1.0
    bookmark_seconds: float = 10.0
    catch_up_seconds: float = 2.0
    read_seconds: float = 10.0
    fresh_seconds: float = 2.0

    def to_page_end(self, revision: int) -> int:
        """Diffs from there to where a page ends. Pages end at the same revisions for all, wherever they came from, so
        that those who are behind soon ask for the same."""
        return self.page - revision % self.page


DEFAULT_LIMITS: Final = FeedLimits()


@dataclass(frozen=True, slots=True)
class Advanced:
    """These diffs are new, perhaps none, and so is the stretch after them, if any, that was left out. `more`: the
    stream goes on after that, so read on at once."""

    diffs: Sequence[ShardDiff]
    omitted: OmittedRange | None
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
        self._begin(head)

    def _begin(self, head: StreamHead) -> None:
        self.ring = Ring(self._limits.ring, head.revision, head.mark)
        self.position = self._previous = head.position
        """What was received last led to `position`, and followed `_previous`."""
        self.newest = head.newest
        """The newest change received. As long as the stream knows that one, nothing that was received is lost."""

    def receive(self, page: StreamPage) -> Received:
        """What followed `position` when it was read, asked for with the mark `newest`.

        Raises ValueError, and stays as it was, if the diffs do not follow: a gap here would be a lost diff.
        """
        head, diffs, known = page
        epoch, revision, _ = self.position
        if head.epoch == epoch and (head.revision < revision or not known):
            return Lost(self.position, self.newest, head)
        if head.epoch != epoch or head.floor > revision:
            self._begin(head)
            return Replaced(self.position)
        self.ring.extend(diffs)
        omitted = self._rest(diffs[-1], head) if diffs else None
        if omitted is not None:
            self.ring.omit(omitted)
        revision = self.ring.end
        at_head = revision == head.revision
        if at_head:
            self.newest = head.newest
        elif diffs:
            self.newest = diffs[-1].change.mark
        if diffs:
            mark = head.mark if at_head else self.ring.end_mark
            self._previous, self.position = self.position, StreamPosition(epoch, revision, mark)
        return Advanced(diffs, omitted, more=bool(diffs) and revision < head.revision)

    def mark_at(self, revision: int) -> ChangeMark | None:
        """Of the change that made that revision; null where it is not known any more, or not yet."""
        # Of subscribers that keep up, each is at one of these two.
        for position in (self.position, self._previous):
            if position.revision == revision:
                return position.mark
        return self.ring.mark_at(revision)

    def after(self, position: StreamPosition) -> tuple[Sequence[ShardDiff], StreamPosition] | None:
        """The diffs that follow a position, up to where a page ends, and the position they lead to; null where they are
        not held. `mark_at` of the position must be its mark, or null: then nothing that follows it is held."""
        if self.mark_at(position.revision) is None:
            return None
        diffs = self.ring.after(position.revision, self._limits.to_page_end(position.revision))
        if not diffs:
            return None if diffs is None else (diffs, position)
        last = diffs[-1]
        at_end = last.revision == self.position.revision
        return diffs, self.position if at_end else last.position_in(self.position.epoch)

    def _rest(self, diff: ShardDiff, head: StreamHead) -> OmittedRange | None:
        """What the change of this diff goes on with, if that is long."""
        last = diff.change.last_revision or 0
        if last - diff.revision <= self._limits.page or last > head.revision:
            return None
        return OmittedRange(diff.revision + 1, last, frozenset(diff.change.namespaces), diff.change.mark)


class Ring:
    """Diffs `start`+1 .. `end`, but for the stretches it was told to leave out. At most `capacity` of both: the oldest
    leave first."""

    def __init__(self, capacity: int, start: int, mark: ChangeMark) -> None:
        """`mark` is of the change that made revision `start`."""
        self._capacity = capacity
        self._runs = deque([_Run(start, mark)])
        self._omitted: deque[OmittedRange] = deque()  # one between each run and the next
        self._held = 0

    @property
    def start(self) -> int:
        return self._runs[0].start

    @property
    def end(self) -> int:
        """The newest revision it holds or has left out; or where it begins."""
        return self._runs[-1].end

    @property
    def end_mark(self) -> ChangeMark:
        """Of the change that made revision `end`."""
        return self._runs[-1].mark_at(self.end)

    def extend(self, diffs: Sequence[ShardDiff]) -> None:
        """Append the diffs that follow `end`. Raises ValueError, and takes none, if any of them does not: a gap here
        would be a lost diff."""
        for revision, diff in enumerate(diffs, self.end + 1):
            if diff.revision != revision:
                raise ValueError(f"revision {diff.revision} does not follow {revision - 1}")
        self._runs[-1].diffs.extend(diffs)
        self._held += len(diffs)
        self._forget()

    def omit(self, omitted: OmittedRange) -> None:
        """Go on behind the range. Raises ValueError if it does not follow `end`."""
        if omitted.first != self.end + 1:
            raise ValueError(f"revision {omitted.first} does not follow {self.end}")
        self._omitted.append(omitted)
        self._runs.append(_Run(omitted.last, omitted.mark))
        self._held += 1
        self._forget()

    def after(self, revision: int, limit: int) -> list[ShardDiff] | None:
        """Up to `limit` diffs after `revision`; null when what comes next is not held."""
        newest = self._runs[-1]
        if revision >= newest.start:
            return newest.after(revision, limit)
        run = next((run for run in reversed(self._runs) if run.start <= revision), None)
        return None if run is None or revision >= run.end else run.after(revision, limit)

    def omitted_after(self, revision: int) -> OmittedRange | None:
        """The stretch in which the next revision is, if it is in one."""
        if revision >= self._runs[-1].start:
            return None
        return next((each for each in reversed(self._omitted) if each.first <= revision + 1 <= each.last), None)

    def mark_at(self, revision: int) -> ChangeMark | None:
        """Of the change that made that revision; null where it is not known any more, or not yet."""
        for run in reversed(self._runs):
            if run.start <= revision <= run.end:
                return run.mark_at(revision)
        omitted = self.omitted_after(revision - 1)
        return None if omitted is None else omitted.mark

    def _forget(self) -> None:
        while self._held > self._capacity:
            oldest = self._runs[0]
            if oldest.diffs:
                oldest.mark = oldest.diffs.popleft().change.mark
                oldest.start += 1
            else:
                self._runs.popleft()
                self._omitted.popleft()
            self._held -= 1


@dataclass(slots=True)
class _Run:
    """Diffs `start`+1 .. `end` without a gap. `mark` is of the change that made revision `start`."""

    start: int
    mark: ChangeMark
    diffs: deque[ShardDiff] = field(default_factory=deque)

    @property
    def end(self) -> int:
        return self.start + len(self.diffs)

    def mark_at(self, revision: int) -> ChangeMark:
        return self.mark if revision == self.start else self.diffs[revision - self.start - 1].change.mark

    def after(self, revision: int, limit: int) -> list[ShardDiff]:
        # Not `islice`, which passes all the diffs before the first: subscribers that keep up need the last few only.
        first = revision - self.start
        return [self.diffs[index] for index in range(first, min(first + limit, len(self.diffs)))]
