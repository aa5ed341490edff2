"""What a client shows of itself."""

from __future__ import annotations

import time

import pytest

from graph.client.state import ClientState, State


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="needs a clock that goes on while the host is asleep")
def test_a_table_grows_old_while_the_host_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The monotonic clock stands still then."""
    state = ClientState()
    state.enter(State.LIVE)
    awake = time.clock_gettime(time.CLOCK_BOOTTIME)
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: awake + 3_600)
    assert 3_599 < state.seconds_behind < 3_660
