"""Connections that were accepted and are not served yet: of each client's address one after the other.

A connection and its first request take up to a millisecond of the event loop. Served as they come, hundreds that one
client opens at once would be one turn of the loop, in which nothing else is answered, and another client's connection
would be behind them.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Final

from graph.server.short_calls import close, has_left, peer_of

SERVED_AT_ONCE: Final = 8
"""In a turn of the event loop, together."""

SERVED_WHEN_BUSY: Final = 4
"""In a turn after one that took long: those that are connected come before those that will be."""

LONG_TURN_SECONDS: Final = 0.01

_CLEARING_SECONDS: Final = 0.002
"""Of one turn of the event loop, for connections whose clients have left."""

_CLEARING_SECONDS_WHEN_FULL: Final = 0.01
"""Once they take half of the room: then those that connect are about to wait in the kernel, which drops what is more
than its queue holds, and a client whose connection was dropped tries again after 1, 3 and 7 s."""


class Arrivals:
    """At most `most`. Owns those that it holds, and gives each to `serve`."""

    def __init__(self, serve: Callable[[socket.socket], None], most: int) -> None:
        self._serve = serve
        self._most = most
        self._of_address: dict[bytes, deque[socket.socket]] = {}
        self._count = 0
        self._begins: asyncio.Handle | None = None
        self._turn_began = 0.0
        self._left = 0
        """To be served in this turn without having waited."""

    def add(self, connection: socket.socket) -> bool:
        """False if there is no room for it: then it is the caller's still. Of an address of which none waits, the first
        few of a turn are served at once."""
        address = peer_of(connection)
        if address is None:
            close(connection)  # its client has left already
            return True
        if self._begins is None:
            self._left = SERVED_AT_ONCE
            self._begin_next_turn()
        if self._left and address not in self._of_address:
            self._left -= 1
            self._serve(connection)
            return True
        if self._count >= self._most:
            return False
        self._of_address.setdefault(address, deque()).append(connection)
        self._count += 1
        return True

    def serve_all(self) -> None:
        """Now, however many there are."""
        if self._begins is not None:
            self._begins.cancel()
            self._begins = None
        self._serve_some(self._count)

    def _begin_next_turn(self) -> None:
        self._turn_began = perf_counter()
        self._begins = asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        is_busy = perf_counter() - self._turn_began > LONG_TURN_SECONDS
        self._left = SERVED_WHEN_BUSY
        self._begins = None
        try:
            self._serve_some(SERVED_WHEN_BUSY if is_busy else SERVED_AT_ONCE)
        finally:
            if self._count:
                self._begin_next_turn()

    def _serve_some(self, most: int) -> None:
        is_full = self._count > self._most // 2
        clearing_until = perf_counter() + (_CLEARING_SECONDS_WHEN_FULL if is_full else _CLEARING_SECONDS)
        while self._count and most:
            address = next(iter(self._of_address))
            waiting = self._of_address.pop(address)
            connection = waiting.popleft()
            if waiting:
                self._of_address[address] = waiting  # behind all others
            self._count -= 1
            # Half of a connection closed may mean less than that its client has left, so where there is no need, a
            # request is answered.
            if len(waiting) >= SERVED_AT_ONCE and perf_counter() < clearing_until and has_left(connection):
                close(connection)
            else:
                most -= 1
                self._serve(connection)
