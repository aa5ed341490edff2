"""The newest diffs of the stream, bounded. Pure: no I/O, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

from persistence.records import ShardDiff


class Ring:
    """Diffs `start`+1 .. `end` without a gap, at most `capacity` of them: the oldest leave first."""

    def __init__(self, capacity: int, start: int) -> None:
        self._capacity = capacity
        self._diffs: deque[ShardDiff] = deque()
        self.start = start

    @property
    def end(self) -> int:
        """The newest revision it holds, or where it begins."""
        return self.start + len(self._diffs)

    def extend(self, diffs: Sequence[ShardDiff]) -> None:
        """Append the diffs that follow `end`. Raises ValueError, and takes none, if any of them does not: a gap here
        would be a lost diff."""
        for revision, diff in enumerate(diffs, self.end + 1):
            if diff.revision != revision:
                raise ValueError(f"revision {diff.revision} does not follow {revision - 1}")
        self._diffs.extend(diffs)
        while len(self._diffs) > self._capacity:
            self._diffs.popleft()
            self.start += 1

    def after(self, revision: int, limit: int) -> list[ShardDiff] | None:
        """Up to `limit` diffs after `revision`; null when that reaches further back than the ring does."""
        if revision < self.start:
            return None
        offset = revision - self.start
        return list(islice(self._diffs, offset, offset + limit))
