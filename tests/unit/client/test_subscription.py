"""The client's side of graphql-transport-ws, against a scripted server of a few lines."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.server import ServerConnection, serve

from graph.client.address import Address, read_address
from graph.client.errors import ConnectionLost, OperationRefused, ProtocolBroken
from graph.client.subscription import subscribe
from graph.operations import operation

Script = Callable[[ServerConnection], None]


@contextmanager
def serving(script: Script) -> Iterator[Address]:
    """A server that acknowledges, takes the subscription, and then follows the script."""

    def greeted(socket: ServerConnection) -> None:
        assert json.loads(socket.recv()) == {"type": "connection_init"}
        say(socket, type="connection_ack")
        script(socket)

    with served(greeted) as address:
        yield address


@contextmanager
def served(script: Script) -> Iterator[Address]:
    with serve(script, "127.0.0.1", 0, subprotocols=["graphql-transport-ws"]) as server:  # type: ignore[list-item]  # a NewType
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield read_address(f"http://127.0.0.1:{server.socket.getsockname()[1]}")
        finally:
            server.shutdown()
            thread.join()


def say(socket: ServerConnection, **message: Any) -> None:
    socket.send(json.dumps(message))


def event(number: int) -> dict[str, Any]:
    return {"data": {"shardDiffs": {"cursor": f"c{number}"}}}


def events(address: Address) -> list[str]:
    return [batch["cursor"] for batch in subscribe(address, "WatchShards", {"after": "c0"})]


def test_events_come_in_order_until_the_server_ends_the_stream() -> None:
    def script(socket: ServerConnection) -> None:
        request = json.loads(socket.recv())
        payload = {"query": operation("WatchShards"), "operationName": "WatchShards", "variables": {"after": "c0"}}
        assert request == {"type": "subscribe", "id": "1", "payload": payload}
        for number in (1, 2):
            say(socket, type="next", id="1", payload=event(number))
        say(socket, type="complete", id="1")

    with serving(script) as address:
        stream = subscribe(address, "WatchShards", {"after": "c0"})
        assert [next(stream)["cursor"], next(stream)["cursor"]] == ["c1", "c2"]
        with pytest.raises(ConnectionLost, match="ended the subscription"):
            next(stream)


def test_a_ping_is_answered() -> None:
    answers = []

    def script(socket: ServerConnection) -> None:
        socket.recv()
        say(socket, type="ping")
        answers.append(json.loads(socket.recv()))
        say(socket, type="next", id="1", payload=event(1))

    with serving(script) as address:
        next(subscribe(address, "WatchShards", {}))
    assert answers == [{"type": "pong"}]


def test_a_restarting_server_is_a_lost_connection_with_its_reason() -> None:
    def script(socket: ServerConnection) -> None:
        socket.recv()
        socket.close(1012, "be right back")

    with serving(script) as address, pytest.raises(ConnectionLost, match=r"\(1012: be right back\)"):
        events(address)


@pytest.mark.parametrize("code", [1001, 1011, 1013, 4403, 4408])
def test_a_socket_that_was_closed_for_now_is_a_lost_connection(code: int) -> None:
    def script(socket: ServerConnection) -> None:
        socket.recv()
        socket.close(code, "for now")

    with serving(script) as address, pytest.raises(ConnectionLost, match=rf"\({code}: for now\)"):
        events(address)


@pytest.mark.parametrize("code", [1009, 4400, 4409, 4429])
def test_a_socket_that_was_closed_for_good_is_not_opened_again(code: int) -> None:
    def script(socket: ServerConnection) -> None:
        socket.recv()
        socket.close(code, "Never again")

    with serving(script) as address, pytest.raises(ProtocolBroken) as broken:
        events(address)
    assert str(broken.value) == f"The server closed the connection ({code}: Never again), for good."


@pytest.mark.parametrize("code", [4401, 4403])
def test_a_token_that_is_not_taken_is_refused_with_the_reason(code: int) -> None:
    def script(socket: ServerConnection) -> None:
        socket.recv()
        socket.close(code, "Whatever: the token is no good")

    with served(script) as address, pytest.raises(OperationRefused, match=r"^the token is no good$") as refused:
        events(address)
    assert refused.value.code == "UNAUTHENTICATED"


def test_a_connection_that_breaks_off_is_a_lost_connection() -> None:
    def script(socket: ServerConnection) -> None:
        socket.recv()
        socket.socket.close()

    with serving(script) as address, pytest.raises(ConnectionLost, match=r"broke off|closed"):
        events(address)


@pytest.mark.parametrize("kind", ["error", "next"])
def test_a_refused_position_is_refused_by_its_code(kind: str) -> None:
    error = {"message": "revision 3 was compacted", "extensions": {"code": "COMPACTED", "oldest": "9"}}

    def script(socket: ServerConnection) -> None:
        socket.recv()
        say(socket, type=kind, id="1", payload=[error] if kind == "error" else {"data": None, "errors": [error]})

    with serving(script) as address, pytest.raises(OperationRefused, match="revision 3 was compacted") as refused:
        events(address)
    assert refused.value.code == "COMPACTED"


def test_a_server_without_its_database_is_as_good_as_none() -> None:
    error = {"message": "The store cannot be reached just now.", "extensions": {"code": "UNAVAILABLE"}}

    def script(socket: ServerConnection) -> None:
        socket.recv()
        say(socket, type="error", id="1", payload=[error])

    with serving(script) as address, pytest.raises(ConnectionLost, match="cannot be reached just now"):
        events(address)


def test_a_greeting_that_is_none_is_refused() -> None:
    def script(socket: ServerConnection) -> None:
        socket.recv()
        say(socket, type="ka")

    with served(script) as address, pytest.raises(ProtocolBroken, match="greeted with 'ka'"):
        events(address)


def test_no_server_there_is_a_lost_connection() -> None:
    with served(lambda _: None) as address:
        pass
    with pytest.raises(ConnectionLost):
        events(address)


def test_a_slow_reader_leaves_what_is_sent_in_the_socket() -> None:
    sent = 0
    stopped = threading.Event()

    def script(socket: ServerConnection) -> None:
        nonlocal sent
        socket.recv()
        filler = "x" * 100_000
        while not stopped.is_set():
            say(socket, type="next", id="1", payload={"data": {"shardDiffs": {"cursor": "c", "filler": filler}}})
            sent += 1

    with serving(script) as address:
        stream = subscribe(address, "WatchShards", {})
        next(stream)
        # What fits the socket's buffers and the 16 messages that websockets reads ahead; far from everything.
        stalled = wait_until_it_stands_still(lambda: sent)
        assert stalled < 400
        stopped.set()
        stream.close()


def wait_until_it_stands_still(count: Callable[[], int]) -> int:
    """The count once it has been the same for a tenth of a second."""
    before = -1
    pause = threading.Event()
    while before != (now := count()):
        before = now
        pause.wait(0.1)
    return now
