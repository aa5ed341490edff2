"""A connection lives no longer than the token it was opened with, whatever the clocks do."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from graph.auth import tokens as expiry
from graph.auth.principal import Principal
from graph.auth.tokens import SLICE_SECONDS, wait_until_expired

HOUR = 3_600.0
START = 1_700_000_000.0


@dataclass
class Clocks:
    """The machine's and the event loop's, which only sleeping moves. The machine's jumps once so many have been slept,
    and `lost` are those that the loop's does not count meanwhile, as when the machine is suspended."""

    jump: float = 0.0
    lost: float = 0.0
    after: float = 0.0
    wall: float = START
    loop: float = 50.0
    longest: float = 0.0

    def time(self) -> float:
        return self.wall

    async def sleep(self, seconds: float) -> None:
        self.longest = max(self.longest, seconds)
        self.wall += seconds
        self.loop += seconds
        if self.jump or self.lost:
            self.after -= seconds
            if self.after <= 0:
                self.wall += self.jump + self.lost
                self.jump = self.lost = 0.0


async def lived(monkeypatch: pytest.MonkeyPatch, clocks: Clocks, seconds: float) -> float:
    """Of a connection whose token was good for so many seconds: how many it was open, by the loop's clock."""
    began = clocks.loop
    loop = SimpleNamespace(time=lambda: clocks.loop)
    monkeypatch.setattr(expiry, "asyncio", SimpleNamespace(get_running_loop=lambda: loop, sleep=clocks.sleep))
    monkeypatch.setattr(expiry, "time", clocks)
    await wait_until_expired(Principal("alice", frozenset(), START + seconds))
    assert clocks.longest <= SLICE_SECONDS
    return clocks.loop - began


async def test_it_ends_when_the_token_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await lived(monkeypatch, Clocks(), HOUR) == pytest.approx(HOUR)
    assert await lived(monkeypatch, Clocks(), 0.25) == pytest.approx(0.25)
    assert await lived(monkeypatch, Clocks(), -1.0) == 0.0


async def test_a_clock_that_is_set_forward_past_the_end_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await lived(monkeypatch, Clocks(jump=HOUR, after=60.0), HOUR) <= 60.0 + SLICE_SECONDS
    assert await lived(monkeypatch, Clocks(jump=HOUR / 2, after=60.0), HOUR) == pytest.approx(HOUR / 2)


async def test_a_machine_that_slept_past_the_end_ends_it_when_it_wakes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await lived(monkeypatch, Clocks(lost=8 * HOUR, after=60.0), HOUR) <= 60.0 + SLICE_SECONDS


@pytest.mark.parametrize("jump", [-HOUR, -1.0, -1_000 * HOUR])
async def test_a_clock_that_is_set_back_lets_it_live_no_longer(monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    assert await lived(monkeypatch, Clocks(jump=jump, after=60.0), HOUR) == pytest.approx(HOUR)
