"""Whether an event loop was held up: by how much processor time of this process.

A callback is due at each turn of the loop. Between two turns the clock of the processor (`process_time`) advances by
what callbacks took, and by what other threads of the process took while the loop waited for the interpreter; not by
what other processes of the machine take meanwhile, nor by waiting for a socket. So a busy machine does not make a loop
late, and a thread that holds the interpreter does. Garbage that was there before is not looked through: a full
collection belongs to no request.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from time import process_time
from typing import Final

LIMIT_SECONDS: Final = 0.010
"""Longest turn that a server's loop may take."""

_SWITCH_SECONDS: Final = 0.0002
"""As a server has it: graph/server/process.py."""

ATTEMPTS: Final = 5


class LoopWatchdog:
    """`longest`: processor seconds of the longest turn of the running loop while it was watching."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._loop = asyncio.get_running_loop()
        self._last = process_time()
        self._handle = self._loop.call_soon(self._turn)

    def end(self) -> None:
        self._handle.cancel()
        self._note()

    def _turn(self) -> None:
        self._note()
        self._handle = self._loop.call_soon(self._turn)

    def _note(self) -> None:
        now = process_time()
        self.longest = max(self.longest, now - self._last)
        self._last = now


@contextmanager
def watching() -> Iterator[LoopWatchdog]:
    switch = sys.getswitchinterval()
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(_SWITCH_SECONDS)
    watchdog = LoopWatchdog()
    try:
        yield watchdog
    finally:
        watchdog.end()
        sys.setswitchinterval(switch)
        gc.enable()


async def longest_turn(request: Callable[[int], Awaitable[object]], attempts: int = ATTEMPTS) -> float:
    """Processor seconds of the longest turn of the loop during a request; the least of several attempts, each given its
    number. A loop that waits for one of the processors of a busy machine is late by what another thread of this process
    does meanwhile, some milliseconds now and then: that is not what the request takes."""
    turns: list[float] = []
    for attempt in range(attempts):
        with watching() as watchdog:
            await request(attempt)
        turns.append(watchdog.longest)
        if watchdog.longest < LIMIT_SECONDS / 2:
            break
    return min(turns)
