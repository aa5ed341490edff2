"""What Python's garbage collector of a server process looks through, and when.

A full collection takes 0.4 us of every object that it looks at, and nothing else runs meanwhile: with 10,000 sockets,
a hundred objects each, that was half a second (docs/decisions/0072).
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

CONNECTIONS_AT_ONCE: Final = 100
"""Sockets whose objects are exempted together: some ten thousand, which takes a few milliseconds."""

_FEW: Final = 0.1
"""Of the connections that there were. When no more are left, what was garbage among their objects is looked for."""

_PEAK: Final = 1_000
"""Connections that leave so little garbage that it can stay."""

_INTERVAL_SECONDS: Final = 3_600.0
"""From one such search to the next: it stops all requests for a tenth of a second."""


THRESHOLDS: Final = (1_000, 10, 2)
"""Python's: objects by which a young collection comes, young ones by which a middle one does, and middle ones by which
a full one does. A middle one looks through 10,000 objects at most, a full one through 20,000 and `MANY`: 4 and 10 ms at
0.4 us each. Larger ones would come as much more seldom as they would take longer."""

_OLDEST: Final = 2
"""Python's number of the generation that a full collection looks through."""

MANY: Final = 5_000
"""Objects of that generation: 2 ms of each full collection that follows, if they are not exempted."""

GROWTH: Final = 1.5
"""Times the memory blocks that there were when everything was looked through last: then it is again, once an hour at
most."""

MOST_GROWTH: Final = 8_000_000
"""Memory blocks more than then, 0.5 GB at 64 bytes each: then it is at once. It stops everything for half a second. Of
100,000 shards, with the documents and answers that are kept, there are fewer."""


def tune() -> None:
    """Exempt what lives as long as the process from garbage collection.

    Walking all of the schema's objects repeatedly stopped every request for tens of milliseconds: in `make bench`,
    the p99 of lookups at 200/s was 87 ms before, 17 and 24 ms after, on 2 cores.

    What comes later, diffs and replica above all, is no garbage either, and is freed without the collector when its
    time has come. Python's own thresholds walked all of it whenever a change touched thousands of shards, for 40 to
    110 ms each time. Here what a full walk finds to stay is exempted as well, once it is much.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    _long_lived.begin()
    if _long_lived not in gc.callbacks:
        gc.callbacks.append(_long_lived)


class LongLived:
    """Called before and after each collection: exempts what a full one found to stay. Of that, what is in a cycle is
    not freed when its time has come, so everything is looked through again once memory has grown."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looks_at_all = False
        self.begin()

    def begin(self) -> None:
        """Everything was looked through."""
        self._blocks, self._searched_at = sys.getallocatedblocks(), self._clock()

    def __call__(self, phase: str, info: Mapping[str, int]) -> None:
        if info["generation"] != _OLDEST:
            return
        if phase == "start":
            waited = self._clock() - self._searched_at >= _INTERVAL_SECONDS
            most = self._blocks * GROWTH if waited else self._blocks + MOST_GROWTH
            self._looks_at_all = sys.getallocatedblocks() > most
            if self._looks_at_all:
                gc.unfreeze()
        elif self._looks_at_all:
            gc.freeze()
            self.begin()
        elif _tracked_in(_OLDEST) >= MANY:
            gc.freeze()


def _tracked_in(generation: int) -> int:
    """How many objects are in it. No other thread runs between the list's making and its end: it has references to
    objects that are being made, and `tuple(generator)` in another thread fails with SystemError where its tuple has a
    second one (https://bugs.python.org/issue15108). Between two calls of Python code threads take turns; `sum` makes
    both."""
    return sum(map(len, map(gc.get_objects, (generation,))))


_long_lived: Final = LongLived()


class ConnectionGarbage:
    """Exempts the objects of connections, which stay as long as these are open. They are in no cycle when the
    connection has ended, so they are freed without the collector, exempted or not; a test holds that.

    What was in a cycle of a request that was being answered just then is not freed any more. There is little of it, and
    it is looked for once most connections have been closed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._searched_at = clock()
        self._exempted = 0
        self._peak = 0

    def opened(self, count: int) -> None:
        """`count` are open, one more than before."""
        self._peak = max(self._peak, count)
        # The collector is off while the server imports its other half, which exempts everything at its end.
        if count - self._exempted >= CONNECTIONS_AT_ONCE and gc.isenabled():
            self._exempted = count
            gc.collect(1)
            gc.freeze()

    def closed(self, count: int) -> None:
        """`count` are open, one less than before."""
        self._exempted = min(self._exempted, count)
        if self._peak < _PEAK or count > self._peak * _FEW:
            return
        now = self._clock()
        if now - self._searched_at >= _INTERVAL_SECONDS:
            self._searched_at, self._peak = now, count
            gc.unfreeze()
            gc.collect()
            gc.freeze()
