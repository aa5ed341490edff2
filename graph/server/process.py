"""What each process of a server begins with: its loop, log, interpreter and application; the address they share."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from graph.auth.tokens import Authentication
from graph.embedded_postgres.server import EmbeddedPostgresError
from graph.execution.services import Services
from graph.operations import ManifestEntry, ManifestError, read_manifest
from graph.server import garbage, heap
from graph.server.composition import Progress
from graph.server.plugins import PlugInError
from graph.settings import Settings, SettingsError
from persistence.errors import StoreError
from persistence.tasks import end

if TYPE_CHECKING:
    from graph.server.web_server import WebServer

STARTUP_ERRORS: Final = (SettingsError, ManifestError, StoreError, EmbeddedPostgresError, PlugInError, OSError)
"""What keeps a server from running that its operator can mend."""

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

_FREE_CONNECTIONS: Final = 2
"""For reading, that queries leave to lookups and probes."""

_SWITCH_SECONDS: Final = 0.0002
"""How long a thread that computes a bulk change may hold the interpreter. The event loop releases it with each system
call, and would wait for Python's default of 5 ms at each of them."""


class CannotStart(Exception):
    """The server does not run. `advice`: lines about what to do."""

    def __init__(self, message: str, advice: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.advice = advice

    @classmethod
    def because(cls, error: Exception) -> CannotStart:
        """Of one of STARTUP_ERRORS."""
        return cls(f"The server cannot run: {str(error).rstrip('.')}.")


class ServerRun(ABC):
    """One run of a server, and what a signal means at each point of it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stopping = False
        self._has_terminal = False

    async def run(self) -> None:
        """Returns when the server was stopped. Raises CannotStart."""
        # With `nohup` a terminal that closes stops nothing.
        self._has_terminal = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _has_terminal()
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(self._serve(), name="omnirelay-serve")
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self._stop, task)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up, task)
        try:
            await task
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        except STARTUP_ERRORS as error:
            raise CannotStart.because(error) from error
        finally:
            for number in (*_STOP_SIGNALS, signal.SIGHUP):
                loop.remove_signal_handler(number)
        self._progress("Stopped")

    def _hung_up(self, task: asyncio.Task[None]) -> None:
        """SIGHUP: from an operator, or because the terminal was closed."""
        if self._has_terminal and not _has_terminal():
            self._stop(task)
        else:
            self._reload()

    @abstractmethod
    async def _serve(self) -> None:
        """Until stopped. What it opens is closed when it is cancelled."""

    @abstractmethod
    def _stop(self, task: asyncio.Task[None]) -> None:
        """A signal came that stops the server. `task` runs `_serve`."""

    @abstractmethod
    def _reload(self) -> None:
        """A signal came that restarts what can be restarted."""


def _has_terminal() -> bool:
    """Whether this process has a terminal that is open."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def import_web() -> None:
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


def added_documents(settings: Settings) -> Sequence[ManifestEntry]:
    """The documents to trust beside the program's own. Raises ManifestError."""
    manifest = settings.trusted_documents_manifest
    return () if manifest is None or settings.trusted_documents == "off" else read_manifest(manifest)


@asynccontextmanager
async def serving_from(
    services: Services,
    settings: Settings,
    callers: Authentication,
    added: Sequence[ManifestEntry],
    announce: Callable[[], None],
    exposition: Callable[[], Awaitable[bytes]] | None = None,
) -> AsyncIterator[WebServer]:
    """The server of these services, not started. What is imported and built by then is what the process keeps.

    `announce` is called once it serves, and documents are prepared then: a server whose own are not valid, which is one
    that was not installed as it was built, is stopped, and what preparing raised is raised. `exposition` returns what
    /metrics answers, where that is more than what is counted here.
    """
    from graph.execution.budgets import CostLimits  # noqa: PLC0415 - see import_web
    from graph.http.app import create_app  # noqa: PLC0415 - same
    from graph.server.web_server import WebServer  # noqa: PLC0415 - same

    app = create_app(
        services,
        max_body_bytes=settings.max_body_bytes,
        max_mutation_bytes=settings.max_mutation_bytes,
        allowed_hosts=settings.allowed_hosts,
        authentication=callers,
        reads_at_once=max(1, settings.read_connections - _FREE_CONNECTIONS),
        plans_at_once=max(1, settings.plan_processes),
        trusted_documents=settings.trusted_documents,
        added_documents=added,
        document_characters=settings.document_characters,
        costs=CostLimits(settings.operation_records, settings.caller_records, settings.caller_records_per_second),
        exposition=exposition,
        slow_request_seconds=settings.slow_request_seconds,
        allowed_origins=settings.allowed_origins,
    )
    garbage.tune()
    sys.setswitchinterval(_SWITCH_SECONDS)
    heap.return_large_blocks()

    def stop() -> None:
        server.should_exit = True

    async with preparing(app.state.prepare, stop) as begin:

        def ready() -> None:
            announce()
            begin()

        server = WebServer(app, settings, ready)
        yield server


@asynccontextmanager
async def preparing(
    prepare: Callable[[], Awaitable[None]], stop: Callable[[], None]
) -> AsyncIterator[Callable[[], None]]:
    """What begins to prepare documents. If that fails `stop` is called, and what it raised is raised at the end; what
    is not done by then is given up."""
    tasks: list[asyncio.Task[None]] = []

    async def prepare_or_stop() -> None:
        try:
            await prepare()
        except Exception:
            stop()
            raise

    try:
        yield lambda: tasks.append(asyncio.create_task(prepare_or_stop(), name="omnirelay-documents"))
    finally:
        for task in tasks:
            await end(task)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where there is one."""
    try:
        import uvloop  # noqa: PLC0415 - there is none for some platforms
    except ImportError:
        return None
    return uvloop.new_event_loop


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


def url_of(listener: socket.socket) -> str:
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
