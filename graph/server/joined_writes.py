"""The head of a response and its body in one system call.

uvicorn writes the two one by one, and uvloop passes each write to the kernel at once: a second system call, a second
packet, and a client that wakes up for a head without a body. For a response of a few hundred bytes that is a fifth of
all the processor time a request takes.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

_HELD_BYTES: Final = 65_536
"""What is held back at most, and what is not worth copying."""


class JoinedWrites:
    """A transport whose writes of one turn of the event loop are joined. What is held when it is closed is written."""

    __slots__ = ("_closed", "_held", "_is_lost", "_loop", "linger", "transport")

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, closed: Callable[[], None] | None = None
    ) -> None:
        """`closed` is called once it is closed from this side, while what was written may still be on its way."""
        self.transport = transport
        self._loop = loop
        self._closed = closed
        self._held = b""
        self._is_lost = False
        self.linger: Callable[[], None] | None = None
        """Called in place of closing, while a request is not whole."""

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

    def write_whole(self, data: bytes) -> None:
        """A whole response, which nothing follows in this turn."""
        if not self._is_lost:
            self.flush()
            self.transport.write(data)

    def write_eof(self) -> None:
        self.flush()
        self.transport.write_eof()

    def close(self) -> None:
        self.flush()
        if self.linger is not None:
            self.linger()
            return
        self.transport.close()
        if self._closed is not None and not self._is_lost:
            self._closed()

    def lost(self) -> None:
        """The connection has ended: what is held and what is written from now on goes nowhere. uvloop's transport
        would raise."""
        self._is_lost = True
        self._held = b""
        # They lead back to the protocol, which leads here: without them it goes as soon as nothing else holds it.
        self._closed = self.linger = None

    def flush(self) -> None:
        held, self._held = self._held, b""
        if held:
            self.transport.write(held)
