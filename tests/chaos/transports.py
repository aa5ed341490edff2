"""How a subscription reaches a client: graphql-transport-ws, or server-sent events. Both end in the same three ways."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Protocol

import httpx2
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

SUBSCRIPTION: Final = """
subscription ($namespace: String, $filter: ShardFilter, $after: Cursor) {
  shardDiffs(namespace: $namespace, filter: $filter, after: $after) {
    cursor revision caughtUp
    diffs {
      revision kind namespace shardId version changedFields
      previous { namespace shardId version checksum ownerNodeId status }
      current { namespace shardId version checksum ownerNodeId status }
      change { hash }
    }
  }
}"""
_TIMEOUT_SECONDS: Final = 5
_RECEIVE_BYTES: Final = 65_536
# Protocol errors and the like: to come back would not help.
# https://www.iana.org/assignments/websocket/websocket.xhtml and graphql-transport-ws
_FINAL_CODES: Final = frozenset({1002, 1003, 1007, 1008, 1009, 1010, *range(4400, 4500)})


class GoneError(Exception):
    """The connection ended, or fell silent. What was not delivered is to be had from the last cursor.

    `how`: the server's close code, "complete", "silence", "broken"; or "unreachable" where there was none.
    """

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class RefusedError(Exception):
    """The server refused to start the subscription or to go on with it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Stream(Protocol):
    async def batch(self) -> dict[str, Any]:
        """The next one. Raises GoneError or RefusedError."""
        ...

    async def close(self) -> None:
        """As the protocol has it."""
        ...

    async def abort(self) -> None:
        """As a process that is killed; nothing, once it has ended."""
        ...


class Transport(Protocol):
    async def __call__(self, address: str, variables: Mapping[str, Any], cursor: str | None) -> Stream:
        """Raises GoneError or RefusedError."""
        ...


class SocketStream:
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def batch(self) -> dict[str, Any]:
        message = await self._receive()
        if message["type"] == "error":
            raise _refusal(message["payload"])
        if message["type"] != "next":
            raise GoneError("complete")
        return _batch(message["payload"])

    async def close(self) -> None:
        await self._send({"id": "1", "type": "complete"})
        await self._connection.close()

    async def abort(self) -> None:
        self._connection.transport.abort()

    async def introduce(self, variables: Mapping[str, Any]) -> None:
        await self._send({"type": "connection_init"})
        await self._receive()
        await self._send({"id": "1", "type": "subscribe", "payload": {"query": SUBSCRIPTION, "variables": variables}})

    async def _send(self, message: Mapping[str, Any]) -> None:
        try:
            await self._connection.send(orjson.dumps(message), text=True)
        except ConnectionClosed as error:
            raise _ending(error) from error

    async def _receive(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                message: dict[str, Any] = orjson.loads(await self._connection.recv(decode=False))
        except ConnectionClosed as error:
            raise _ending(error) from error
        except TimeoutError as error:
            raise GoneError("silence") from error
        return message


def _ending(closed: ConnectionClosed) -> GoneError | RefusedError:
    if closed.rcvd is None:
        return GoneError("broken")
    if closed.rcvd.code in _FINAL_CODES:
        return RefusedError(str(closed.rcvd.code), closed.rcvd.reason)
    return GoneError(str(closed.rcvd.code))


async def over_websocket(address: str, variables: Mapping[str, Any], cursor: str | None) -> Stream:
    try:
        connection = await connect(
            f"ws://{address}/graphql",
            sock=await _socket(address),
            subprotocols=[Subprotocol("graphql-transport-ws")],
            compression=None,
            max_size=None,
            max_queue=2,
            ping_interval=None,
            open_timeout=_TIMEOUT_SECONDS,
            close_timeout=1,
        )
    except (OSError, InvalidHandshake, TimeoutError, EOFError) as error:
        raise GoneError("unreachable") from error
    stream = SocketStream(connection)
    try:
        await stream.introduce({**variables, "after": cursor})
    except BaseException:
        await stream.abort()
        raise
    return stream


class EventStream:
    """The events of one response. `id` is the cursor; what the server says at the end is `complete`."""

    def __init__(self, client: httpx2.AsyncClient, response: httpx2.Response) -> None:
        self._client = client
        self._response = response
        self._lines: AsyncIterator[str] = response.aiter_lines()

    async def batch(self) -> dict[str, Any]:
        event, data, name = "message", "", ""
        while True:
            line = await self._line()
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                event = value
            elif field == "data":
                data += value
            elif field == "id":
                name = value
            elif not line and event == "complete":
                raise GoneError("complete")
            elif not line and data:
                break
        payload = orjson.loads(data)
        if payload.get("data") is None:
            raise _refusal(payload["errors"])
        batch = _batch(payload)
        if name != batch["cursor"]:
            raise RefusedError("EVENT_ID", f"event id {name!r} is not the cursor {batch['cursor']!r}")
        return batch

    async def close(self) -> None:
        await self._response.aclose()
        await self._client.aclose()

    async def abort(self) -> None:
        """The same: in the middle of a response, to close the connection is all that there is to say."""
        await self.close()

    async def _line(self) -> str:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                return await anext(self._lines)
        except TimeoutError as error:
            raise GoneError("silence") from error
        except (httpx2.HTTPError, OSError, StopAsyncIteration) as error:
            raise GoneError("broken") from error


async def over_events(address: str, variables: Mapping[str, Any], cursor: str | None) -> Stream:
    """Resumes as browsers do, with the id of the last event."""
    client = httpx2.AsyncClient(timeout=httpx2.Timeout(_TIMEOUT_SECONDS, read=None))
    headers = {"accept": "text/event-stream", **({} if cursor is None else {"last-event-id": cursor})}
    body = {"query": SUBSCRIPTION, "variables": variables}
    try:
        request = client.build_request("POST", f"http://{address}/graphql", json=body, headers=headers)
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            response = await client.send(request, stream=True)
            await _require_events(response)
    except (httpx2.HTTPError, TimeoutError, OSError) as error:
        await client.aclose()
        raise GoneError("unreachable") from error
    except BaseException:
        await client.aclose()
        raise
    return EventStream(client, response)


async def _require_events(response: httpx2.Response) -> None:
    """What cannot be followed is refused with an ordinary answer."""
    if not response.headers["content-type"].startswith("text/event-stream"):
        await response.aread()
        raise _refusal(response.json()["errors"])


async def _socket(address: str) -> socket.socket:
    """With a small buffer, so that one who does not read is soon felt."""
    host, _, port = address.partition(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
    connection.setblocking(False)  # noqa: FBT003 - socket has no keyword for it
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
    except BaseException:
        connection.close()
        raise
    return connection


def _batch(payload: Mapping[str, Any]) -> dict[str, Any]:
    if payload.get("errors"):
        raise _refusal(payload["errors"])
    batch: dict[str, Any] = payload["data"]["shardDiffs"]
    return batch


def _refusal(errors: list[dict[str, Any]]) -> RefusedError:
    return RefusedError(str(errors[0].get("extensions", {}).get("code")), errors[0]["message"])
