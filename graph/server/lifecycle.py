"""One run of a server: address, services (`composition`), demo, declared namespaces, web server, opened in this order;
closed in the reverse. The address is bound first, so that a port that is taken is reported before anything is started.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from graph.auth.tokens import authentication
from graph.embedded_postgres.server import EmbeddedPostgresError
from graph.operations import ManifestError, read_manifest
from graph.server.composition import Progress, open_services
from graph.server.demo import load_demo
from graph.server.namespace_sync import syncing_namespaces
from graph.server.plugins import PlugInError
from graph.settings import Settings, SettingsError
from persistence.errors import StoreError

if TYPE_CHECKING:
    from graph.server.web_server import WebServer


_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

_FREE_CONNECTIONS: Final = 2
"""For reading, that queries leave to lookups and probes."""

_SWITCH_SECONDS: Final = 0.0005
"""How long a thread that computes a bulk change may hold the interpreter. The event loop releases it with each system
call, and would wait for Python's default of 5 ms at each of them."""


class CannotStart(Exception):
    """The server does not run. `advice`: lines about what to do."""

    def __init__(self, message: str, advice: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.advice = advice


def serve_until_stopped(
    settings: Settings, config: Path | None, *, progress: Progress, announce: Callable[[str], None]
) -> None:
    """Returns when the server was stopped by SIGINT or SIGTERM. Raises CannotStart.

    `config` is the file the settings were read from: the namespaces it declares are followed while the server runs.
    `progress` is called with each step, `announce` with the server's URL once it listens. The garbage collector may be
    off, and is on once everything is imported.
    """
    _log_to_stderr(settings.log_level)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_Lifecycle(settings, config, progress, announce).run())
    finally:
        gc.enable()


class _Lifecycle:
    """One run of a server, and what a signal means at each point of it."""

    def __init__(
        self, settings: Settings, config: Path | None, progress: Progress, announce: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._config = config
        self._progress = progress
        self._announce = announce
        self._server: WebServer | None = None
        self._preparing: asyncio.Task[None] | None = None
        self._starting_postgres = False
        self._stopping = False

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(self._serve(), name="omnirelay-serve")
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop, task)
        try:
            await task
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        except (SettingsError, ManifestError, StoreError, EmbeddedPostgresError, PlugInError, OSError) as error:
            raise CannotStart(f"The server cannot run: {str(error).rstrip('.')}.") from error
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
        self._progress("Stopped")

    async def _serve(self) -> None:
        settings = self._settings
        callers = authentication(settings)
        manifest = settings.trusted_documents_manifest
        added = () if manifest is None or settings.trusted_documents == "off" else read_manifest(manifest)
        async with AsyncExitStack() as stack:
            listener = bound_socket(settings.host, settings.port)
            stack.callback(listener.close)
            web = asyncio.get_running_loop().run_in_executor(None, _import_web)
            self._starting_postgres = settings.database_url is None
            services = await stack.enter_async_context(open_services(settings, self._progress))
            self._starting_postgres = False
            if self._stopping:
                return
            if settings.loads_demo:
                await load_demo(services.store, services.writer, self._progress)
            if self._config is not None:
                following = syncing_namespaces(
                    self._config, services.store.namespaces, services.writer, services.strategies
                )
                await stack.enter_async_context(following)
            await web
            from graph.http.app import create_app  # noqa: PLC0415 - see _import_web
            from graph.server.web_server import WebServer  # noqa: PLC0415 - same

            app = create_app(
                services,
                max_body_bytes=settings.max_body_bytes,
                allowed_hosts=settings.allowed_hosts,
                authentication=callers,
                queries_at_once=max(1, settings.read_connections - _FREE_CONNECTIONS),
                trusted_documents=settings.trusted_documents,
                added_documents=added,
            )
            _tune_garbage_collector()
            sys.setswitchinterval(_SWITCH_SECONDS)
            stack.push_async_callback(self._end_preparing)
            self._server = WebServer(app, settings, partial(self._ready, _url_of(listener), app.state.prepare))
            await self._server.serve([listener])

    def _ready(self, url: str, prepare: Callable[[], Awaitable[None]]) -> None:
        self._announce(url)
        self._preparing = asyncio.create_task(self._prepare(prepare), name="omnirelay-documents")

    async def _prepare(self, prepare: Callable[[], Awaitable[None]]) -> None:
        """Stops a server whose own documents are not valid, which is one that was not installed as it was built."""
        try:
            await prepare()
        except Exception:
            if self._server is not None:
                self._server.should_exit = True
            raise

    async def _end_preparing(self) -> None:
        """Raises what preparing did."""
        if self._preparing is not None:
            self._preparing.cancel()
            with suppress(asyncio.CancelledError):
                await self._preparing

    def _stop(self, task: asyncio.Task[None]) -> None:
        """A signal came. The second one while requests are being waited for stops the waiting."""
        repeated, self._stopping = self._stopping, True
        if self._server is not None:
            self._server.should_exit = True
            self._server.force_exit = repeated
            self._progress("Stopping at once" if repeated else "Stopping; requests under way are finished")
        elif self._starting_postgres:
            # A thread is waiting for it and cannot be interrupted; left alone it would be started and never stopped.
            self._progress("Stopping, once PostgreSQL is up")
        else:
            task.cancel()


def _import_web() -> None:
    """Import GraphQL and the web server, half of what a server loads, while PostgreSQL starts beside this process.

    What imports have made is then exempted from garbage collection, which would walk through all of it for 0.13 s to
    find the 0.4 MB that are garbage.
    """
    try:
        import graph.http.app  # noqa: PLC0415 - see above
        import graph.server.web_server  # noqa: F401, PLC0415 - same

        gc.freeze()
    finally:
        gc.enable()


def _tune_garbage_collector() -> None:
    """Exempt what lives as long as the process from garbage collection.

    Walking all of the schema's objects repeatedly stopped every request for tens of milliseconds: in `make bench`,
    the p99 of lookups at 200/s was 87 ms before, 17 and 24 ms after, on 2 cores.

    What comes later, diffs and replica above all, is no garbage either, and is freed without the collector when its
    time has come. Python's own thresholds walked all of it whenever a change touched thousands of shards, for 40 to
    110 ms each time. With these a full walk comes after a million objects that stayed.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 20)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where there is one."""
    try:
        import uvloop  # noqa: PLC0415 - there is none for some platforms
    except ImportError:
        return None
    return uvloop.new_event_loop


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("uvicorn", "alembic"):
        # What they report is in the progress and the errors of this module already.
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
    # What is tried again is logged where that is decided, with its reason.
    logging.getLogger("stamina").setLevel(logging.DEBUG if level == "debug" else logging.ERROR)


def bound_socket(host: str, port: int) -> socket.socket:
    """Bound, not listening yet: a client that connects before the server is ready is refused, not left waiting.

    Raises CannotStart.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error) from error
    return listener


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _cannot_listen(host: str, port: int, error: OSError) -> CannotStart:
    if error.errno == errno.EADDRINUSE:
        return CannotStart(
            f"Port {port} of {host} is taken by another program.",
            ["Stop that one, or choose another with --port (0 takes any that is free)."],
        )
    why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    return CannotStart(f"Cannot listen on port {port} of {host}: {why}.", ["Choose others: --host, --port."])
