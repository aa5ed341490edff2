"""uvicorn: on a socket that is bound already, without signal handlers, and with its own way to end a WebSocket."""

import asyncio
import contextlib
import logging
import math
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

import uvicorn
from prometheus_client import Metric
from starlette.applications import Starlette

from graph.server import heap
from graph.server.acceptor import Acceptor
from graph.server.arrivals import Arrivals
from graph.server.connections import WireLimits, connections_of
from graph.server.descriptors import backlog
from graph.server.http_protocol import HttpProtocol
from graph.server.repeated_heads import RepeatedHeads
from graph.server.websocket_protocol import WebSocketProtocol
from graph.settings import Settings
from persistence.tasks import Begun

_POLL_SECONDS: Final = 0.05

_log = logging.getLogger(__name__)

_TRIM_TICKS: Final = heap.TRIM_SECONDS * 10
"""uvicorn's ticks, of a tenth of a second each."""


class WebServer(uvicorn.Server):
    """`announce` is called once it serves: what comes on the sockets that it is started with, and connections that it
    is given by `adopt`."""

    replaced = False
    """Whether another process serves on the same address when this one stops: then clients lose nothing but a
    connection, and not while they send a request over it."""

    def __init__(self, app: Starlette, settings: Settings, announce: Callable[[], None]) -> None:
        connections = connections_of(settings)
        kept = app.state.kept_answers
        repeated = None if kept is None else RepeatedHeads(kept)
        http = HttpProtocol.within(WireLimits(send_seconds=settings.send_timeout_seconds), connections, repeated)
        super().__init__(
            uvicorn.Config(
                app,
                http=http,
                ws=cast("Any", WebSocketProtocol.within(connections)),
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
            )
        )
        self._app = app
        self._http = http
        self._drain_seconds = settings.drain_seconds
        self._announce = announce
        self._acceptors: list[Acceptor] = []
        self._arrivals = Arrivals(self._serve_one, backlog())
        self._adopting: set[asyncio.Task[object]] = set()

    async def snapshot(self, labels: Mapping[str, str]) -> list[Metric]:
        """What is counted here, as `Metrics.snapshot`."""
        snapshot: list[Metric] = await self._app.state.snapshot(labels)
        return snapshot

    def adopt(self, connection: socket.socket) -> bool:
        """Serve a connection that was accepted, when it is its client's turn. False if too many wait for that."""
        return self._arrivals.add(connection)

    def _serve_one(self, connection: socket.socket) -> None:
        # A task would begin with it a turn of the event loop later.
        adopting = Begun(self._adopt(connection))
        if not adopting.has_ended:
            task = asyncio.create_task(adopting.rest())
            self._adopting.add(task)
            task.add_done_callback(self._adopting.discard)

    async def _adopt(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(self._protocol, connection)
        except OSError:
            # Its client has left already.
            connection.close()
        except Exception:  # noqa: BLE001 - one connection must not end the accepting of others
            _log.exception("A connection cannot be served")
            connection.close()

    def _protocol(self) -> asyncio.Protocol:
        return self._http(self.config, self.server_state, self.lifespan.state)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        self._acceptors = [Acceptor(each, self.adopt) for each in sockets or ()]
        for acceptor in self._acceptors:
            acceptor.listen()
        self._announce()

    async def on_tick(self, counter: int) -> bool:
        if counter % _TRIM_TICKS == 0:
            # Not awaited: threads may all be busy with bulk changes, and this decides when the server stops.
            asyncio.get_running_loop().run_in_executor(None, heap.trim)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for acceptor in self._acceptors:
            acceptor.close()
        self._arrivals.serve_all()
        self._app.state.drain()
        if self._adopting:
            await asyncio.wait(self._adopting)
        if self.replaced:
            await self._let_go()
        await super().shutdown(sockets=sockets)

    async def _let_go(self) -> None:
        """Until clients have left, for as long as an idle connection is kept, or a stopping server may take.

        A connection that is closed while a request is on its way to it fails that request. So the next response on
        each has `Connection: close`, and an idle one is closed when it would have been anyway.
        """
        state, loop = self.server_state, asyncio.get_running_loop()
        state.default_headers = [*state.default_headers, (b"connection", b"close")]
        for connection in state.connections:
            cycle = getattr(connection, "cycle", None)
            if cycle is not None and not cycle.response_started:
                cycle.default_headers = state.default_headers
        began = loop.time()
        kept_until = began + min(self.config.timeout_keep_alive, self._drain_seconds)
        closed: set[object] = set()
        while state.connections and not self.force_exit and loop.time() < kept_until:
            for connection in list(state.connections):
                if connection in closed or not isinstance(connection, WebSocketProtocol):
                    continue
                # Before, the code could not be sent, and the client would take it for a refusal.
                if connection.handshake_complete:
                    closed.add(connection)
                    connection.shutdown()
            await asyncio.sleep(_POLL_SECONDS)
        left = self._drain_seconds - (loop.time() - began)
        self.config.timeout_graceful_shutdown = max(0, math.ceil(left))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The life cycle handles signals: uvicorn would raise them again once it has stopped, while the rest stops."""
        yield
