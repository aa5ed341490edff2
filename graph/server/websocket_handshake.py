"""The request that a socket begins with, by the library websockets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.protocols.utils import get_local_addr
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol


class Handshake:
    """The request, until it is whole. Gone by the time the socket is open: it holds ten kilobytes."""

    __slots__ = ("_app_state", "_config", "_protocol")

    def __init__(self, config: Config, app_state: Mapping[str, Any]) -> None:
        self._config = config
        self._app_state = app_state
        self._protocol = ServerProtocol(logger=logging.getLogger("uvicorn.error"))

    @property
    def has_failed(self) -> bool:
        return self._protocol.handshake_exc is not None

    def receive(self, data: bytes) -> Request | None:
        self._protocol.receive_data(data)
        events = self._protocol.events_received()
        return cast("Request", events[0]) if events else None

    def accept(self, request: Request) -> Response:
        return self._protocol.accept(request)

    def scope(self, request: Request, transport: asyncio.Transport, client: tuple[str, int] | None) -> dict[str, Any]:
        raw_path, _, query = request.path.partition("?")
        offered = request.headers.get_all("Sec-WebSocket-Protocol")
        return {
            "type": "websocket",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "server": get_local_addr(transport),
            "client": client,
            "root_path": self._config.root_path,
            "path": self._config.root_path + unquote(raw_path),
            "raw_path": self._config.root_path.encode("ascii") + raw_path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "headers": [(name.encode("ascii"), value.encode("latin-1")) for name, value in request.headers.raw_items()],
            "subprotocols": [each.strip() for header in offered for each in header.split(",")],
            "state": dict(self._app_state),
        }
