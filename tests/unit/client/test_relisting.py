"""Clients that lose their place in the stream together do not read their tables together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, Final

import pytest

from graph.client.address import read_address
from graph.client.errors import OperationRefused
from graph.client.follower import Follower, Timeouts
from graph.client.reconnect import relist_delay
from graph.client.state import ClientState
from graph.client.table import LiveTable, Selection, StreamBroken
from graph.client.verification import TableWrong

CLIENTS: Final = 40
NOBODY: Final = read_address("http://127.0.0.1:1")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def wait(self, seconds: float) -> None:
        self.now += seconds


def lists(monkeypatch: pytest.MonkeyPatch, seed: int, ends: list[Exception], relist: float = 5.0) -> list[float]:
    """When a client reads its table, in seconds since it was started: each time its stream ends as it is told."""
    clock, times = Clock(), list[float]()

    def read_table(_requests: object, selection: Selection) -> Iterator[LiveTable]:
        times.append(clock.now)
        if len(times) > len(ends):
            follower.stop()
        yield LiveTable(f"c{len(times)}", 1, selection)

    @contextmanager
    def subscription(*_: Any) -> Iterator[Any]:
        if len(times) <= len(ends):
            raise ends[len(times) - 1]
        yield None

    monkeypatch.setattr("graph.client.follower.read_table", read_table)
    monkeypatch.setattr("graph.client.follower.subscription", subscription)
    follower = Follower(
        [NOBODY], Selection(), Timeouts(relist=relist), ClientState(), None, wait=clock.wait, jitter=Random(seed).random
    )
    follower.run()
    return times


@pytest.mark.parametrize(
    "end",
    [
        *(OperationRefused.of("gone", code) for code in ("EPOCH_MISMATCH", "COMPACTED", "FUTURE_CURSOR", "BAD_CURSOR")),
        StreamBroken("after revision 1 came 3"),
    ],
    ids=str,
)
def test_the_first_list_is_at_once_and_the_next_ones_are_spread(
    monkeypatch: pytest.MonkeyPatch, end: Exception
) -> None:
    relists = []
    for seed in range(CLIENTS):
        first, again = lists(monkeypatch, seed, [end])
        assert first == 0.0
        relists.append(again)
    relists.sort()
    assert 0 <= relists[0] < relists[-1] <= 5.0
    for second in range(5):
        assert 2 <= sum(second <= time < second + 1 for time in relists) <= 16
    assert max(sum(time <= other < time + 0.11 for other in relists) for time in relists) <= 5


def test_the_spread_is_the_clients_to_set_and_grows_with_each_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = OperationRefused.of("gone", "EPOCH_MISMATCH")
    waited = [lists(monkeypatch, seed, [lost, lost, lost], relist=8.0) for seed in range(CLIENTS)]
    for number, bound in enumerate((8.0, 16.0, 32.0)):
        waits = [times[number + 1] - times[number] for times in waited]
        assert bound * 0.8 < max(waits) <= bound
    assert lists(monkeypatch, 1, [lost, lost], relist=0.0) == [0.0, 0.0, 0.0]


def test_the_bound_does_not_grow_for_ever() -> None:
    assert [relist_delay(5.0, failures, 1.0) for failures in (0, 1, 2, 3, 4, 10_000)] == [5, 10, 20, 40, 60, 60]
    assert relist_delay(5.0, 3, 0.0) == 0.0


def test_a_table_that_is_wrong_here_alone_is_read_anew_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first, again, third = lists(monkeypatch, 1, [TableWrong("altered"), TableWrong("again")])
    assert (first, again) == (0.0, 0.0)
    assert 0 < third <= 0.5
