"""Frames that are written past ASGI: their bytes, and when they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode

from graph.close_codes import CloseCode
from graph.http.socket_adapter import FRAMES
from graph.http.websocket import next_frame
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
        self.paused = False

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
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


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
        self.scope, self.receive, self.send = scope, receive, send
        self._begun.set()
        await self._leave.wait()

    async def begin(self, extensions: bytes = b"") -> None:
        self.protocol.data_received(HANDSHAKE + extensions + b"\r\n")
        await self._begun.wait()

    async def accept(self) -> None:
        await self.begin()
        await self.send({"type": "websocket.accept"})
        self.transport.written.clear()

    def is_paused(self) -> bool:
        return self.transport.paused

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


PING = b"\x89\x80\0\0\0\0"


def masked(payload: bytes, first: int = 0x81) -> bytes:
    """A frame of a client, by a mask that changes nothing."""
    return (
        Frame(Opcode(first & 0x0F), payload, bool(first & 0x80))
        .serialize(mask=False)
        .replace(bytes((len(payload),)), bytes((0x80 | len(payload),)) + bytes(4), 1)
    )


async def test_a_socket_that_sends_nothing_but_pings_is_read_a_turn_at_a_time(connection: Connection) -> None:
    await connection.accept()
    connection.protocol.data_received(PING * 10_000)
    assert len(connection.transport.written) == 128
    while len(connection.transport.written) < 1_000:
        before = len(connection.transport.written)
        await asyncio.sleep(0)  # whatever else there is to do has its turn
        assert len(connection.transport.written) - before <= 128


async def test_pings_are_answered_while_their_sender_reads(connection: Connection) -> None:
    await connection.accept()
    connection.protocol.pause_writing()
    for payload in (b"1", b"2"):
        connection.protocol.data_received(masked(payload, 0x89))
    assert connection.transport.written == []
    connection.protocol.resume_writing()
    assert connection.transport.written == [b"\x8a\x012"]


async def test_what_a_client_sends_is_read_while_it_does_not_read(connection: Connection) -> None:
    await connection.accept()
    connection.protocol.pause_writing()
    connection.protocol.data_received(masked(b"a"))
    assert (await connection.receive())["text"] == "a"


async def test_a_message_is_refused_by_its_size_before_it_is_sent(connection: Connection) -> None:
    await connection.accept()
    connection.protocol.data_received(b"\x81\xff" + (33_554_432).to_bytes(8) + b"\0\0\0\0")
    assert connection.transport.written == [b"\x88\x11\x03\xf1Message too big"]
    assert await connection.receive() == {"type": "websocket.disconnect", "code": 1009, "reason": "Message too big"}


async def test_a_message_in_fragments_is_as_large_as_they_are_together(connection: Connection) -> None:
    await connection.accept()
    half = b"\x01\xfe" + (8_193).to_bytes(2) + b"\0\0\0\0" + b"a" * 8_193
    connection.protocol.data_received(half + b"\x80" + half[1:])
    assert connection.transport.written == [b"\x88\x11\x03\xf1Message too big"]


async def test_a_message_may_be_larger_once_the_application_allows_it(connection: Connection) -> None:
    await connection.accept()
    connection.scope["extensions"][FRAMES].max_message_bytes = 100_000
    connection.protocol.data_received(b"\x81\xff" + (70_000).to_bytes(8) + b"\0\0\0\0" + b"a" * 30_000)
    connection.protocol.data_received(b"a" * 40_000)
    assert await connection.receive() == {"type": "websocket.receive", "text": "a" * 70_000}


async def test_fragments_and_control_frames_between_them_are_one_message(connection: Connection) -> None:
    await connection.accept()
    frames = masked(b"con", 0x01) + PING + masked(b"nect", 0x00) + masked(b"ed", 0x80) + masked(b"next")
    for at in range(len(frames)):
        connection.protocol.data_received(frames[at : at + 1])
    assert await connection.receive() == {"type": "websocket.receive", "text": "connected"}
    assert await connection.receive() == {"type": "websocket.receive", "text": "next"}
    assert connection.transport.written == [b"\x8a\x00"]


@pytest.mark.parametrize(
    "frame",
    [
        b"\x81\x01a",  # not masked
        b"\xc1\x81\0\0\0\0a",  # a reserved bit
        b"\x83\x81\0\0\0\0a",  # an opcode that is none
        b"\x89\xfe\0\x7e\0\0\0\0",  # a ping that is too long
        b"\x09\x80\0\0\0\0",  # a ping in fragments
        b"\x80\x80\0\0\0\0",  # a fragment of nothing
        masked(b"a", 0x01) + masked(b"b"),  # a message between fragments
        masked(b"\x03", 0x88),  # half a close code
        masked(b"\x03\xee", 0x88),  # 1006, which is not sent
    ],
)
async def test_what_is_no_frame_is_refused(connection: Connection, frame: bytes) -> None:
    await connection.accept()
    connection.protocol.data_received(frame)
    assert connection.transport.written[0][:4] in {b"\x88" + bytes((size,)) + b"\x03\xea" for size in range(126)}
    assert (await connection.receive())["code"] == 1002


async def test_text_that_is_not_utf_8_is_refused(connection: Connection) -> None:
    await connection.accept()
    connection.protocol.data_received(masked(b"\xff"))
    assert (await connection.receive())["code"] == 1007


async def test_one_message_is_read_at_a_time(connection: Connection) -> None:
    """What is not asked for stays where it was received."""
    await connection.accept()
    connection.protocol.data_received(masked(b"a") + masked(b"b") + PING)
    assert connection.is_paused()
    assert [(await connection.receive())["text"] for _ in range(2)] == ["a", "b"]
    assert connection.transport.written == []
    waiting = asyncio.create_task(connection.receive())
    await asyncio.sleep(0)
    assert connection.transport.written == [b"\x8a\x00"]
    assert not connection.is_paused()
    waiting.cancel()


async def test_what_was_sent_before_a_close_is_read_before_it(connection: Connection) -> None:
    await connection.accept()
    connection.protocol.data_received(masked(b"a"))
    connection.protocol.connection_lost(None)
    assert (await connection.receive())["text"] == "a"
    assert (await connection.receive())["type"] == "websocket.disconnect"


async def test_a_message_is_written_when_the_client_reads_again(connection: Connection) -> None:
    await connection.accept()
    connection.protocol.pause_writing()
    sending = [asyncio.create_task(connection.send({"type": "websocket.send", "text": text})) for text in "ab"]
    await asyncio.sleep(0)
    sending[0].cancel()
    await asyncio.sleep(0)
    connection.protocol.resume_writing()
    await sending[1]
    assert connection.transport.written == [b"\x81\x01b"]


async def test_a_message_to_a_client_that_has_left_is_an_error(connection: Connection) -> None:
    await connection.accept()
    connection.protocol.pause_writing()
    sending = asyncio.create_task(connection.send({"type": "websocket.send", "text": "a"}))
    await asyncio.sleep(0)
    connection.protocol.connection_lost(ConnectionResetError())
    with pytest.raises(ClientDisconnected):
        await sending
