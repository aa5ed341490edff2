"""Work that would hold the event loop up for as long as it takes, done in slices: other requests run in between."""

import asyncio
from time import perf_counter
from typing import Final

SLICE_SECONDS: Final = 0.002


class Slices:
    """The slices of one piece of work; the first begins now."""

    __slots__ = ("_began",)

    def __init__(self) -> None:
        self._began = perf_counter()

    async def pause(self) -> None:
        """Let others run, if the slice has taken its time."""
        if perf_counter() - self._began > SLICE_SECONDS:
            await asyncio.sleep(0)
            self._began = perf_counter()
