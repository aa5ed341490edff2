"""uvicorn's HTTP protocol, but that the head of a response and its body leave in one system call, and that a connection
has one timer.

uvicorn writes the two one by one, and uvloop passes each write to the kernel at once: a second system call, a second
packet, and a client that wakes up for a head without a body. For a response of a few hundred bytes that is a fifth of
all the processor time a request takes.
"""

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_HELD_BYTES: Final = 65_536
"""What is held back at most, and what is not worth copying."""


class HttpProtocol(HttpToolsProtocol):
    """One connection. The timer that closes it when it has been idle is made once, and looks when that began; uvicorn
    makes one for each response."""

    _idle_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(cast("asyncio.Transport", JoinedWrites(transport, self.loop)))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        transport: object = self.transport
        if isinstance(transport, JoinedWrites):
            transport.lost()

    def handle_websocket_upgrade(self) -> None:
        """Frames are joined by the protocol of the socket, which may answer at once."""
        joined = cast("JoinedWrites", self.transport)
        joined.flush()
        self.transport = joined.transport
        super().handle_websocket_upgrade()

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._wait_for_a_request(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return  # begun anew after the response to what came meanwhile
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._wait_for_a_request(left)
        else:
            super().timeout_keep_alive_handler()

    def _wait_for_a_request(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)


class JoinedWrites:
    """A transport whose writes of one turn of the event loop are joined. What is held when it is closed is written."""

    __slots__ = ("_held", "_is_lost", "_loop", "transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.transport = transport
        self._loop = loop
        self._held = b""
        self._is_lost = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        if self._is_lost:
            return
        if len(self._held) + len(data) > _HELD_BYTES:
            self.flush()
            self.transport.write(data)
            return
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held += data

    def close(self) -> None:
        self.flush()
        self.transport.close()

    def lost(self) -> None:
        """The connection has ended: what is held and what is written from now on goes nowhere. uvloop's transport
        would raise."""
        self._is_lost = True
        self._held = b""

    def flush(self) -> None:
        held, self._held = self._held, b""
        if held:
            self.transport.write(held)
