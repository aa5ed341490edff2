"""uvicorn: on a socket that is bound already, without signal handlers, and with its own way to end a WebSocket."""

import contextlib
import math
import socket
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import ClassVar

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.protocol import State

from graph.close_codes import CloseCode
from graph.http.websocket import FRAMES
from graph.server.http_protocol import HttpProtocol
from graph.settings import Settings


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
    """`announce` is called once it listens."""

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
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.drain()
        await super().shutdown(sockets=sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The life cycle handles signals: uvicorn would raise them again once it has stopped, while the rest stops."""
        yield
