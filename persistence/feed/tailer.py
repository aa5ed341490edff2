"""The live end of the stream as a passive state machine, and the ring of the newest diffs that it holds.

Pure: no I/O, no clock. `live.py` reads pages, passes them to `Tailer.receive`, and acts on what that returns.
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
    """`ring` and `page` count diffs. `bookmark_seconds` is the longest time between two batches to a subscriber.

    `read_seconds` is the timeout of one page, `catch_up_seconds` that of waiting for a revision. `fresh_seconds` after
    the stream was last read to its end, what was derived from it is not fresh any more: more than `poll_seconds`, so
    that an idle stream stays fresh.

    Decoding a page takes a millisecond for every twenty rows; each diff in the ring takes some 3 kB.
    """

    ring: int = 16_384
    page: int = 100
    poll_seconds: float = 1.0
    bookmark_seconds: float = 10.0
    catch_up_seconds: float = 2.0
    read_seconds: float = 10.0
    fresh_seconds: float = 2.0

    def to_page_end(self, revision: int) -> int:
        """Diffs from there to where a page ends. Pages end at the same revisions for all, so that subscribers that are
        behind soon read the same ones, wherever they began."""
        return self.page - revision % self.page


DEFAULT_LIMITS: Final = FeedLimits()


@dataclass(frozen=True, slots=True)
class Advanced:
    """These diffs are new, perhaps none, and so is the omitted range after them, if there is one. `more`: the stream
    goes on after that, so the next page is to be read at once."""

    diffs: Sequence[ShardDiff]
    omitted: OmittedRange | None
    more: bool


@dataclass(frozen=True, slots=True)
class Replaced:
    """It is another stream, or its old end is gone. The tailer is now at its head, and holds no diffs."""

    position: StreamPosition


@dataclass(frozen=True, slots=True)
class Lost:
    """A change that was received is gone: the database lost its end in a failover, or an older copy was put in its
    place, and revisions that were delivered stand for something else, or will. The stream must be given a new epoch
    before another page of it is read; the tailer stays where it is until then."""

    seen: StreamPosition
    newest: ChangeMark
    head: StreamHead


Received: TypeAlias = Advanced | Replaced | Lost


class Tailer:
    """Holds the newest diffs of one stream.

    Of a change that goes on for more than a page it omits the rest: reading ten thousand diffs takes a second, in which
    followers of other namespaces would wait as well.
    """

    def __init__(self, head: StreamHead, limits: FeedLimits) -> None:
        self._limits = limits
        self._begin(head)

    def _begin(self, head: StreamHead) -> None:
        self.ring = Ring(self._limits.ring, head.revision, head.mark)
        self.position = self._previous = head.position
        """The diffs received last follow `_previous` and lead to `position`."""
        self.newest = head.newest
        """The newest change received. As long as the stream has that one, nothing that was received is lost."""
        self.committed_at = head.committed_at
        """When the newest change that is known of was committed."""

    def receive(self, page: StreamPage) -> Received:
        """A page that was read after `position`, with the mark `newest`.

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
        self.committed_at = head.committed_at
        omitted = self._rest_of_change(diffs[-1], head) if diffs else None
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
        # A subscriber that keeps up is at one of these two.
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

    def _rest_of_change(self, diff: ShardDiff, head: StreamHead) -> OmittedRange | None:
        """The rest of the diff's change, if that is longer than a page and in history."""
        last = diff.change.last_revision or 0
        if last - diff.revision <= self._limits.page or last > head.revision:
            return None
        return OmittedRange(diff.revision + 1, last, frozenset(diff.change.namespaces), diff.change.mark)


class Ring:
    """Diffs `start`+1 .. `end`, but for omitted ranges. At most `capacity` of both: the oldest leave first."""

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
        """The newest revision that it holds or omits; `start` without any."""
        return self._runs[-1].end

    @property
    def end_mark(self) -> ChangeMark:
        """Of the change that made revision `end`."""
        return self._runs[-1].mark_at(self.end)

    def extend(self, diffs: Sequence[ShardDiff]) -> None:
        """Append the diffs that follow `end`. Raises ValueError, and appends none, if one of them does not follow: a
        gap here would be a lost diff."""
        for revision, diff in enumerate(diffs, self.end + 1):
            if diff.revision != revision:
                raise ValueError(f"revision {diff.revision} does not follow {revision - 1}")
        self._runs[-1].diffs.extend(diffs)
        self._held += len(diffs)
        self._forget()

    def omit(self, omitted: OmittedRange) -> None:
        """Continue after the range. Raises ValueError if it does not follow `end`."""
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
        """The omitted range that the next revision is in; null if it is in none."""
        if revision >= self._runs[-1].start:
            return None
        return next((each for each in reversed(self._omitted) if each.first <= revision + 1 <= each.last), None)

    def mark_at(self, revision: int) -> ChangeMark | None:
        """As `Tailer.mark_at`."""
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
        # Not `islice`, which walks over all diffs before the first: subscribers that keep up need the last few.
        first = revision - self.start
        return [self.diffs[index] for index in range(first, min(first + limit, len(self.diffs)))]
