"""One GraphQL subscription over a socket of its own: the client's side of graphql-transport-ws.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md. Why it is ours: docs/decisions/0005.
"""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Final

from websockets.client import process_exception
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from graph.cli.address import Address
from graph.cli.api import unreachable
from graph.cli.errors import failure_of
from graph.cli.exits import Exit, Failure
from graph.cli.output import Json
from graph.operations import operation

_PROTOCOL: Final = Subprotocol("graphql-transport-ws")
_PATIENCE_SECONDS: Final = 10.0
_CLOSING_SECONDS: Final = 1.0
_LARGEST_MESSAGE: Final = 64 * 2**20  # bytes; a batch holds up to 500 diffs with everything their authors wrote
_ID: Final = "1"


class ConnectionLost(Exception):
    """The stream broke off, or could not be opened just now; opened again, it goes on. Says why."""


def subscribe(address: Address, name: str, variables: Json) -> Generator[Json, None, None]:
    """What subscription `name` answers with, event by event.

    Events that are not taken yet wait in the socket, not in our memory: the server sees a slow subscriber. Raises
    ConnectionLost, and Failure for what trying again would not mend.
    """
    with _connected(address) as socket:
        _send(socket, {"type": "connection_init"})
        _expect_acknowledgement(_receive(socket, _PATIENCE_SECONDS))
        payload = {"query": operation(name), "operationName": name, "variables": variables}
        _send(socket, {"type": "subscribe", "id": _ID, "payload": payload})
        while True:
            message = _receive(socket)
            match message.get("type"):
                case "next":
                    yield _event(message["payload"])
                case "error":
                    raise _refusal(failure_of(message["payload"]))
                case "complete":
                    raise ConnectionLost("the server ended the subscription")
                case "ping":
                    _send(socket, {"type": "pong"})


@contextmanager
def _connected(address: Address) -> Iterator[ClientConnection]:
    try:
        connection = connect(
            address.socket,
            subprotocols=[_PROTOCOL],
            compression=None,
            proxy=True if address.through_proxy else None,
            open_timeout=_PATIENCE_SECONDS,
            close_timeout=_CLOSING_SECONDS,
            max_size=_LARGEST_MESSAGE,
        )
    except (OSError, WebSocketException) as error:
        if process_exception(error) is None:
            raise ConnectionLost(str(error) or type(error).__name__) from error
        raise unreachable(address, error) from error
    with connection as socket:
        yield socket


def _receive(socket: ClientConnection, seconds: float | None = None) -> Json:
    try:
        message = json.loads(socket.recv(seconds))
    except TimeoutError as error:
        raise ConnectionLost(f"no answer within {seconds:g} seconds") from error
    except ConnectionClosed as closed:
        raise _closed(closed) from closed
    return dict(message)


def _send(socket: ClientConnection, message: Json) -> None:
    try:
        socket.send(json.dumps(message))
    except ConnectionClosed as closed:
        raise _closed(closed) from closed


def _closed(closed: ConnectionClosed) -> ConnectionLost:
    if closed.rcvd is None:
        return ConnectionLost("the connection broke off")
    reason = f": {closed.rcvd.reason}" if closed.rcvd.reason else ""
    return ConnectionLost(f"the server closed the connection ({closed.rcvd.code}{reason})")


def _expect_acknowledgement(message: Json) -> None:
    if message.get("type") != "connection_ack":
        raise Failure(Exit.INTERNAL, f"The server greeted with {message.get('type')!r}, not with connection_ack.")


def _event(payload: Json) -> Json:
    if payload.get("errors"):
        raise _refusal(failure_of(payload["errors"]))
    (event,) = payload["data"].values()
    return dict(event)


def _refusal(failure: Failure) -> Exception:
    """A server that cannot just now is as good as none."""
    return ConnectionLost(failure.message) if failure.exit is Exit.UNAVAILABLE else failure
