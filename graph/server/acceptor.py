"""Accepts connections, many in one turn of the event loop, and hands each to this process or to the next worker.

Not left to the event loop: libuv accepts one connection in each turn (https://github.com/libuv/libuv/pull/3696), so
of a thousand that clients open at once the last waits for a thousand turns, and so does every client that connects
then: up to 14 s, while lookups on open connections took milliseconds.

Nor to the kernel: of processes that accept on one socket, the one that is awake takes what comes at once (of 16
connections of a client one of two workers got 13 or more in 7 of 12 tries), and with a socket for each process
(SO_REUSEPORT) lots are drawn. docs/decisions/0034 has what was measured.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Final

from graph.server.descriptors import backlog
from graph.server.short_calls import accept

_ACCEPTING_SECONDS: Final = 0.002
"""Of one turn of the event loop: some four hundred connections."""

_PAUSE_SECONDS: Final = 0.05

_NO_MORE_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log = logging.getLogger(__name__)


class Acceptor:
    """Does not own the listening socket. `hand_over` is given each connection, and says whether it was taken: one that
    was not is offered again, and others wait meanwhile."""

    def __init__(self, listener: socket.socket, hand_over: Callable[[socket.socket], bool]) -> None:
        self._listener = listener
        self._hand_over = hand_over
        self._held: socket.socket | None = None
        self._reading = False
        self._listening = False
        self._resuming: asyncio.TimerHandle | None = None

    def listen(self) -> None:
        self._listener.settimeout(0.0)
        self._listener.listen(backlog())
        self._listening = True
        self.resume()

    def resume(self) -> None:
        """Offer the one that was not taken again, now, and accept more."""
        self._pause(None)
        if not self._listening:
            return
        if self._held is not None:
            if not self._hand_over(self._held):
                self._pause(_PAUSE_SECONDS)
                return
            self._held = None
        asyncio.get_running_loop().add_reader(self._listener, self._accept)
        self._reading = True

    def close(self) -> None:
        """Accepts nothing any more. A connection that was not taken is closed."""
        self._pause(None)
        self._listening = False
        if self._held is not None:
            self._held.close()
            self._held = None

    def _accept(self) -> None:
        until = perf_counter() + _ACCEPTING_SECONDS
        while perf_counter() < until:
            try:
                connection = accept(self._listener)
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in _NO_MORE_FILES:
                    raise
                _log.error("Cannot accept connections: %s", os.strerror(error.errno or 0))
                self._pause(1.0)
                return
            if not self._hand_over(connection):
                self._held = connection
                self._pause(_PAUSE_SECONDS)
                return

    def _pause(self, seconds: float | None) -> None:
        if self._reading:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._reading = False
        if self._resuming is not None:
            self._resuming.cancel()
            self._resuming = None
        if seconds is not None:
            self._resuming = asyncio.get_running_loop().call_later(seconds, self.resume)


class WorkerAcceptor(Acceptor):
    """Hands each connection to the next worker. Does not own the sockets to them. While there is no worker, connections
    wait."""

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(listener, self._pass_on)
        self._workers: deque[socket.socket] = deque()

    def add(self, worker: socket.socket) -> None:
        """One end of a stream socket pair. A byte arrives at the other end with each connection."""
        worker.settimeout(0.0)
        self._workers.append(worker)
        self.resume()

    def remove(self, worker: socket.socket) -> None:
        if worker in self._workers:
            self._workers.remove(worker)

    def _pass_on(self, connection: socket.socket) -> bool:
        """False if no worker has room for it."""
        for _ in range(len(self._workers)):
            worker = self._workers[0]
            self._workers.rotate(-1)
            try:
                socket.send_fds(worker, [b"\0"], [connection.fileno()])
            except OSError:
                # Full, or its process has ended: that is noticed elsewhere.
                continue
            connection.close()
            return True
        return False
