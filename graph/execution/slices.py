"""Work that would hold the event loop up for as long as it takes, done in slices, one in a turn of the loop: a hundred
answers of megabytes at once hold it up no longer than one."""

import asyncio
from collections import deque
from time import perf_counter
from typing import Final
from weakref import WeakKeyDictionary

SLICE_SECONDS: Final = 0.002


class _Turns:
    """Of one event loop: one of those that wait goes on in each."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: deque[asyncio.Future[None]] = deque()

    def next(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        granted = loop.create_future()
        if not self.waiting:
            loop.call_soon(self._grant)
        self.waiting.append(granted)
        return granted

    def _grant(self) -> None:
        while self.waiting:
            granted = self.waiting.popleft()
            if not granted.done():
                granted.set_result(None)
                break
        if self.waiting:
            asyncio.get_running_loop().call_soon(self._grant)


_turns: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns]] = WeakKeyDictionary()


class Slices:
    """The slices of one piece of work; the first begins now."""

    __slots__ = ("_began", "_turns")

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        turns = _turns.get(loop)
        if turns is None:
            turns = _turns[loop] = _Turns()
        self._turns = turns
        self._began = perf_counter()

    async def pause(self) -> None:
        """Let others run, if the slice has taken its time."""
        if perf_counter() - self._began > SLICE_SECONDS:
            await self._turns.next()
            self._began = perf_counter()
