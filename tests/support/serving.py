"""An application behind a real server, for what a transport in memory cannot show: sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from graph.server.http_protocol import HttpProtocol
from graph.server.websocket_protocol import WebSocketProtocol


@asynccontextmanager
async def serving(
    app: Starlette,
    *,
    ping_seconds: float = 20.0,
    idle_seconds: int = 5,
    compression: bool = False,
    http: type[HttpProtocol] = HttpProtocol,
) -> AsyncIterator[str]:
    """`127.0.0.1:port` of a server in this event loop. `ping_seconds`: from ping to ping, and for an answer;
    `idle_seconds`: after which a connection without a request is closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app,
            log_config=None,
            lifespan="off",
            http=http,
            # This server's has no compression.
            ws=WebSocketsSansIOProtocol if compression else WebSocketProtocol,
            ws_per_message_deflate=compression,
            ws_ping_interval=ping_seconds,
            ws_ping_timeout=ping_seconds,
            timeout_keep_alive=idle_seconds,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(config)
        started = asyncio.Event()
        startup = server.startup

        async def announced(sockets: list[socket.socket] | None = None) -> None:
            await startup(sockets)
            started.set()

        server.startup = announced  # type: ignore[method-assign] # uvicorn has no other sign that it listens
        task = asyncio.create_task(server._serve([listener]))  # noqa: SLF001 - `serve` would take over the signals
        try:
            await asyncio.wait_for(started.wait(), 10)
            host, port = listener.getsockname()
            yield f"{host}:{port}"
        finally:
            app.state.drain()
            server.should_exit = True
            await task
