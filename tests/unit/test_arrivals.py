"""Connections that were accepted: served a few in a turn of the event loop, of each address one after the other."""

from __future__ import annotations

import asyncio
import itertools
import math
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from graph.server import arrivals as arrivals_module
from graph.server import short_calls
from graph.server.arrivals import LONG_TURN_SECONDS, SERVED_AT_ONCE, SERVED_WHEN_BUSY, Arrivals


class Connection:
    """`name` is its address."""

    def __init__(self, name: str) -> None:
        self.name = name


@pytest.fixture(autouse=True)
def _names_are_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    def peer_of(connection: socket.socket | Connection) -> bytes | None:
        return connection.name.encode() if isinstance(connection, Connection) else short_calls.peer_of(connection)

    monkeypatch.setattr(arrivals_module, "peer_of", peer_of)


@pytest.fixture
def _no_turn_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is."""
    monkeypatch.setattr(arrivals_module, "LONG_TURN_SECONDS", math.inf)


@pytest.fixture
def _all_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals_module, "has_left", lambda _: False)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def of(*names: str) -> list[socket.socket]:
    return [Connection(name) for name in names]  # type: ignore[misc]


@pytest.mark.usefixtures("_all_stay", "_no_turn_is_long")
async def test_a_client_with_many_is_not_before_another_with_one() -> None:
    turns: list[list[str]] = [[]]
    arrivals = Arrivals(lambda connection: turns[-1].append(connection.name), 1_000)  # type: ignore[attr-defined]
    for connection in of(*["attacker"] * 100, "other", "third", "other"):
        assert arrivals.add(connection)
    while sum(map(len, turns)) < 103:
        turns.append([])
        await asyncio.sleep(0)
    served = [name for turn in turns for name in turn]
    # The first few came before anything else was known; then it is each address's turn.
    assert served[:SERVED_AT_ONCE] == ["attacker"] * SERVED_AT_ONCE
    assert served[SERVED_AT_ONCE:][:6] == ["attacker", "other", "third", "attacker", "other", "attacker"]
    assert max(map(len, turns)) == SERVED_AT_ONCE
    assert len(served) == 103


@pytest.mark.usefixtures("_all_stay", "_no_turn_is_long")
async def test_a_client_of_which_none_waits_is_served_at_once_beside_one_with_many() -> None:
    served: list[str] = []
    arrivals = Arrivals(lambda connection: served.append(connection.name), 1_000)  # type: ignore[attr-defined]
    assert all(map(arrivals.add, of(*["attacker"] * 100)))
    await asyncio.sleep(0)
    for turn in "ab":
        served.clear()
        # An attacker with many addresses is before others no more often than that.
        names = [f"{turn}{number}" for number in range(SERVED_WHEN_BUSY + 2)]
        assert all(map(arrivals.add, of("attacker", *names)))
        assert served == names[:SERVED_WHEN_BUSY]
        await asyncio.sleep(0)
        assert [name for name in served if name != "attacker"] == names
    arrivals.serve_all()  # else they would come in other tests


@pytest.mark.usefixtures("_all_stay")
async def test_fewer_are_served_in_a_turn_after_a_long_one() -> None:
    turns: list[int] = [0]

    def serve(_: socket.socket) -> None:
        turns[-1] += 1

    arrivals = Arrivals(serve, 1_000)
    for connection in of(*["a"] * 30):
        arrivals.add(connection)
    for _ in range(5):
        time.sleep(1.1 * LONG_TURN_SECONDS)  # noqa: ASYNC251 - a long turn
        await asyncio.sleep(0)
        turns.append(0)
    assert turns[:4] == [SERVED_AT_ONCE + SERVED_WHEN_BUSY, *[SERVED_WHEN_BUSY] * 3]
    arrivals.serve_all()


@pytest.mark.skipif(not hasattr(select, "POLLRDHUP"), reason="only Linux tells")
@pytest.mark.usefixtures("_no_turn_is_long")
async def test_of_many_those_whose_clients_have_left_are_closed_and_take_no_turn(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals_module, "_CLEARING_SECONDS", math.inf)
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    served: list[socket.socket] = []
    arrivals = Arrivals(served.append, 1_000)
    left: list[socket.socket] = []
    stayed: list[socket.socket] = []
    for number in range(60):
        client = stack.enter_context(socket.create_connection(listener.getsockname()))
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        connection = stack.enter_context(listener.accept()[0])
        (left if number < 40 else stayed).append(connection)
        if number < 40:
            client.close()
            assert short_calls.has_left(connection)
        assert arrivals.add(connection)
    await asyncio.sleep(0)
    # Of those that left, the first few were not looked at.
    assert served == [*left[:SERVED_AT_ONCE], *stayed[:SERVED_AT_ONCE]]
    assert all(each.fileno() == -1 for each in left[SERVED_AT_ONCE:])


@pytest.mark.usefixtures("_no_turn_is_long")
@pytest.mark.parametrize(("room", "most"), [(1_000, 2), (100, 10)])
async def test_a_turn_is_not_spent_on_closing(room: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(arrivals_module, "perf_counter", lambda: next(ticks) * 2**-10)
    monkeypatch.setattr(arrivals_module, "has_left", lambda _: True)
    closed: list[int] = [0]

    def close(_: socket.socket) -> None:
        closed[-1] += 1

    monkeypatch.setattr(arrivals_module, "close", close)
    arrivals = Arrivals(lambda _: None, room)
    for connection in of(*["attacker"] * 100):
        assert arrivals.add(connection)
    while sum(closed) < 10:
        closed.append(0)
        await asyncio.sleep(0)
    # One a millisecond, for two milliseconds of each turn; for ten where there is little room.
    assert max(closed) == most
    arrivals.serve_all()


async def test_a_few_are_served_though_their_clients_send_no_more(stack: ExitStack) -> None:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    client = stack.enter_context(socket.create_connection(listener.getsockname()))
    connection = stack.enter_context(listener.accept()[0])
    client.shutdown(socket.SHUT_WR)
    served: list[socket.socket] = []
    assert Arrivals(served.append, 10).add(connection)
    await asyncio.sleep(0)
    assert served == [connection]


@pytest.mark.usefixtures("_no_turn_is_long")
async def test_no_more_are_held_than_there_is_room_for() -> None:
    served: list[socket.socket] = []
    arrivals = Arrivals(served.append, 2)
    at_once = of(*["a"] * SERVED_AT_ONCE)
    assert all(map(arrivals.add, at_once))
    assert served == at_once
    first, second, third = of("a", "a", "b")
    assert [arrivals.add(each) for each in (first, second, third)] == [True, True, False]
    assert served == at_once
    await asyncio.sleep(0)
    assert served[SERVED_AT_ONCE:] == [first, second]
    assert arrivals.add(third)
    await asyncio.sleep(0)
    assert served[-1] is third


@pytest.mark.usefixtures("_all_stay")
async def test_all_are_served_when_the_server_stops() -> None:
    served: list[socket.socket] = []
    arrivals = Arrivals(served.append, 100)
    connections = of(*["a"] * 20)
    assert all(map(arrivals.add, connections))
    arrivals.serve_all()
    assert served == connections
    await asyncio.sleep(0)
    assert served == connections


async def test_a_connection_whose_client_has_left_is_closed(stack: ExitStack) -> None:
    served: list[socket.socket] = []
    arrivals = Arrivals(served.append, 10)
    at_once = of(*["a"] * SERVED_AT_ONCE)
    assert all(map(arrivals.add, at_once))
    left = stack.enter_context(socket.socket())  # never connected: it has no peer, as one that was reset
    assert arrivals.add(left)
    assert left.fileno() == -1
    await asyncio.sleep(0)
    assert served == at_once


@pytest.mark.usefixtures("_all_stay", "_no_turn_is_long")
async def test_others_are_served_after_one_that_could_not_be() -> None:
    served: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        served.append(connection)
        if len(served) == SERVED_AT_ONCE + 1:
            raise MemoryError

    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    try:
        arrivals = Arrivals(serve, 100)
        connections = of(*["a"] * 30)
        assert all(map(arrivals.add, connections))
        for _ in range(5):
            await asyncio.sleep(0)
    finally:
        asyncio.get_running_loop().set_exception_handler(None)
    assert served == connections
    assert [type(each) for each in told] == [MemoryError]
