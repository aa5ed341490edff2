"""One GraphQL subscription over a socket of its own: the client's side of graphql-transport-ws.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md. Why it is ours: docs/decisions/0005.
"""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Final

from websockets.client import process_exception
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from graph.client.address import Address
from graph.client.credentials import Credentials
from graph.client.errors import (
    Answer,
    ConnectionLost,
    NotGraphQL,
    OperationRefused,
    ProtocolBroken,
    ServerUnreachable,
)
from graph.client.http import proxy_note
from graph.client.records import Json
from graph.close_codes import CloseCode, is_final
from graph.operations import operation

_PROTOCOL: Final = Subprotocol("graphql-transport-ws")

_TIMEOUT_SECONDS: Final = 10.0

_CLOSING_SECONDS: Final = 1.0

_LARGEST_MESSAGE: Final = 64 * 2**20  # bytes; a batch holds up to 500 diffs with everything their authors wrote

_ID: Final = "1"


class Subscription:
    """Events that are not taken yet wait in the socket, not in memory, where the server notices a slow subscriber."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    def start(self, name: str, variables: Json, authorization: str | None) -> None:
        payload = {} if authorization is None else {"payload": {"authorization": authorization}}
        _send(self._socket, {"type": "connection_init", **payload})
        greeting = _receive(self._socket, _TIMEOUT_SECONDS, introduced=False)
        if greeting is None:
            raise ConnectionLost(f"no answer within {_TIMEOUT_SECONDS:g} seconds")
        if greeting.get("type") != "connection_ack":
            raise ProtocolBroken(f"The server greeted with {greeting.get('type')!r}, not with connection_ack.")
        request = {"query": operation(name), "operationName": name, "variables": variables}
        _send(self._socket, {"type": "subscribe", "id": _ID, "payload": request})

    def next(self, seconds: float | None = None) -> Json | None:
        """The next event; null if `seconds` pass without a message, and for a message that is none.

        Raises ConnectionLost, and OperationRefused or ProtocolBroken where a retry would not help.
        """
        message = _receive(self._socket, seconds)
        if message is None:
            return None
        match message.get("type"):
            case "next":
                return _event(message.get("payload"))
            case "error":
                refused = OperationRefused.read(message.get("payload"))
                raise _refusal(refused) if refused else ProtocolBroken("An error came that is none of GraphQL's.")
            case "complete":
                raise ConnectionLost("the server ended the subscription")
            case "ping":
                _send(self._socket, {"type": "pong"})
        return None

    def close(self) -> None:
        """From any thread: `next` raises ConnectionLost."""
        self._socket.close()


@contextmanager
def subscription(address: Address, name: str, variables: Json) -> Iterator[Subscription]:
    """Subscription `name`, open until the context ends. Raises ConnectionLost, and ClientError as `subscribe` does."""
    # Read each time: the token of the last connection may have expired with it.
    authorization = None if address.token is None else Credentials(address.token).authorization()
    with _connected(address) as socket:
        opened = Subscription(socket)
        opened.start(name, variables, authorization)
        yield opened


def subscribe(address: Address, name: str, variables: Json) -> Generator[Json, None, None]:
    """What subscription `name` answers with, event by event.

    Raises ConnectionLost, and another ClientError where a retry would not help.
    """
    with subscription(address, name, variables) as opened:
        while True:
            event = opened.next()
            if event is not None:
                yield event


@contextmanager
def _connected(address: Address) -> Iterator[ClientConnection]:
    try:
        connection = connect(
            address.socket,
            subprotocols=[_PROTOCOL],
            compression=None,
            proxy=True if address.through_proxy else None,
            open_timeout=_TIMEOUT_SECONDS,
            close_timeout=_CLOSING_SECONDS,
            max_size=_LARGEST_MESSAGE,
        )
    except (OSError, WebSocketException, ValueError) as error:  # ValueError for a host that no name can be, or a proxy
        if isinstance(error, InvalidStatus) and (refused := _refused(error.response.body)):
            raise refused from error
        if isinstance(error, WebSocketException | OSError) and process_exception(error) is None:
            raise ConnectionLost(str(error) or type(error).__name__) from error
        if isinstance(error, InvalidStatus):
            text = bytes(error.response.body or b"").decode(errors="replace")
            raise NotGraphQL(address, error.response.status_code, text, url=address.socket) from error
        raise ServerUnreachable(address, f"{error}{proxy_note(address)}") from error
    with connection as socket:
        yield socket


def _refused(body: bytes | bytearray | None) -> OperationRefused | None:
    """That a server of ours refused a handshake with; null of others."""
    try:
        return OperationRefused.read(json.loads(body or b"")["errors"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _receive(socket: ClientConnection, seconds: float | None, *, introduced: bool = True) -> Json | None:
    try:
        text = socket.recv(seconds)
    except TimeoutError:
        return None
    except ConnectionClosed as closed:
        raise _closed(closed, introduced=introduced) from closed
    try:
        message = json.loads(text, object_hook=Answer)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise ProtocolBroken("What came is no message of graphql-transport-ws: it is no JSON object.")
    return message


def _send(socket: ClientConnection, message: Json) -> None:
    try:
        socket.send(json.dumps(message))
    except ConnectionClosed as closed:
        raise _closed(closed, introduced=True) from closed


def _closed(closed: ConnectionClosed, *, introduced: bool) -> Exception:
    """`introduced`: whether the server had accepted the token."""
    if closed.rcvd is None:
        return ConnectionLost("the connection broke off")
    code, reason = closed.rcvd.code, closed.rcvd.reason
    if code == CloseCode.UNAUTHORIZED or (code == CloseCode.TOKEN_OUTDATED and not introduced):
        return OperationRefused.of(reason.partition(": ")[2] or reason, "UNAUTHENTICATED")
    why = f"the server closed the connection ({code}{reason and f': {reason}'})"
    return ProtocolBroken(f"T{why[1:]}, for good.") if is_final(code) else ConnectionLost(why)


def _event(payload: object) -> Json:
    if isinstance(payload, dict):
        if refused := OperationRefused.read(payload.get("errors")):
            raise _refusal(refused)
        data = payload.get("data")
        if isinstance(data, dict) and len(data) == 1 and isinstance(event := next(iter(data.values())), dict):
            return event
    raise ProtocolBroken("An event came that is not what was subscribed to.")


def _refusal(refused: OperationRefused) -> Exception:
    return ConnectionLost(str(refused)) if refused.may_pass else refused
