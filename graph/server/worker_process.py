"""A worker as the supervisor has it: its process, the channel to it, and the socket it is handed connections by."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from typing import Any, Final, Protocol

from graph.server.channel import Channel, ChannelClosed, Methods
from graph.server.composition import Shared
from graph.server.exposition import Snapshot
from graph.server.process import CannotStart
from graph.server.worker import WorkerStart, run_worker
from graph.settings import Settings

_GRACE_SECONDS: Final = 10.0
"""What a worker may take to stop beyond `drain_seconds`, and to end once it has closed its channel."""

_AT_ONCE_SECONDS: Final = 3.0
"""What it may take to stop when nothing is waited for."""

_UNKNOWN: Final = 255
"""The exit code that multiprocessing gives when the fork server, which would know, has ended."""

_SNAPSHOT_SECONDS: Final = 2.0
"""How long to wait for what a worker has counted. What is known of it is then used."""

_POLL_SECONDS: Final = 0.02

_PRELOADED: Final = ("graph.cli.serve", "graph.server.worker", "graph.http.app", "graph.server.web_server", "uvloop")

_log = logging.getLogger(__name__)


def start_fork_server() -> None:
    """Start the process that workers are forked of, and do not wait for it: it imports what they need, once for all."""
    # Its pool of threads would be forked, and nothing here uses it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    forkserver.set_forkserver_preload(list(_PRELOADED))
    # What it starts inherits the mask: Ctrl-C reaches every process of a terminal, and must not end these.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Host(Protocol):
    """What the supervisor does for workers."""

    async def run_job(self, job: Callable[..., Any], arguments: bytes) -> bytes:
        """As `WorkerPool.relay`."""

    async def exposition(self) -> bytes:
        """The metrics of all workers."""

    async def leaving(self, worker: WorkerProcess) -> None:
        """This worker was sent SIGTERM: it is to be replaced."""


class WorkerProcess:
    def __init__(self, number: int, process: BaseProcess, channel: socket.socket, connections: socket.socket) -> None:
        self.number = number
        self.process = process
        self.connections = connections
        self.serves = False
        self.ended = asyncio.Event()
        """Its process has ended."""
        self.serving_since = time.monotonic()
        self.leaving = False
        """Whether it was signalled to stop."""
        self.snapshot: Snapshot = ()
        self._end = channel
        self._channel: Channel | None = None
        self._started = asyncio.Event()
        self._failure: CannotStart | None = None

    @classmethod
    async def fork(cls, number: int, settings: Settings, shared: Shared) -> WorkerProcess:
        """A process that starts. Raises CannotStart. The caller awaits `follow` in a task, then `until_it_serves`."""
        try:
            ours, theirs = socket.socketpair()
            giving, taking = socket.socketpair()
        except OSError as error:
            raise CannotStart(f"Worker {number} cannot be started: {error}.") from error
        start = WorkerStart(number, settings, shared, theirs, taking)
        context = multiprocessing.get_context("forkserver")
        process = context.Process(target=run_worker, args=(start,), name=f"omnirelay-worker-{number}", daemon=True)
        try:
            # Waits until the fork server has imported everything.
            await asyncio.to_thread(process.start)
        except BaseException as error:
            ours.close()
            giving.close()
            if isinstance(error, OSError | EOFError):
                raise CannotStart(f"Worker {number} cannot be started: {error}.") from error
            raise
        finally:
            theirs.close()
            taking.close()
        return cls(number, process, ours, giving)

    async def follow(self, host: Host) -> None:
        """Answer what it calls, until its process has ended."""

        async def ready() -> None:
            self.serves = True
            self.serving_since = time.monotonic()
            self._started.set()

        async def failed(message: str, advice: Sequence[str]) -> None:
            self._failure = CannotStart(message, advice)

        async def ended(snapshot: Snapshot) -> None:
            self.snapshot = snapshot

        async def leaving() -> None:
            await host.leaving(self)

        methods: Methods = {
            "ready": ready,
            "failed": failed,
            "ended": ended,
            "leaving": leaving,
            "run_job": host.run_job,
            "exposition": host.exposition,
        }
        self._channel = channel = await Channel.open(self._end, methods)
        try:
            await channel.run()
            # Its process ends now.
            await self._gone()
        finally:
            self.connections.close()
            self.serves = False
            self.ended.set()
            self._started.set()

    async def until_it_serves(self) -> None:
        """Raises CannotStart if it ends before."""
        await self._started.wait()
        if not self.serves:
            raise self._failure or CannotStart(f"Worker {self.number} ended before it served: it {self.how}.")

    async def drain(self, *, replaced: bool, at_once: bool = False, seconds: float = 0.0) -> None:
        """Have it stop, and wait until it has: for so many seconds and some, then it is killed.

        `replaced`: others serve, so its clients are left the time to go there. `at_once`: without waiting for them.
        """
        self.leaving = True
        self.connections.close()
        try:
            async with asyncio.timeout(_AT_ONCE_SECONDS if at_once else _GRACE_SECONDS + seconds):
                with suppress(ChannelClosed):
                    if self._channel is not None:
                        await self._channel.call("drain", replaced, at_once)
                await self.ended.wait()
        except TimeoutError:
            _log.error("worker %d (process %s) does not stop, and is killed", self.number, self.process.pid)
            self.process.kill()
            await self.ended.wait()

    async def count(self) -> None:
        """Bring `snapshot` up to date."""
        with suppress(ChannelClosed, TimeoutError):
            async with asyncio.timeout(_SNAPSHOT_SECONDS):
                if self._channel is not None and self.serves:
                    self.snapshot = await self._channel.call("snapshot")

    @property
    def how(self) -> str:
        """How its process ended."""
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return "ended" if code == _UNKNOWN else f"ended with exit code {code}"

    async def _gone(self) -> None:
        deadline = time.monotonic() + _GRACE_SECONDS
        while self.process.is_alive():
            if time.monotonic() > deadline:
                self.process.kill()
            await asyncio.sleep(_POLL_SECONDS)
