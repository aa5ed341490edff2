"""RFC 6455 for the sockets of this server: its handshake is that of the library websockets, its frames are read here.

Not uvicorn's protocol, nor what websockets has after the handshake, for three reasons, all in
docs/decisions/0048-before-a-token-is-known.md: they hold 25 kB for a socket that is idle, they parse all that one
read has brought before any other connection has its turn, and their limit of a message is the same before and after a
token is known. https://www.rfc-editor.org/rfc/rfc6455

One class, longer than others: frames, application, pings and the end of a socket change one state, and hold it in slots
of one object, of which there are thousands. What has no state of it is in files of its own: the request before
(`websocket_handshake`), the frames (`websocket_frames`), when pings are due (`heartbeat`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from enum import IntEnum
from http import HTTPStatus
from random import getrandbits
from typing import Any, ClassVar, Final, Self, cast

from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected, get_remote_addr
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.exceptions import ProtocolError
from websockets.frames import Close, Opcode
from websockets.http11 import Response

from graph.close_codes import CloseCode
from graph.http.socket_adapter import FRAMES, MAX_FIRST_BYTES
from graph.server.connections import Connections
from graph.server.heartbeat import Endings, Heartbeat
from graph.server.websocket_frames import FrameError, FrameReader, frame_of
from graph.server.websocket_handshake import Handshake

_FRAMES_A_TURN: Final = 128
"""Frames of one socket in `_TURN_SECONDS` at most; what it sends beyond that is read later. Each takes microseconds, so
a socket that sends nothing but pings gets a twentieth of the processor, and no other waits for longer than a turn."""

_MESSAGE_FRAMES: Final = 8
"""What a message counts as: the application takes as much longer over it."""

_TURN_SECONDS: Final = 0.01

_DISCARDED_BYTES: Final = 1_048_576
"""Read on and thrown away after a close: a connection that is closed with bytes unread is reset, and the client loses
the close code."""

_NO_CODE, _ABNORMAL = 1005, 1006

_log = logging.getLogger(__name__)


class _State(IntEnum):
    CONNECTING = 0
    """The request for the handshake is not whole, or the application has not answered it."""
    OPEN = 1
    CLOSING = 2
    """A close, or a refusal, was sent: nothing more is."""
    LOST = 3


class WebSocketProtocol(asyncio.Protocol):
    """One socket, and the ASGI application that it runs. A message is read when the application waits for one: what is
    not read stays with the client.

    The extension FRAMES is this object: the application writes frames past `send`, and raises `max_message_bytes` once
    the token is known. A ping goes out every `ws_ping_interval` of uvicorn, and has as long for its answer; a client
    that gives none is closed with a code after which it comes back, and in time. There is no compression:
    docs/decisions/0013.
    """

    __slots__ = (
        "_answer",
        "_app",
        "_client",
        "_discarded",
        "_ended",
        "_frames",
        "_handshake",
        "_heartbeat",
        "_is_admitted",
        "_late_timer",
        "_loop",
        "_made_at",
        "_message",
        "_ping",
        "_pong",
        "_reading_paused",
        "_resting",
        "_scope",
        "_server_state",
        "_state",
        "_transport",
        "_turn_began",
        "_turn_frames",
        "_waiter",
        "_writable",
        "beats_at",
        "close_timer",
    )

    late_seconds: ClassVar[float] = 1.0
    """More time for an answer that is there and was not read yet: after this process has been frozen, the event loop
    looks at its timers before it looks at its sockets."""
    drop_seconds: ClassVar[float] = 5.0
    """How long the close code, and what is buffered before it, may take to be sent. Then the connection is dropped: a
    client that never reads would hold it for as long as its system is up."""
    close_seconds: ClassVar[float] = 10.0
    """How long the client's answer to a close may take."""

    registry: ClassVar[Connections | None] = None
    """Which connections there may be; null for any."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: Mapping[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._app = config.loaded_app
        self._loop = _loop or asyncio.get_running_loop()
        self._server_state = server_state
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._client: tuple[str, int] | None = None
        self._made_at = self._loop.time()
        self._handshake: Handshake | None = Handshake(config, app_state)
        self._scope: dict[str, Any] = {}
        # To the handshake: what accepts it, or how a refusal begins.
        self._answer: Response | Mapping[str, Any] | None = None
        self._heartbeat = Heartbeat.of(server_state, self._loop, config.ws_ping_interval)
        self._state = _State.CONNECTING
        self._is_admitted = False
        self._frames = FrameReader(MAX_FIRST_BYTES)
        self._message: dict[str, Any] | None = None
        # The event of the end, once it has come.
        self._ended: dict[str, Any] | None = None
        self._waiter: asyncio.Future[None] | None = None
        # What waits until the client has read something; null while nothing has to.
        self._writable: asyncio.Future[None] | None = None
        self._turn_began = 0.0
        self._turn_frames = 0
        self._resting = False
        self._reading_paused = False
        self._discarded = 0
        # Payload of the ping that was not answered yet.
        self._ping: bytes | None = None
        # To the last ping that could not be answered yet.
        self._pong: bytes | None = None
        self._late_timer: asyncio.TimerHandle | None = None
        self.beats_at = 0.0
        self.close_timer: asyncio.TimerHandle | None = None

    @classmethod
    def within(cls, registry: Connections) -> type[Self]:
        """The protocol for connections that are counted there. uvicorn takes a class, not an instance."""
        return type(cls.__name__, (cls,), {"registry": registry, "__slots__": ()})

    @property
    def max_message_bytes(self) -> int:
        """See FRAMES."""
        return self._frames.max_message_bytes

    @max_message_bytes.setter
    def max_message_bytes(self, most: int) -> None:
        if self._state is _State.LOST:
            return
        if self.registry is not None and not self._is_admitted:
            self._is_admitted = True
            self.registry.admitted()
        self._frames.max_message_bytes = most

    @property
    def waits_since(self) -> float | None:
        """As Connection."""
        return self._made_at if self.max_message_bytes == MAX_FIRST_BYTES else None

    def make_room(self) -> None:
        """As Connection."""
        self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._client = get_remote_addr(self._transport)
        self._server_state.connections.add(cast("Any", self))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.stop_keepalive()
        self._server_state.connections.discard(cast("Any", self))
        if self.registry is not None:
            self.registry.ended(self._client)
            if self._is_admitted:
                self.registry.left()
        if self.close_timer is not None:
            self.close_timer.cancel()
            self.close_timer = None
        self._end(_ABNORMAL if self._state is _State.CONNECTING else _NO_CODE)
        self._state = _State.LOST
        self._frames = FrameReader(0)
        self._answer = None
        self.resume_writing()

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)
        pong, self._pong = self._pong, None
        if pong is not None and self._state is _State.OPEN and not self._transport.is_closing():
            self._transport.write(pong)

    def data_received(self, data: bytes) -> None:
        if self._handshake is not None:
            self._receive_handshake(self._handshake, data)
        elif self._state >= _State.CLOSING:
            self._discarded += len(data)
            if self._discarded > _DISCARDED_BYTES:
                self._transport.abort()
        else:
            self._frames.feed(data)
            if not self._resting:
                self._advance()

    def shutdown(self) -> None:
        """The server stops."""
        self.stop_keepalive()
        if self._state is _State.CONNECTING:
            self._refuse_handshake(HTTPStatus.INTERNAL_SERVER_ERROR)
        elif self._state is _State.OPEN:
            self._send_close(CloseCode.RESTARTING, "")
            self._end(CloseCode.RESTARTING)
        self._transport.close()
        self._drop_in(self.drop_seconds)

    @property
    def handshake_complete(self) -> bool:
        return self._state is not _State.CONNECTING

    # The handshake.

    def _receive_handshake(self, handshake: Handshake, data: bytes) -> None:
        request = handshake.receive(data)
        if request is None:
            if handshake.has_failed:
                self._refuse_handshake(HTTPStatus.BAD_REQUEST)
                self._transport.close()
            return
        response = handshake.accept(request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._handshake = None
            self._state = _State.CLOSING
            self._transport.write(response.serialize())
            self._transport.close()
            return
        self._scope = handshake.scope(request, self._transport, self._client)
        self._scope["extensions"] = {"websocket.http.response": {}, FRAMES: self}
        self._handshake = None
        self._answer = response
        self._message = {"type": "websocket.connect"}
        # Nothing more is read before the handshake is answered.
        self._pause_reading()
        task = self._loop.create_task(self._run(self._scope))
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)

    def _accept(self, message: Mapping[str, Any]) -> None:
        response, self._answer = cast("Response", self._answer), None
        del response.headers["Date"]
        given = [*self._server_state.default_headers, *message.get("headers", ())]
        response.headers.update([(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in given])
        if subprotocol := message.get("subprotocol"):
            response.headers["Sec-WebSocket-Protocol"] = subprotocol
        if self._transport.is_closing():
            return
        self._state = _State.OPEN
        self._transport.write(response.serialize())
        # A few kilobytes, which would be held as long as the socket is. What is traced is each of its operations.
        self._scope["headers"] = [header for header in self._scope["headers"] if header[0] == b"traceparent"]
        self._scope = {}
        self._heartbeat.add(self)

    def _refuse_handshake(self, status: int, headers: Headers | None = None, body: bytes = b"") -> None:
        headers = headers or Headers()
        headers.setdefault("Connection", "close")
        headers.setdefault("Content-Length", str(len(body)))
        headers.setdefault("Content-Type", "text/plain; charset=utf-8")
        if not self._transport.is_closing():
            self._transport.write(Response(status, HTTPStatus(status).phrase, headers, body).serialize())
        self._handshake = self._answer = None
        self._state = _State.CLOSING
        self._end(_ABNORMAL)

    async def _run(self, scope: dict[str, Any]) -> None:
        try:
            await self._app(cast("Any", scope), cast("Any", self.receive), cast("Any", self.send))
        except ClientDisconnected:
            pass
        except BaseException:  # noqa: BLE001 - nothing after this logs what an application raises
            _log.exception("Exception in ASGI application")
        if self._state is _State.CONNECTING:
            self._refuse_handshake(HTTPStatus.INTERNAL_SERVER_ERROR)
        if self.close_timer is None:
            self._transport.close()
            self._drop_in(self.drop_seconds)

    # Frames that arrive.

    def _advance(self) -> None:
        """Read frames until there is a message, or no more of a frame, or enough for one turn."""
        while self._message is None and self._state is _State.OPEN and self._read_frame():
            self._turn_frames += 1
            if self._turn_frames >= _FRAMES_A_TURN:
                left = self._turn_began + _TURN_SECONDS - self._loop.time()
                self._turn_frames, self._resting = 0, True
                self._loop.call_later(max(left, 0.0), self._resume)
                break
        if self._message is not None or self._resting:
            if self._state is _State.OPEN:
                self._pause_reading()
        elif self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()
        if self._message is not None:
            self._wake()

    def _resume(self) -> None:
        self._resting = False
        if self._state is _State.OPEN:
            self._turn_began = self._loop.time()
            self._advance()

    def _pause_reading(self) -> None:
        if not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def _read_frame(self) -> bool:
        """Whether there was a whole one, or one that was refused."""
        try:
            frame = self._frames.next()
            if frame is None:
                return False
            self._read(*frame)
        except FrameError as error:
            self._frames = FrameReader(0)
            self._send_close(error.code, error.reason)
            self._end(error.code, error.reason)
            self._linger(self.drop_seconds)
        return True

    def _read(self, opcode: int, payload: bytes) -> None:
        match opcode:
            case Opcode.PING if self._writable is None:
                self._transport.write(frame_of(Opcode.PONG, payload))
            case Opcode.PING:
                # Its sender does not read. Of several only the last has to be answered: RFC 6455, 5.5.3.
                self._pong = frame_of(Opcode.PONG, payload)
            case Opcode.PONG:
                self._answered(payload)
            case Opcode.CLOSE:
                self._read_close(payload)
            case Opcode.BINARY:
                self._message = {"type": "websocket.receive", "bytes": payload}
            case Opcode.TEXT:
                try:
                    self._message = {"type": "websocket.receive", "text": payload.decode()}
                except UnicodeDecodeError as error:
                    reason = f"{error.reason} at position {error.start}"
                    raise FrameError(CloseCode.NOT_UTF8, reason) from None
        if self._message is not None:
            self._turn_frames += _MESSAGE_FRAMES - 1

    def _read_close(self, payload: bytes) -> None:
        try:
            close = Close.parse(payload)
        except (ProtocolError, UnicodeDecodeError):
            raise FrameError(CloseCode.PROTOCOL_ERROR, "not a close code and a reason") from None
        self._transport.write(frame_of(Opcode.CLOSE, payload))
        self._state = _State.CLOSING
        self.stop_keepalive()
        self._end(int(close.code), close.reason)
        self._transport.close()
        self._drop_in(self.drop_seconds)

    def _linger(self, seconds: float) -> None:
        """A close was sent, and the end of what is: the client has so long to read it and to close, too."""
        if not self._transport.is_closing():
            if self._reading_paused:
                self._reading_paused = False
                self._transport.resume_reading()
            self._transport.write_eof()
        self._drop_in(seconds)

    # What the application calls.

    async def receive(self) -> Mapping[str, Any]:
        while True:
            if self._message is not None:
                message, self._message = self._message, None
                if message["type"] == "websocket.connect":
                    return message
                # What was received at once would be read without any other task having its turn.
                await asyncio.sleep(0)
                return message
            if self._ended is not None:
                return self._ended
            if not self._resting and self._state is _State.OPEN:
                self._advance()
            if self._has_event():
                continue
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _has_event(self) -> bool:
        return self._message is not None or self._ended is not None

    async def send(self, message: Mapping[str, Any]) -> None:
        while self._writable is not None:
            # Shielded: others may wait for it.
            await asyncio.shield(self._writable)
        if self._state is _State.LOST:
            raise ClientDisconnected
        kind = message["type"]
        if self._state is _State.CONNECTING:
            self._answer_handshake(kind, message)
        elif self._state is not _State.OPEN:
            raise ClientDisconnected
        elif kind == "websocket.send":
            text = message.get("text")
            opcode, payload = (Opcode.BINARY, message["bytes"]) if text is None else (Opcode.TEXT, text.encode())
            self._transport.write(frame_of(opcode, payload))
        elif kind == "websocket.close":
            if not self._transport.is_closing():
                code, reason = message.get("code", 1000), message.get("reason") or ""
                self._send_close(code, reason)
                self._end(code, reason)
                self._linger(self.close_seconds)
        else:
            raise RuntimeError(f"{kind} is sent on a socket that is open")

    def _answer_handshake(self, kind: str, message: Mapping[str, Any]) -> None:
        match kind:
            case "websocket.accept":
                self._accept(message)
            case "websocket.close":
                self._refuse_handshake(HTTPStatus.FORBIDDEN)
                self._transport.close()
            case "websocket.http.response.start":
                self._answer = message
            case "websocket.http.response.body" if not message.get("more_body"):
                start = cast("Mapping[str, Any]", self._answer)
                headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
                self._refuse_handshake(start["status"], Headers(headers), message.get("body", b""))
                self._transport.close()
            case _:
                raise RuntimeError(f"{kind} is no answer to a handshake")

    def write_frame(self, frame: bytes) -> bool:
        """See FRAMES. The protocol holds no bytes back, so frames that pass `send` by keep their order."""
        if self._state is not _State.OPEN or self._writable is not None or self._transport.is_closing():
            return False
        self._transport.write(frame)
        return True

    # Pings.

    def beat(self) -> None:
        """It is `beats_at`: send a ping, unless the answer to the last one is still awaited."""
        if self._state is not _State.OPEN or self._transport.is_closing():
            return
        if self._ping is not None:
            self.keepalive_timeout()
            return
        self._ping = getrandbits(32).to_bytes(4)
        self._transport.write(frame_of(Opcode.PING, self._ping))
        self._heartbeat.add(self)

    def _answered(self, payload: bytes) -> None:
        if payload != self._ping:
            return  # of a ping before, or of none
        self._ping = None
        if self._late_timer is not None:
            self._late_timer.cancel()
            self._late_timer = None
            self._heartbeat.add(self)

    def keepalive_timeout(self) -> None:
        """The time for an answer is over; the second time it is final."""
        if self._late_timer is None:
            self._late_timer = self._loop.call_later(self.late_seconds, self.keepalive_timeout)
            return
        self._late_timer = None
        if self._state is not _State.OPEN or self._transport.is_closing():
            return
        self._send_close(CloseCode.UNRESPONSIVE, "no answer to a ping")
        self._transport.close()
        self._drop_in(self.drop_seconds)

    def stop_keepalive(self) -> None:
        if self._late_timer is not None:
            self._late_timer.cancel()
            self._late_timer = None

    # The end.

    def _send_close(self, code: int, reason: str) -> None:
        if self._state is _State.OPEN and not self._transport.is_closing():
            self._transport.write(frame_of(Opcode.CLOSE, Close(code, reason).serialize()))
        self._state = _State.CLOSING
        self.stop_keepalive()

    def _end(self, code: int, reason: str = "") -> None:
        """The application gets one event of it."""
        if self._ended is None:
            self._ended = {"type": "websocket.disconnect", "code": int(code), "reason": reason}
            if self._waiter is not None:
                Endings.of(self._server_state, self._loop).add(self._wake)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _drop_in(self, seconds: float) -> None:
        if self.close_timer is None and self._state is not _State.LOST:
            self.close_timer = self._loop.call_later(seconds, self._transport.abort)
