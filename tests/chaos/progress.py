"""How far a run is: what was acknowledged to writers, and what reached subscribers. Others wait for both here."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A batch with diffs, as a subscriber dealt with it. `number` is the subscriber's."""

    number: int
    server: int
    epoch: str
    revision: int


@dataclass
class Progress:
    """`diffs` have been acknowledged, up to `revision` of `epoch`; `deliveries` have been made. `reconnects` is how
    often a subscriber came back, `endings` how often it had to because of what (see GoneError).
    """

    diffs: int = 0
    epoch: str = ""
    revision: int = 0
    deliveries: int = 0
    reconnects: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    acknowledged_at: float = field(default_factory=monotonic)
    _goals: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)
    _awaited: list[tuple[Callable[[Arrival], bool], asyncio.Future[None]]] = field(default_factory=list)

    async def reached(self, diffs: int) -> None:
        """Returns once so many have been acknowledged."""
        if self.diffs >= diffs:
            return
        goal = asyncio.get_running_loop().create_future()
        self._goals.append((diffs, goal))
        await goal

    async def arrived(self, wanted: Callable[[Arrival], bool]) -> None:
        """Returns at the first delivery that matches."""
        arrival = asyncio.get_running_loop().create_future()
        self._awaited.append((wanted, arrival))
        await arrival

    def acknowledge(self, epoch: str, revision: int, diffs: int) -> None:
        self.diffs += diffs
        self.revision = revision if epoch != self.epoch else max(revision, self.revision)
        self.epoch = epoch
        self.acknowledged_at = monotonic()
        self._goals = _without_met(self._goals, lambda goal: self.diffs >= goal)

    def deliver(self, arrival: Arrival, diffs: int) -> None:
        self.deliveries += diffs
        if self._awaited:
            self._awaited = _without_met(self._awaited, lambda wanted: wanted(arrival))


def _without_met(
    waiting: list[tuple[T, asyncio.Future[None]]], met: Callable[[T], bool]
) -> list[tuple[T, asyncio.Future[None]]]:
    """Those that still wait; the others are released."""
    left = []
    for condition, future in waiting:
        if not met(condition):
            left.append((condition, future))
        elif not future.done():
            future.set_result(None)
    return left
