"""Seconds that a core works on something, on a machine where others work too.

Processor time, so that waiting for a core does not count; the best of several runs, and the median, which tells how
noisy it was.
"""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import process_time
from typing import Final, TypeVar

T = TypeVar("T")

MANY_SECONDS: Final = 100.0


@dataclass(frozen=True, slots=True)
class Times:
    seconds: Sequence[float]

    @property
    def best(self) -> float:
        return min(self.seconds)

    def __str__(self) -> str:
        return f"{duration(self.best)}, best of {len(self.seconds)} (median {duration(median(self.seconds))})"


def timed(runs: int, work: Callable[[], T]) -> tuple[Times, T]:
    """How long each run took, and what the last one gave. `work` keeps to one thread."""
    seconds = []
    for _ in range(runs):
        begin = process_time()
        result = work()
        seconds.append(process_time() - begin)
    return Times(seconds), result


def measured(work: Callable[[], T]) -> tuple[int, int, T]:
    """Bytes that `work` left allocated, bytes at its peak, and what it gave. Counts what Python and NumPy allocate."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        result = work()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before, peak - before, result


@contextmanager
def one_core() -> Iterator[str]:
    """Pins this process to one core where the system can. Yields what was done, as text."""
    if not hasattr(os, "sched_setaffinity"):
        yield "This system cannot pin a process to a core; NumPy uses one for this work anyway."
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield f"Pinned to one core of {len(allowed)}."
    finally:
        os.sched_setaffinity(0, allowed)


def duration(seconds: float) -> str:
    if seconds >= MANY_SECONDS:
        return f"{seconds:,.0f} s"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def size(count: float) -> str:
    for unit, scale in (("MB", 1e6), ("KB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:.0f} B"
