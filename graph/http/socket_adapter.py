"""The messages of one WebSocket, as JSON in and out, within its limits."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Final, Protocol

from starlette.websockets import WebSocketDisconnect, WebSocketState
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.http.exceptions import NonJsonMessageReceived, NonTextMessageReceived, WebSocketDisconnected

from graph.close_codes import CloseCode
from graph.execution.encoding import encode_in_slices
from graph.execution.errors import Code
from graph.http.bodies import LARGE_BYTES, Bodies
from graph.http.requests import BadRequest

FRAMES: Final = "omnirelay.frames"
"""Extension of the ASGI scope of a socket: its Frames. Absent under other servers."""

MAX_FIRST_BYTES: Final = 16_384
"""Of a message before the caller is known. `connection_init` with a token takes a few kilobytes at most."""

_MAX_REASON_BYTES: Final = 123  # RFC 6455: a control frame holds 125 bytes, two of them the code


class Frames(Protocol):
    """A socket below ASGI."""

    max_message_bytes: int
    """Largest message that is received; a larger one closes the socket before it is read. MAX_FIRST_BYTES at first."""

    def write_frame(self, frame: bytes) -> bool:
        """Sends a frame that is complete (RFC 6455) if that needs no waiting. False, and nothing was sent, if the
        socket is backed up or being closed: `send` then waits, or raises. Frames and messages arrive in the order of
        these calls. The same frame can be written to many sockets."""
        ...


class SocketAdapter(ASGIWebSocketAdapter):
    """Frames in and out. Once the socket is closed, sending means WebSocketDisconnected and nothing worse."""

    message_size = 0
    """Characters of the message that is handled."""

    _most = MAX_FIRST_BYTES

    def admit(self, most: int) -> None:
        """The caller is known, and may send messages of so many bytes from now on."""
        self._most = most
        if (frames := self.frames) is not None:
            frames.max_message_bytes = most

    async def iter_json(self, *, ignore_parsing_errors: bool = False) -> AsyncGenerator[object, None]:  # noqa: ARG002
        while self.ws.application_state is not WebSocketState.DISCONNECTED:
            try:
                frame = await self.ws.receive()
            except RuntimeError:
                return  # closed from this side while waiting
            if frame["type"] == "websocket.disconnect":
                return
            text = frame.get("text")
            if text is None:
                raise NonTextMessageReceived
            self.message_size = len(text)
            if len(text) > self._most:
                await self.close_too_big()
                return
            try:
                message = await self.read_json(text)
            except (ValueError, RecursionError, BadRequest) as error:
                if isinstance(error, BadRequest) and error.code == Code.PAYLOAD_TOO_LARGE:
                    await self.close_too_big()
                    return
                raise NonJsonMessageReceived from error
            yield message
            # Done with. A socket that only listens would hold its `subscribe` as long as it is open, here and in
            # the loop that iterates.
            if isinstance(message, dict):
                message.clear()
            del frame, text, message

    async def read_json(self, text: str) -> object:
        bodies: Bodies | None = getattr(self.view, "bodies", None)
        return json.loads(text) if len(text) < LARGE_BYTES or bodies is None else await bodies.read_json(text, "it")

    @property
    def frames(self) -> Frames | None:
        """The extension FRAMES; null where the server has none."""
        return (self.ws.scope.get("extensions") or {}).get(FRAMES)

    async def send_json(self, message: Mapping[str, object]) -> None:
        await self.send_text((await encode_in_slices(message)).decode())

    async def send_text(self, frame: str) -> None:
        if self._closed:
            raise WebSocketDisconnected
        try:
            await self.ws.send_text(frame)
        except (WebSocketDisconnect, RuntimeError) as error:
            raise WebSocketDisconnected from error

    async def close_too_big(self) -> None:
        await self.close(CloseCode.TOO_BIG, "Message too big")

    async def close(self, code: int, reason: str) -> None:
        if self._closed:
            return
        fitting = reason.encode("utf-8", "backslashreplace")[:_MAX_REASON_BYTES].decode(errors="ignore")
        try:
            await self.ws.close(code, fitting)
        except (WebSocketDisconnect, RuntimeError) as error:
            raise WebSocketDisconnected from error

    @property
    def _closed(self) -> bool:
        states = (self.ws.application_state, self.ws.client_state)
        return WebSocketState.DISCONNECTED in states
