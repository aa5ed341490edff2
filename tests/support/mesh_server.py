"""A server on the store in memory, in a thread of its own: for clients that are ordinary, blocking programs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, Self, TypeVar

from graph.auth.tokens import Authentication
from graph.http.app import create_app
from graph.server.process import bound_socket
from graph.server.web_server import WebServer
from graph.settings import load_settings
from persistence.feed.live import live_feed
from persistence.feed.tailer import FeedLimits
from tests.reference.store import store_on
from tests.reference.tables import Memory
from tests.support.graphql_api import services_of
from tests.support.mesh import Mesh
from tests.support.shared_schema import shared_schema

T = TypeVar("T")

IMPATIENT = FeedLimits(bookmark_seconds=0.2)


class MeshServer:
    """May be stopped and started again: the store and the port stay."""

    def __init__(self, authentication: Authentication | None = None, *, allowed_hosts: Sequence[str] = ("*",)) -> None:
        self._authentication = authentication
        self._allowed_hosts = allowed_hosts
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mesh-server")
        self._thread.start()
        self.memory = Memory()
        self.mesh = Mesh(store_on(self.memory))
        self._port = 0
        self._server: WebServer | None = None
        self._served: Future[None] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something with the store, behind the API's back."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def start(self) -> None:
        listening = threading.Event()
        self._served = asyncio.run_coroutine_threadsafe(self._serve(listening), self._loop)
        assert listening.wait(30), self._served

    def stop(self) -> None:
        """As SIGTERM stops one: sockets are closed with 1012."""
        if self._server is not None and self._served is not None:
            self._server.should_exit = True
            self._served.result()
        self._server = None

    async def _serve(self, listening: threading.Event) -> None:
        settings = load_settings(None, {}, port=self._port, drain_seconds=1)
        with bound_socket(settings.host, settings.port) as listener:
            self._port = listener.getsockname()[1]
            store = self.mesh.store
            async with live_feed(store.stream, store.signal, IMPATIENT) as feed:
                services = services_of(store, self.mesh.writer, feed)
                with shared_schema():
                    app = create_app(services, authentication=self._authentication, allowed_hosts=self._allowed_hosts)
                self._server = WebServer(app, settings, listening.set)
                await self._server.serve([listener])
