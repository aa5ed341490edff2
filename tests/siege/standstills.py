"""When a processor of this machine did not run anything that was ready: a hypervisor had it do something else.

A process on each, above all others, sleeps for a few milliseconds again and again, and notes when it woke late. Prints
as JSON from when to when, on the monotonic clock; null where it may not be above others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from time import perf_counter, sleep
from typing import Final, TypeAlias

import orjson

Span: TypeAlias = tuple[float, float]
"""From when to when, in seconds."""

_SLEEP_SECONDS: Final = 0.004
_LATE_SECONDS: Final = 0.006
_PRIORITY: Final = 50


def watch(processor: int, seconds: float) -> list[Span] | None:
    """Of this processor. Linux alone has both the pinning and the priority, and lets root have the latter."""
    if sys.platform != "linux":
        return None
    os.sched_setaffinity(0, {processor})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    except PermissionError:
        return None
    found: list[Span] = []
    last = perf_counter()
    until = last + seconds
    while last < until:
        sleep(_SLEEP_SECONDS)
        now = perf_counter()
        if now - last > _SLEEP_SECONDS + _LATE_SECONDS:
            found.append((last + _SLEEP_SECONDS, now))
        last = now
    return found


def processors() -> Sequence[int]:
    return sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [0]


def joined(spans: Sequence[Span]) -> list[Span]:
    """In order, those that overlap as one."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def overlap(span: Span, spans: Sequence[Span]) -> float:
    """Seconds of it that are within one of those, which do not overlap each other."""
    return sum(_shared(span, spans))


def _shared(span: Span, spans: Sequence[Span]) -> Iterator[float]:
    for begin, end in spans:
        if begin < span[1] and end > span[0]:
            yield min(end, span[1]) - max(begin, span[0])


if __name__ == "__main__":
    _, number, length = sys.argv
    sys.stdout.buffer.write(orjson.dumps(watch(int(number), float(length))))
