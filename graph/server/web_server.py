"""uvicorn: on a socket that is bound already, without signal handlers, and with its own way to end a WebSocket."""

import asyncio
import contextlib
import math
import socket
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import ClassVar, Final

import uvicorn
from prometheus_client import Metric
from starlette.applications import Starlette
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.protocol import State

from graph.close_codes import CloseCode
from graph.http.websocket import FRAMES
from graph.server.http_protocol import HttpProtocol
from graph.settings import Settings

_POLL_SECONDS: Final = 0.05


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, but that a client which answers no ping is closed with a code after which it comes back, and in time.

    The fastest at fan-out, and without compression twice as fast again: docs/decisions/0013. A ping goes out every 20
    seconds and has 20 seconds for its answer (`ws_ping_interval` and `ws_ping_timeout` of uvicorn).
    """

    late_seconds: ClassVar[float] = 1.0
    """More time for an answer that is there and was not read yet: after this process has been frozen, the event loop
    looks at its timers before it looks at its sockets."""
    drop_seconds: ClassVar[float] = 5.0
    """How long the close code, and what is buffered before it, may take to be sent. Then the connection is dropped: a
    client that never reads would hold it for as long as its system is up."""

    _late = False

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == HTTPStatus.SWITCHING_PROTOCOLS and not self.conn.extensions:
            # In time: the application begins in a later turn of the event loop.
            self.scope["extensions"][FRAMES] = {"write": self.write_frame}

    def start_keepalive(self) -> None:
        """The socket is open. Its handshake, a few kilobytes of headers, would be held as long as it is."""
        super().start_keepalive()
        del self.request, self.response

    def write_frame(self, frame: bytes) -> bool:
        """The extension FRAMES. The protocol holds no bytes back, so frames that pass it by keep their order."""
        if self.conn.state is not State.OPEN or not self.writable.is_set() or self.transport.is_closing():
            return False
        self.transport.write(frame)
        return True

    def send_keepalive_ping(self) -> None:
        self._late = False
        super().send_keepalive_ping()

    def keepalive_timeout(self) -> None:
        if not self._late:
            self._late = True
            self.pong_timer = self.loop.call_later(self.late_seconds, self.keepalive_timeout)
            return
        self.pong_timer = None
        self.pending_ping_payload = None
        if self.close_sent or self.transport.is_closing():
            return
        self.conn.fail(CloseCode.UNRESPONSIVE, "no answer to a ping")
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.close()
        self.close_timer = self.loop.call_later(self.drop_seconds, self.transport.abort)


class WebServer(uvicorn.Server):
    """`announce` is called once it serves. It accepts connections on the sockets that it is started with, and serves
    those that it is given by `adopt`."""

    replaced = False
    """Whether another process serves on the same address when this one stops: then clients lose nothing but a
    connection, and not while they send a request over it."""

    def __init__(self, app: Starlette, settings: Settings, announce: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=HttpProtocol,
                ws=WebSocketProtocol,
                ws_per_message_deflate=False,
                ws_max_size=settings.max_body_bytes,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
            )
        )
        self._app = app
        self._drain_seconds = settings.drain_seconds
        self._announce = announce
        self._adopting: set[asyncio.Task[object]] = set()

    async def snapshot(self, labels: Mapping[str, str]) -> list[Metric]:
        """What is counted here, as `Metrics.snapshot`."""
        snapshot: list[Metric] = await self._app.state.snapshot(labels)
        return snapshot

    def adopt(self, connection: socket.socket) -> None:
        """Serve a connection that was accepted elsewhere."""
        task = asyncio.create_task(self._adopt(connection))
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)

    async def _adopt(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        connection.settimeout(0.0)
        try:
            await loop.connect_accepted_socket(self._protocol, connection)
        except OSError:
            # Its client has left already.
            connection.close()

    def _protocol(self) -> asyncio.Protocol:
        return HttpProtocol(self.config, self.server_state, self.lifespan.state)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.drain()
        if self.replaced:
            await self._let_go()
        await super().shutdown(sockets=sockets)

    async def _let_go(self) -> None:
        """Until clients have left, for as long as an idle connection is kept, or a stopping server may take.

        A connection that is closed while a request is on its way to it fails that request. So the next response on
        each says that it is the last, and an idle one is closed when it would have been anyway.
        """
        if self._adopting:
            await asyncio.wait(self._adopting)
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
