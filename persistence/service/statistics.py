"""What a process counts of its commits. Plain numbers, to be read by what exposes them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final

SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128)

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """Counts of observations by the first of `bounds` that they do not exceed; the last count is of those above all."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class CommitStatistics:
    """Of one process. `waiting` returns how many changes wait for the commit before them to end."""

    def __init__(self) -> None:
        self.changes = Histogram(SIZES)
        """Of each transaction that was committed: how many changes it made."""
        self.seconds = Histogram(SECONDS)
        """From the reading of what a transaction is decided on to the answer of its commit."""
        self.waited = Histogram(SECONDS)
        """Of each change of a group: from its arrival to the beginning of its group."""
        self.retried = 0
        """Transactions that met another change, and were tried again."""
        self.waiting: Callable[[], int] = lambda: 0

    def committed(self, changes: int, seconds: float) -> None:
        self.changes.observe(changes)
        self.seconds.observe(seconds)
