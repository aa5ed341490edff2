"""The real protocols of the server, in this process, and a network that is none: what a test sends is received at once,
and what is written is kept.

So thousands of connections a second can be tried, and whatever goes wrong is seen: an exception out of a protocol is
raised where the bytes were sent, what is logged as an error or with a traceback is noted, and so is what the event loop
reports. Nothing waits for a timeout: a connection that has nothing more to expect is lost, as if its client had left.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final
from unittest import mock

import uvicorn
from starlette.applications import Starlette
from uvicorn.server import ServerState

import graph.execution.documents
from graph.server.connections import WireLimits
from graph.server.http_protocol import HttpProtocol
from graph.server.repeated_heads import RepeatedHeads
from graph.server.websocket_protocol import WebSocketProtocol

_QUIET_TURNS: Final = 25
"""Of the event loop, in which nothing is written: nothing more is to be expected then."""

_LEAVES_SECONDS: Final = 10.0
"""How long what serves a connection may go on once its client has left."""

_STATUS: Final = re.compile(rb"^HTTP/1\.1 (\d{3}) ", re.MULTILINE)


class Faults(logging.Handler):
    """What is logged as an error, or with a traceback, and what the event loop reports."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or record.levelno >= logging.ERROR:
            self.found.append(self.format(record))

    def report(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.found.append(f"{context.get('message')}: {context.get('exception')!r}")


class Network(asyncio.Transport):
    """Of one connection."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": ("127.0.0.1", 4_321), "sockname": ("127.0.0.1", 8_080)})
        self.written = bytearray()
        self.is_lost = False
        self._closing = False
        self._paused = False
        self._unread = bytearray()
        self._protocol = protocol
        protocol.connection_made(self)

    def receive(self, data: bytes) -> None:
        if self.is_lost or self._closing:
            return
        if self._paused:
            self._unread += data
        elif data:
            self._protocol.data_received(data)

    def lose(self) -> None:
        if not self.is_lost:
            self.is_lost = self._closing = True
            self._protocol.connection_lost(None)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def write(self, data: Any) -> None:
        if not self.is_lost:
            self.written += data

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """The client reads on."""

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """All is taken at once."""

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self.lose)

    def abort(self) -> None:
        self.close()

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        if self._unread:
            data, self._unread = bytes(self._unread), bytearray()
            asyncio.get_running_loop().call_soon(self.receive, data)


class Server:
    """An application behind the protocols."""

    def __init__(self, app: Starlette, faults: Faults) -> None:
        self._http = HttpProtocol.within(WireLimits(), None, RepeatedHeads(app.state.kept_answers))
        self._config = uvicorn.Config(
            app,
            http=self._http,
            ws=WebSocketProtocol,
            log_config=None,
            lifespan="off",
            ws_ping_interval=None,  # a closed socket is remembered until it would have been pinged
        )
        self._config.load()
        self._state = ServerState()
        self.faults = faults

    async def send(self, parts: Sequence[bytes]) -> bytes:
        """What is written to a client that sends these parts, waits for as long as something comes, and leaves."""
        before = set(self._state.tasks)
        network = Network(self._http(self._config, self._state, {}))
        for part in parts:
            network.receive(part)
            await asyncio.sleep(0)
        await self._until_quiet(network)
        network.lose()
        left = self._state.tasks - before
        if left:
            _, going = await asyncio.wait(left, timeout=_LEAVES_SECONDS)
            assert not going, going
        if self.faults.found:
            found, self.faults.found = self.faults.found, []
            raise AssertionError("\n".join(found))
        statuses = [int(status) for status in _STATUS.findall(network.written)]
        bad = [status for status in statuses if status >= 500 and status != 503]
        assert not bad, bytes(network.written[:4_000])
        assert b'"INTERNAL"' not in network.written, bytes(network.written[:4_000])
        return bytes(network.written)

    async def _until_quiet(self, network: Network) -> None:
        quiet, written = 0, 0
        while quiet < _QUIET_TURNS and not network.is_lost:
            quiet = quiet + 1 if len(network.written) == written else 0
            written = len(network.written)
            await asyncio.sleep(0)


class _Inline(Executor):
    """Documents are read here and now: what is awaited is what the event loop does, and nothing beside it."""

    def __init__(self, *_: object) -> None:
        super().__init__()

    def submit(self, work: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*given, **named))
        except Exception as error:  # noqa: BLE001 - it is raised where the result is awaited
            future.set_exception(error)
        return future


@contextmanager
def reading_inline() -> Iterator[None]:
    """For applications that are created inside."""
    with mock.patch.object(graph.execution.documents, "ThreadPoolExecutor", _Inline):
        yield


@asynccontextmanager
async def noting_faults() -> AsyncIterator[Faults]:
    faults = Faults()
    loop, root = asyncio.get_running_loop(), logging.getLogger()
    before = loop.get_exception_handler()
    loop.set_exception_handler(faults.report)
    root.addHandler(faults)
    try:
        yield faults
    finally:
        root.removeHandler(faults)
        loop.set_exception_handler(before)
