"""A worker: one of the processes of a server that serve. It has a store, feed, replica and web server of its own; the
supervisor hands it connections, makes its plans and signals it to stop.

It ends with the supervisor: once their channel is closed it stops as after SIGTERM.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from prometheus_client.core import GaugeMetricFamily

from graph.auth.tokens import authentication
from graph.logs import log_to_stderr
from graph.server.channel import Channel, ChannelClosed, Methods
from graph.server.composition import Shared, open_worker_services
from graph.server.exposition import WORKER, Snapshot
from graph.server.process import (
    STARTUP_ERRORS,
    CannotStart,
    added_documents,
    import_web,
    loop_factory,
    serving_from,
)
from graph.server.worker_pool import RelayedJobs
from graph.settings import Settings

if TYPE_CHECKING:
    from graph.server.web_server import WebServer

_log = logging.getLogger(__name__)

_AT_ONCE: Final = 32
"""Connections taken over before the event loop goes on."""

_PAUSE_SECONDS: Final = 0.05


@dataclass(frozen=True)
class WorkerStart:
    """What a worker begins with. Pickled when it is spawned."""

    number: int
    settings: Settings
    shared: Shared
    channel: socket.socket
    connections: socket.socket


def run_worker(start: WorkerStart) -> None:
    """The process."""
    # Ctrl-C and the end of a terminal reach every process of it; the supervisor decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    # What the process it was forked of had imported is shared with it as long as the collector leaves it alone.
    gc.freeze()
    log_to_stderr(start.settings.log_level, start.settings.log_format)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_Worker(start).run())


class _Worker:
    def __init__(self, start: WorkerStart) -> None:
        self._start = start
        self._channel: Channel | None = None
        self._server: WebServer | None = None
        self._serving: asyncio.Task[None] | None = None
        self._stopping = False
        self._connections = _Connections(start.connections)

    async def run(self) -> None:
        methods: Methods = {"drain": self._drain, "snapshot": self._snapshot}
        self._channel = channel = await Channel.open(self._start.channel, methods)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._terminated)
        self._serving = serving = asyncio.create_task(self._serve(channel), name="omnirelay-worker")
        supervised = asyncio.create_task(self._supervised(channel), name="omnirelay-channel")
        try:
            await serving
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        except (*STARTUP_ERRORS, CannotStart) as error:
            cannot = error if isinstance(error, CannotStart) else CannotStart.because(error)
            with suppress(ChannelClosed):
                await channel.call("failed", str(cannot), cannot.advice)
        finally:
            supervised.cancel()
            await asyncio.gather(supervised, return_exceptions=True)

    async def _serve(self, channel: Channel) -> None:
        settings = self._start.settings
        callers, added = authentication(settings), added_documents(settings)
        jobs = RelayedJobs(partial(channel.call, "run_job")) if settings.plan_processes else None
        async with AsyncExitStack() as stack:
            web = asyncio.get_running_loop().run_in_executor(None, import_web)
            services = await stack.enter_async_context(open_worker_services(settings, self._start.shared, jobs))
            await web
            ready = asyncio.Event()
            exposition = partial(channel.call, "exposition")
            serving = serving_from(services, settings, callers, added, ready.set, exposition)
            self._server = server = await stack.enter_async_context(serving)
            announcing = asyncio.create_task(self._announce(channel, ready, server.adopt))
            try:
                await server.serve([])
            finally:
                announcing.cancel()
                await asyncio.gather(announcing, return_exceptions=True)
            with suppress(ChannelClosed):
                await channel.call("ended", await self._snapshot())

    async def _announce(self, channel: Channel, ready: asyncio.Event, adopt: Callable[[socket.socket], bool]) -> None:
        await ready.wait()
        self._connections.take(adopt)
        with suppress(ChannelClosed):
            await channel.call("ready")

    async def _supervised(self, channel: Channel) -> None:
        try:
            await channel.run()
        except Exception:  # noqa: BLE001 - without a supervisor a worker must not go on
            _log.exception("worker %d cannot read from its supervisor", self._start.number)
        _log.warning("worker %d stops: its supervisor has ended", self._start.number)
        await self._drain(replaced=False, at_once=False)

    async def _drain(self, replaced: bool, at_once: bool) -> None:  # noqa: FBT001 - sent by position
        """Stop: requests under way are finished unless it is `at_once`. `replaced`: others go on serving."""
        repeated, self._stopping = self._stopping, True
        if self._server is None:
            if self._serving is not None and not repeated:
                self._serving.cancel()
            return
        if replaced:
            await self._connections.taken()
        self._server.replaced = replaced
        self._server.force_exit = at_once
        self._server.should_exit = True

    def _terminated(self) -> None:
        """SIGTERM to this process alone. The supervisor starts another, and stops this one."""
        if self._channel is not None:
            asyncio.create_task(self._leave(self._channel))  # noqa: RUF006 - ends with the process

    async def _leave(self, channel: Channel) -> None:
        with suppress(ChannelClosed):
            await channel.call("leaving")

    async def _snapshot(self) -> Snapshot:
        if self._server is None:
            return ()
        own = {WORKER: str(self._start.number)}
        connections = GaugeMetricFamily("omnirelay_connections_open", "Connections open.", labels=list(own))
        connections.add_metric(list(own.values()), len(self._server.server_state.connections))
        return [*await self._server.snapshot(own), connections]


class _Connections:
    """Those that the supervisor accepts. It closes its end when no more come."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self._closed = asyncio.Event()

    def take(self, adopt: Callable[[socket.socket], bool]) -> None:
        """`adopt` says whether it took one: one that it did not is offered again, and others wait meanwhile."""
        self._source.settimeout(0.0)
        asyncio.get_running_loop().add_reader(self._source, self._readable, adopt)

    async def taken(self) -> None:
        """Until no more come."""
        await self._closed.wait()

    def _readable(self, adopt: Callable[[socket.socket], bool]) -> None:
        for _ in range(_AT_ONCE):
            try:
                message, files, _, _ = socket.recv_fds(self._source, 1, 1)
            except BlockingIOError:
                return
            except OSError:
                message, files = b"", []
            if not message:
                asyncio.get_running_loop().remove_reader(self._source)
                self._source.close()
                self._closed.set()
                return
            if not files:
                _log.error("A connection was lost: this process has no room for more files (ulimit -n)")
            for file in files:
                if not adopt(connection := socket.socket(fileno=file)):
                    asyncio.get_running_loop().remove_reader(self._source)
                    self._offer_again(adopt, connection)
                    return

    def _offer_again(self, adopt: Callable[[socket.socket], bool], connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        if adopt(connection):
            loop.add_reader(self._source, self._readable, adopt)
        else:
            loop.call_later(_PAUSE_SECONDS, self._offer_again, adopt, connection)
