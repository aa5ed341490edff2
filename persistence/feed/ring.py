"""The newest diffs of the stream, bounded. Pure: no I/O, no clock.

How much the feed holds, and how long it waits.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from persistence.model.records import ChangeMark, ShardDiff
from persistence.ports import OmittedRange


class Ring:
    """Diffs `start`+1 .. `end`, but for the stretches it was told to leave out. At most `capacity` of both: the oldest
    leave first."""

    def __init__(self, capacity: int, start: int, mark: ChangeMark) -> None:
        """`mark` is of the change that made revision `start`."""
        self._capacity = capacity
        self._runs = deque([_Run(start, mark)])
        self._stretches: deque[OmittedRange] = deque()  # one between each run and the next
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

    def leave_out(self, stretch: OmittedRange) -> None:
        """Go on behind the stretch. Raises ValueError if it does not follow `end`."""
        if stretch.first != self.end + 1:
            raise ValueError(f"revision {stretch.first} does not follow {self.end}")
        self._stretches.append(stretch)
        self._runs.append(_Run(stretch.last, stretch.mark))
        self._held += 1
        self._forget()

    def after(self, revision: int, limit: int) -> list[ShardDiff] | None:
        """Up to `limit` diffs after `revision`; null when what comes next is not held."""
        newest = self._runs[-1]
        if revision >= newest.start:
            return newest.after(revision, limit)
        run = next((run for run in reversed(self._runs) if run.start <= revision), None)
        return None if run is None or revision >= run.end else run.after(revision, limit)

    def left_out_after(self, revision: int) -> OmittedRange | None:
        """The stretch in which the next revision is, if it is in one."""
        if revision >= self._runs[-1].start:
            return None
        return next((each for each in reversed(self._stretches) if each.first <= revision + 1 <= each.last), None)

    def mark_at(self, revision: int) -> ChangeMark | None:
        """Of the change that made that revision; null where it is not known any more, or not yet."""
        for run in reversed(self._runs):
            if run.start <= revision <= run.end:
                return run.mark_at(revision)
        stretch = self.left_out_after(revision - 1)
        return None if stretch is None else stretch.mark

    def _forget(self) -> None:
        while self._held > self._capacity:
            oldest = self._runs[0]
            if oldest.diffs:
                oldest.mark = oldest.diffs.popleft().change.mark
                oldest.start += 1
            else:
                self._runs.popleft()
                self._stretches.popleft()
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
        offset = revision - self.start
        return list(islice(self.diffs, offset, offset + limit))


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


DEFAULT_LIMITS = FeedLimits()
