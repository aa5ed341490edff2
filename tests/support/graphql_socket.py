"""A client of graphql-transport-ws that sends exactly what a test gives it, right or wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

_TIMEOUT_SECONDS = 10.0


class Socket:
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.largest = 0
        """Bytes of the largest frame so far."""

    async def send(self, message: Any) -> None:
        """An object as JSON; text and bytes as they are."""
        raw = isinstance(message, str | bytes)
        await self._connection.send(message if raw else json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        frame = await asyncio.wait_for(self._connection.recv(), _TIMEOUT_SECONDS)
        self.largest = max(self.largest, len(frame if isinstance(frame, bytes) else frame.encode()))
        message: dict[str, Any] = json.loads(frame)
        return message

    def stop_reading(self) -> None:
        """What the server sends stays with it, once the buffers of the system are full."""
        self._connection.transport.pause_reading()

    def read_again(self) -> None:
        self._connection.transport.resume_reading()

    async def closed(self) -> tuple[int, str]:
        """Code and reason, once the server has closed the socket; what it still sends before is not looked at."""
        try:
            while True:
                await asyncio.wait_for(self._connection.recv(), _TIMEOUT_SECONDS)
        except ConnectionClosed:
            return self._connection.close_code or 0, self._connection.close_reason or ""

    async def subscribe(self, query: str, variables: Mapping[str, Any] | None = None, *, name: str = "1") -> None:
        await self.send({"id": name, "type": "subscribe", "payload": {"query": query, "variables": variables}})

    async def batch(self, name: str = "1") -> Any:
        """The value of the one field of the next result."""
        message = await self.receive()
        assert (message["type"], message["id"]) == ("next", name), message
        assert "errors" not in message["payload"], message
        (value,) = message["payload"]["data"].values()
        return value

    async def error(self) -> dict[str, Any]:
        """The extensions of the one error that ends an operation."""
        message = await self.receive()
        assert message["type"] == "error", message
        (error,) = message["payload"]
        return {"message": error["message"], **error["extensions"]}


@asynccontextmanager
async def raw_socket(address: str) -> AsyncIterator[Socket]:
    protocols = [Subprotocol("graphql-transport-ws")]
    options: dict[str, Any] = {"compression": None, "max_size": None, "max_queue": None}
    async with connect(f"ws://{address}/graphql", subprotocols=protocols, **options) as connection:
        yield Socket(connection)


@asynccontextmanager
async def graphql_socket(address: str, payload: Mapping[str, Any] | None = None) -> AsyncIterator[Socket]:
    """A socket that has been introduced."""
    async with raw_socket(address) as socket:
        await socket.send({"type": "connection_init"} | ({} if payload is None else {"payload": payload}))
        assert await socket.receive() == {"type": "connection_ack"}
        yield socket
