"""Frames that are written past ASGI: their bytes, and when they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode

from graph.close_codes import CloseCode
from graph.http.websocket import FRAMES, next_frame
from graph.server.websocket_protocol import WebSocketProtocol

HANDSHAKE = (
    b"GET /graphql HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
FRAME = next_frame(b"{", b"1")


@pytest.mark.parametrize("size", [2, 125, 126, 65_535, 65_536, 300_000])
def test_a_frame_is_that_of_the_protocol(size: int) -> None:
    frame = next_frame(b"{", b"x" * (size - 2))
    assert frame == Frame(Opcode.TEXT, b"{" + b"x" * (size - 2) + b"}").serialize(mask=False)


class Transport(asyncio.Transport):
    """Notes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closing = False

    def write(self, data: Any) -> None:
        assert not self.closing
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def write_eof(self) -> None:
        """The client reads as far as it can."""

    def abort(self) -> None:
        self.closing = True

    def pause_reading(self) -> None:
        """Nothing is read."""

    def resume_reading(self) -> None:
        """Nothing is read."""


class Connection:
    """A socket whose application does what a test has it do with `scope` and `send`."""

    def __init__(self, protocol: Any = WebSocketProtocol, *, compression: bool = False) -> None:
        self.transport = Transport()
        self._leave = asyncio.Event()
        self._begun = asyncio.Event()
        config = uvicorn.Config(
            self._app, interface="asgi3", ws_per_message_deflate=compression, log_config=None, lifespan="off"
        )
        config.load()
        self.state = ServerState()
        self.protocol = protocol(config, self.state, {})
        self.protocol.connection_made(self.transport)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        self.scope, self.send = scope, send
        self._begun.set()
        await self._leave.wait()

    async def begin(self, extensions: bytes = b"") -> None:
        self.protocol.data_received(HANDSHAKE + extensions + b"\r\n")
        await self._begun.wait()

    async def accept(self) -> None:
        await self.begin()
        await self.send({"type": "websocket.accept"})
        self.transport.written.clear()

    def write(self, frame: bytes) -> bool:
        return bool(self.scope["extensions"][FRAMES].write_frame(frame))

    async def end(self) -> None:
        self._leave.set()
        self.protocol.stop_keepalive()
        if self.protocol.close_timer is not None:
            self.protocol.close_timer.cancel()
        for task in list(self.state.tasks):
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    connection = Connection()
    yield connection
    await connection.end()


async def test_a_frame_is_written_as_it_is_in_the_order_of_messages(connection: Connection) -> None:
    await connection.accept()
    await connection.send({"type": "websocket.send", "text": "a"})
    assert connection.write(FRAME)
    await connection.send({"type": "websocket.send", "text": "b"})
    assert connection.transport.written == [b"\x81\x01a", FRAME, b"\x81\x01b"]
    assert connection.transport.written[1] is FRAME


async def test_an_open_socket_holds_nothing_of_its_handshake(connection: Connection) -> None:
    await connection.accept()
    assert connection.scope["headers"] == []
    assert not {"_handshake", "_answer", "_scope"} & {
        name for name in WebSocketProtocol.__slots__ if getattr(connection.protocol, name)
    }


async def test_nothing_is_written_before_the_socket_is_open(connection: Connection) -> None:
    await connection.begin()
    assert not connection.write(FRAME)
    assert connection.transport.written == []


async def test_nothing_is_written_while_the_client_does_not_read(connection: Connection) -> None:
    await connection.accept()
    connection.protocol.pause_writing()
    assert not connection.write(FRAME)
    assert connection.transport.written == []
    connection.protocol.resume_writing()
    assert connection.write(FRAME)


async def test_nothing_is_written_after_a_close(connection: Connection) -> None:
    await connection.accept()
    await connection.send({"type": "websocket.close", "code": CloseCode.TOKEN_OUTDATED})
    assert not connection.write(FRAME)
    assert [frame[:1] for frame in connection.transport.written] == [b"\x88"]


async def test_nothing_is_written_once_the_client_closes(connection: Connection) -> None:
    await connection.accept()
    connection.protocol.data_received(b"\x88\x82\0\0\0\0\x03\xe8")
    assert not connection.write(FRAME)
    assert [frame[:1] for frame in connection.transport.written] == [b"\x88"]


async def test_nothing_is_written_once_the_server_stops(connection: Connection) -> None:
    await connection.accept()
    connection.protocol.shutdown()
    assert not connection.write(FRAME)
    assert [frame[:4] for frame in connection.transport.written] == [b"\x88\x02\x03\xf4"]


async def test_nothing_is_written_once_the_connection_is_lost(connection: Connection) -> None:
    await connection.accept()
    connection.transport.closing = True
    connection.protocol.connection_lost(ConnectionResetError())
    assert not connection.write(FRAME)


async def test_a_socket_with_compression_has_no_short_way() -> None:
    """uvicorn's own, since this server's has none."""
    connection = Connection(WebSocketsSansIOProtocol, compression=True)
    await connection.begin(b"sec-websocket-extensions: permessage-deflate\r\n")
    assert FRAMES not in connection.scope["extensions"]
    await connection.end()


async def test_a_socket_without_compression_has_it_where_others_may_have_compression() -> None:
    connection = Connection(compression=True)
    await connection.begin(b"sec-websocket-extensions: permessage-deflate\r\n")
    assert FRAMES in connection.scope["extensions"]
    await connection.send({"type": "websocket.accept"})
    assert b"sec-websocket-extensions" not in connection.transport.written[0].lower()
    await connection.end()
