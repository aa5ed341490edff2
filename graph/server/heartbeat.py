"""Pings of sockets: when each is due."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import ClassVar, Final, Protocol
from weakref import WeakKeyDictionary

from uvicorn.server import ServerState

_BEATS_A_TURN: Final = 64
"""Pings that are sent before other tasks run: thousands of sockets may have been opened at the same time."""

_ENDINGS_A_TURN: Final = 16
"""Sockets that are closed up before other tasks run, in 0.1 to 0.2 ms each: a proxy that stops ends all at once."""


class Beating(Protocol):
    """A socket."""

    beats_at: float
    """When, by the clock of the event loop."""

    def beat(self) -> None:
        """It is `beats_at`."""


class Heartbeat:
    """When the sockets of a server are to be pinged: one timer for all, since all have the same interval. A timer for
    each would take half a kilobyte of it."""

    _of: ClassVar[WeakKeyDictionary[ServerState, Heartbeat]] = WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float | None) -> None:
        self._loop = loop
        self._seconds = seconds
        self._waiting: deque[Beating] = deque()
        self._timer: asyncio.Handle | None = None

    @classmethod
    def of(cls, state: ServerState, loop: asyncio.AbstractEventLoop, seconds: float | None) -> Heartbeat:
        """That of a server; `seconds` from ping to ping, null for none."""
        heartbeat = cls._of.get(state)
        if heartbeat is None:
            heartbeat = cls._of[state] = cls(loop, seconds)
        return heartbeat

    def add(self, socket: Beating) -> None:
        """It is pinged once, after the interval."""
        if not self._seconds:
            return
        socket.beats_at = self._loop.time() + self._seconds
        self._waiting.append(socket)
        if self._timer is None:
            self._timer = self._loop.call_at(socket.beats_at, self._beat)

    def _beat(self) -> None:
        now = self._loop.time()
        try:
            for _ in range(_BEATS_A_TURN):
                if not self._waiting or self._waiting[0].beats_at > now:
                    break
                self._waiting.popleft().beat()
        finally:
            first = self._waiting[0].beats_at if self._waiting else None
            self._timer = None if first is None else self._loop.call_at(first, self._beat)


class Endings:
    """What is to be woken because its socket has ended, in the order in which they did."""

    _of: ClassVar[WeakKeyDictionary[ServerState, Endings]] = WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()

    @classmethod
    def of(cls, state: ServerState, loop: asyncio.AbstractEventLoop) -> Endings:
        """Those of a server."""
        endings = cls._of.get(state)
        if endings is None:
            endings = cls._of[state] = cls(loop)
        return endings

    def add(self, wake: Callable[[], None]) -> None:
        self._waiting.append(wake)
        if len(self._waiting) == 1:
            self._loop.call_soon(self._wake_some)

    def _wake_some(self) -> None:
        try:
            for _ in range(min(_ENDINGS_A_TURN, len(self._waiting))):
                self._waiting.popleft()()
        finally:
            if self._waiting:
                self._loop.call_soon(self._wake_some)
