"""When what connections hold is exempted from garbage collection, and when it is looked through after all."""

from __future__ import annotations

import gc
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import pytest

from graph.server import garbage
from graph.server.garbage import CONNECTIONS_AT_ONCE, MANY, MOST_GROWTH, ConnectionGarbage, LongLived


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> mock.Mock:
    collector = mock.Mock()
    collector.isenabled.return_value = True
    monkeypatch.setattr(garbage, "gc", collector)
    return collector


def calls(collector: mock.Mock) -> list[str]:
    return [name for name, *_ in collector.method_calls if name != "isenabled"]


def opened(connections: ConnectionGarbage, first: int, last: int) -> None:
    for count in range(first, last + 1):
        connections.opened(count)


def closed(connections: ConnectionGarbage, first: int, last: int) -> None:
    for count in range(first, last - 1, -1):
        connections.closed(count)


def test_the_objects_of_so_many_connections_are_looked_at_once_and_exempted(collector: mock.Mock) -> None:
    connections = ConnectionGarbage()
    opened(connections, 1, CONNECTIONS_AT_ONCE - 1)
    assert calls(collector) == []
    opened(connections, CONNECTIONS_AT_ONCE, 3 * CONNECTIONS_AT_ONCE)
    assert calls(collector) == 3 * ["collect", "freeze"]
    assert collector.collect.call_args == mock.call(1)


def test_connections_that_come_and_go_exempt_nothing(collector: mock.Mock) -> None:
    connections = ConnectionGarbage()
    for _ in range(5 * CONNECTIONS_AT_ONCE):
        opened(connections, 1, 2)
        closed(connections, 1, 0)
    assert calls(collector) == []


def test_those_that_come_in_place_of_others_are_exempted_again(collector: mock.Mock) -> None:
    connections = ConnectionGarbage()
    opened(connections, 1, CONNECTIONS_AT_ONCE)
    closed(connections, CONNECTIONS_AT_ONCE - 1, 0)
    opened(connections, 1, CONNECTIONS_AT_ONCE)
    assert calls(collector) == 2 * ["collect", "freeze"]


def test_nothing_is_exempted_while_the_collector_is_off(collector: mock.Mock) -> None:
    collector.isenabled.return_value = False
    connections = ConnectionGarbage()
    opened(connections, 1, 2 * CONNECTIONS_AT_ONCE)
    assert calls(collector) == []
    collector.isenabled.return_value = True
    connections.opened(2 * CONNECTIONS_AT_ONCE + 1)
    assert calls(collector) == ["collect", "freeze"]


def test_once_most_have_left_everything_is_looked_through_and_not_again_for_an_hour(collector: mock.Mock) -> None:
    now = 0.0
    connections = ConnectionGarbage(lambda: now)

    def come_and_go() -> list[str]:
        opened(connections, 1, 2_000)
        collector.reset_mock()
        closed(connections, 1_999, 0)
        return calls(collector)

    assert come_and_go() == []
    now = 3_600.0
    assert come_and_go() == ["unfreeze", "collect", "freeze"]
    now = 7_199.0
    assert come_and_go() == []
    now = 7_200.0
    assert come_and_go() == ["unfreeze", "collect", "freeze"]


def test_few_connections_are_not_looked_for(collector: mock.Mock) -> None:
    now = 0.0
    connections = ConnectionGarbage(lambda: now)
    now = 10_000.0
    opened(connections, 1, 900)
    collector.reset_mock()
    closed(connections, 899, 0)
    assert calls(collector) == []


def full_collection(long_lived: LongLived, collector: mock.Mock, stayed: int) -> list[str]:
    """What is called for one that finds so many objects to stay."""
    collector.reset_mock()
    collector.get_objects.return_value = range(stayed)
    for phase in ("start", "stop"):
        long_lived(phase, {"generation": 2, "collected": 0, "uncollectable": 0})
    return [name for name in calls(collector) if name != "get_objects"]


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> mock.Mock:
    """How many memory blocks there are."""
    blocks = mock.Mock(return_value=1_000)
    monkeypatch.setattr("sys.getallocatedblocks", blocks)
    return blocks


def test_what_a_full_collection_found_to_stay_is_exempted_once_it_is_much(
    collector: mock.Mock, blocks: mock.Mock
) -> None:
    long_lived = LongLived()
    blocks.return_value = 3_000
    assert full_collection(long_lived, collector, MANY - 1) == []
    assert full_collection(long_lived, collector, MANY) == ["freeze"]
    collector.reset_mock()
    for phase in ("start", "stop"):
        long_lived(phase, {"generation": 1, "collected": 0, "uncollectable": 0})
    assert calls(collector) == []


def test_everything_is_looked_at_again_once_memory_has_grown(collector: mock.Mock, blocks: mock.Mock) -> None:
    now = 0.0
    long_lived = LongLived(lambda: now)
    blocks.return_value = 1_000 + MOST_GROWTH
    assert full_collection(long_lived, collector, 10) == []
    blocks.return_value += 1
    assert full_collection(long_lived, collector, 10) == ["unfreeze", "freeze"]
    blocks.return_value = int(blocks.return_value * 1.5) + 1
    assert full_collection(long_lived, collector, 10) == []
    now = 3_600.0
    assert full_collection(long_lived, collector, 10) == ["unfreeze", "freeze"]
    now = 7_200.0
    assert full_collection(long_lived, collector, 10) == []


def test_what_other_threads_are_making_is_counted_and_not_held() -> None:
    """A tuple of a generator that has a second reference when it is finished is a SystemError."""
    long_lived = LongLived()
    done = threading.Event()

    def make() -> None:
        try:
            for _ in range(1_000):
                assert len(tuple(number for number in range(1_000))) == 1_000
        finally:
            done.set()

    before = sys.getswitchinterval()
    gc.disable()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(1) as threads:
            making = threads.submit(make)
            while not done.is_set():
                gc.collect()
                long_lived("stop", {"generation": 2})
            making.result()
    finally:
        sys.setswitchinterval(before)
        gc.enable()
        gc.unfreeze()
