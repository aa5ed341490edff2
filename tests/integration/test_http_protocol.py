"""Heads and bodies of responses leave together, and whatever an application does, everything it sends arrives."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from graph.server.http_protocol import HttpProtocol
from graph.server.joined_writes import JoinedWrites
from graph.server.websocket_protocol import WebSocketProtocol as SocketProtocol
from tests.support.serving import serving

REQUEST = b"GET /%s HTTP/1.1\r\nhost: mesh\r\n%s\r\n"
LARGE = bytes(range(256)) * 8_192


class Network:
    """A transport that remembers what it was given."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed_after: int | None = None

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def get_extra_info(self, name: str) -> None:
        """Of no socket."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Each is given what it receives by hand."""

    def is_closing(self) -> bool:
        return self.closed_after is not None

    def close(self) -> None:
        self.closed_after = len(self.writes)


def joined(network: Network) -> JoinedWrites:
    return JoinedWrites(cast("asyncio.Transport", network), asyncio.get_running_loop())


async def test_the_writes_of_one_turn_are_one() -> None:
    network = Network()
    transport = joined(network)
    transport.write(b"head ")
    transport.write(b"body")
    assert network.writes == []
    await asyncio.sleep(0)
    assert network.writes == [b"head body"]
    transport.write(b"next")
    await asyncio.sleep(0)
    assert network.writes == [b"head body", b"next"]


async def test_what_is_large_is_neither_held_nor_copied_and_stays_in_order() -> None:
    network = Network()
    transport = joined(network)
    for data in (b"head", LARGE, b"tail"):
        transport.write(data)
    assert network.writes == [b"head", LARGE]
    assert network.writes[1] is LARGE
    await asyncio.sleep(0)
    assert network.writes[2:] == [b"tail"]


async def test_what_is_held_is_written_before_the_end() -> None:
    network = Network()
    transport = joined(network)
    transport.write(b"last")
    transport.close()
    assert (network.writes, network.closed_after) == ([b"last"], 1)
    await asyncio.sleep(0)
    assert network.writes == [b"last"]


def test_what_is_sent_once_the_connection_is_lost_is_no_error() -> None:
    uvloop = pytest.importorskip("uvloop")  # asyncio's own transports take what is written to them once they are closed
    errors: list[dict[str, Any]] = []

    class Protocol(HttpProtocol):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    lost = asyncio.Event()
    answered = asyncio.Event()

    async def late(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await lost.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
        answered.set()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: errors.append(context))
        config, state = uvicorn.Config(late, log_config=None), ServerState()
        async with await loop.create_server(lambda: Protocol(config, state, {}), "127.0.0.1", 0) as server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(REQUEST % (b"", b"") * 2)
            await writer.drain()
            writer.close()
            await asyncio.wait_for(answered.wait(), 10)
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    assert errors == []


async def test_what_is_held_is_written_before_a_socket_takes_over() -> None:
    network = Network()
    protocol = HttpProtocol(uvicorn.Config(Application(), log_config=None, ws=SocketProtocol), ServerState(), {})
    protocol.connection_made(cast("asyncio.Transport", network))
    protocol.transport.write(b"answer to the request before")
    upgrade = b"connection: upgrade\r\nupgrade: websocket\r\n"  # without a key, which is refused at once
    protocol.data_received(REQUEST % (b"", upgrade))
    assert [write[:12] for write in network.writes] == [b"answer to th", b"HTTP/1.1 400"]
    assert network.closed_after == 2


class Application:
    """Answers `/small`, `/large`, and `/late`, whose body waits until it is let go."""

    def __init__(self) -> None:
        self.state = SimpleNamespace(drain=lambda: None)
        self.let_go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        name = scope["path"].strip("/")
        body = LARGE if name == "large" else name.encode()
        head: dict[str, Any] = {"type": "http.response.start", "status": 200}
        await send({**head, "headers": [(b"content-length", str(len(body)).encode())]})
        if name == "late":
            await self.let_go.wait()
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connected(
    app: Application, **options: Any
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with serving(cast("Starlette", app), **options) as address:
        host, port = address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**22)
        try:
            yield reader, writer
        finally:
            writer.close()


async def answer(reader: asyncio.StreamReader) -> bytes:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    length = re.search(rb"content-length: (\d+)", head)
    assert length is not None
    return await asyncio.wait_for(reader.readexactly(int(length[1])), 10)


async def test_requests_that_are_sent_at_once_are_answered_in_their_order() -> None:
    async with connected(Application()) as (reader, writer):
        for name in (b"small", b"large", b"other", b"small"):
            writer.write(REQUEST % (name, b""))
        assert [await answer(reader) for _ in range(4)] == [b"small", LARGE, b"other", b"small"]


@pytest.mark.parametrize("name", [b"small", b"large"])
async def test_a_response_arrives_whole_before_its_connection_is_closed(name: bytes) -> None:
    async with connected(Application()) as (reader, writer):
        writer.write(REQUEST % (name, b"connection: close\r\n"))
        assert await answer(reader) == (LARGE if name == b"large" else name)
        assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_a_head_does_not_wait_for_its_body() -> None:
    app = Application()
    async with connected(app) as (reader, writer):
        writer.write(REQUEST % (b"late", b""))
        assert b"content-length: 4" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        app.let_go.set()
        assert await asyncio.wait_for(reader.readexactly(4), 10) == b"late"


async def test_a_connection_is_closed_when_it_has_been_idle_and_not_while_it_is_used() -> None:
    app = Application()
    loop = asyncio.get_running_loop()
    async with connected(app, idle_seconds=1) as (reader, writer):
        began = loop.time()
        while loop.time() < began + 1.5:  # longer than the timer that the first response has begun
            writer.write(REQUEST % (b"small", b""))
            assert await answer(reader) == b"small"
        writer.write(REQUEST % (b"late", b""))
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 1.5)
        app.let_go.set()
        assert await asyncio.wait_for(reader.readexactly(4), 10) == b"late"
        last = loop.time()
        assert await asyncio.wait_for(reader.read(), 10) == b""
        assert loop.time() >= last + 0.9
