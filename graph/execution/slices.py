"""Work that would hold the event loop up for as long as it takes, done in slices: a hundred answers of megabytes at the
same time have no more of a turn of the loop than one."""

import asyncio
from collections import deque
from time import perf_counter
from typing import Final
from weakref import WeakKeyDictionary

SLICE_SECONDS: Final = 0.002
"""Of one turn of the loop, for all such work together. A slice that has begun may take longer."""

TURNS_BETWEEN: Final = 4
"""Of the loop, without slices of what waits. A lookup takes three of them from its bytes to its answer's, and so waits
for one slice instead of one in each; turns in which nothing else is to be done take microseconds."""


class _Turns:
    """Of one event loop. `began`: when the first slice since the last turns between did, null before."""

    __slots__ = ("_left", "_prefers_new", "began", "begun", "new")

    def __init__(self) -> None:
        # Of each turn one slice: alternately of work that has not had any, which may be short, and of what goes on.
        self.new: deque[asyncio.Future[None]] = deque()
        self.begun: deque[asyncio.Future[None]] = deque()
        self._prefers_new = True
        self._left = 0  # turns until the next slice
        self.began: float | None = None

    @property
    def is_used_up(self) -> bool:
        began = self._begin() if self.began is None else self.began
        return perf_counter() - began > SLICE_SECONDS

    def wait(self, *, is_new: bool) -> asyncio.Future[None]:
        """For a slice in a later turn. To be called when this one is used up."""
        granted = asyncio.get_running_loop().create_future()
        (self.new if is_new else self.begun).append(granted)
        return granted

    def _begin(self) -> float:
        began = self.began = perf_counter()
        self._left = TURNS_BETWEEN
        asyncio.get_running_loop().call_soon(self._next)
        return began

    def _next(self) -> None:
        if self._left and (self.new or self.begun):
            self._left -= 1
            asyncio.get_running_loop().call_soon(self._next)
            return
        self.began = None
        self._prefers_new = not self._prefers_new
        first, second = (self.new, self.begun) if self._prefers_new else (self.begun, self.new)
        while first or second:
            granted = (first or second).popleft()
            if not granted.done():
                # It goes on in the next turn of the loop, of which this is the only slice but for what has waited.
                granted.set_result(None)
                self._begin()
                return


_turns: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns]] = WeakKeyDictionary()


class Slices:
    """The slices of one piece of work."""

    __slots__ = ("_is_new", "_turns")

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        turns = _turns.get(loop)
        if turns is None:
            turns = _turns[loop] = _Turns()
        self._turns = turns
        self._is_new = True

    async def pause(self) -> None:
        """Before a slice: let others run, if slices have had their time of this turn of the loop."""
        if self._turns.is_used_up:
            await self._turns.wait(is_new=self._is_new)
        self._is_new = False
