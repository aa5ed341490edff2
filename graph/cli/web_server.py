"""uvicorn as this project runs it: on a socket that is bound already, and without touching the process's signals."""

import contextlib
import math
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.applications import Starlette

from graph.settings import Settings


class WebServer(uvicorn.Server):
    """`announce` is called once it listens."""

    def __init__(self, app: Starlette, settings: Settings, announce: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                # The fastest at fan-out, and without compression twice as fast again: see docs/decisions.
                ws="websockets-sansio",
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
        """Signals are ours: uvicorn would raise them again once it has stopped, in the middle of our own stopping."""
        yield
