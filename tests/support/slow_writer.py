"""Writers that have read and decided, and are held up before they commit: what a slow process is to others."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from persistence.commands.write_set import WriteSet
from persistence.model.outcomes import Committed
from persistence.ports.writes import UnitOfWork, UnitOfWorkFactory

Hold = Callable[[WriteSet], Awaitable[None]]


class _Held:
    """A unit of work that waits before it commits; the rest of the port is the unit's own."""

    def __init__(self, unit: UnitOfWork, hold: Hold) -> None:
        self._unit = unit
        self._hold = hold

    def __getattr__(self, name: str) -> Any:
        return getattr(self._unit, name)

    async def commit(self, write_set: WriteSet) -> Committed:
        await self._hold(write_set)
        return await self._unit.commit(write_set)


class SlowWriter:
    """A UnitOfWorkFactory whose first commit waits for `go`; `decided` is set once it does. Later ones do not wait."""

    def __init__(self, unit_of_work: UnitOfWorkFactory) -> None:
        self.decided = asyncio.Event()
        self.go = asyncio.Event()
        self._unit_of_work = unit_of_work

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[UnitOfWork]:
        async with self._unit_of_work() as unit:
            yield _Held(unit, self._hold)

    async def _hold(self, _: WriteSet) -> None:
        self.decided.set()
        await self.go.wait()


class Overtaking:
    """Has changes that are decided wait until others have committed some, or until every worker waits."""

    def __init__(self, randomness: random.Random, most: int) -> None:
        self._randomness = randomness
        self._most = most
        self._moved = asyncio.Condition()
        self._working = 0
        self._waiting = 0
        self._commits = 0

    def writing(self, unit_of_work: UnitOfWorkFactory) -> UnitOfWorkFactory:
        @asynccontextmanager
        async def held() -> AsyncIterator[UnitOfWork]:
            async with unit_of_work() as unit:
                yield _Held(unit, self._hold)

        return held

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        """Around everything that one of the writers does."""
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1
            await self._tell()

    async def committed(self) -> None:
        self._commits += 1
        await self._tell()

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    async def _hold(self, _: WriteSet) -> None:
        until = self._commits + self._randomness.randint(0, self._most)
        self._waiting += 1
        await self._tell()
        try:
            async with self._moved:
                await self._moved.wait_for(lambda: self._commits >= until or self._waiting >= self._working)
        finally:
            self._waiting -= 1
