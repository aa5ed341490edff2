"""Requests whose head came before in the same bytes: answered at once where the answer is kept, as ever where not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from graph.server.connections import WireLimits
from graph.server.http_protocol import HttpProtocol
from graph.server.repeated_heads import LONGEST_HEAD, RepeatedHeads
from tests.support.serving import serving

KEPT: Final = b"kept"
OTHER: Final = b"else"


class Application:
    """Answers a body with itself, in capitals. What it has kept, KEPT, it answers without being called, as it is; and
    what is `late`, when it is let go."""

    path = "/graphql"

    def __init__(self) -> None:
        self.state = SimpleNamespace(drain=lambda: None)
        self.let_go = asyncio.Event()
        self.forgets = False

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message.get("body", b"")
        if body == b"late":
            await self.let_go.wait()
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body.upper()})

    def known_head(self, headers: Mapping[bytes, bytes]) -> Any | None:
        return None if b"irregular" in headers else headers[b"host"]

    def answer_again(self, head: Any, body: bytes) -> bytes | None:
        assert head == b"mesh"
        return None if body != KEPT or self.forgets else b"content-length: %d\r\n\r\n%b" % (len(body), body)


def request(body: bytes = KEPT, more: bytes = b"", target: bytes = b"POST /graphql HTTP/1.1") -> bytes:
    return b"%b\r\nhost: mesh\r\ncontent-length: %d\r\n%b\r\n%b" % (target, len(body), more, body)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    async def answers(self, *received: bytes) -> list[bytes]:
        """To what the server receives in one piece each."""
        found = []
        for each in received:
            self._writer.write(each)
            await self._writer.drain()
            found.append(await self.answer())
        return found

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self) -> bytes:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert head.count(b"\r\ndate: ") == 1
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        return await asyncio.wait_for(self.reader.readexactly(int(length[1])), 10)


@asynccontextmanager
async def connected(app: Application, **options: Any) -> AsyncIterator[Client]:
    protocol = HttpProtocol.within(WireLimits(), None, RepeatedHeads(app))
    async with serving(cast("Starlette", app), http=protocol, **options) as address:
        host, port = address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            yield Client(reader, writer)
        finally:
            writer.close()


async def test_a_head_that_came_twice_is_not_read_again_where_the_answer_is_kept() -> None:
    async with connected(Application()) as client:
        assert await client.answers(*[request()] * 4) == [b"KEPT", b"KEPT", KEPT, KEPT]
        assert await client.answers(request(OTHER), request()) == [b"ELSE", KEPT]
        assert await client.answers(request(b"longer"), request()) == [b"LONGER", KEPT]


async def test_an_answer_that_does_not_stand_any_more_is_made_anew() -> None:
    app = Application()
    async with connected(app) as client:
        assert await client.answers(*[request()] * 3) == [b"KEPT", b"KEPT", KEPT]
        app.forgets = True
        assert await client.answers(request(), request()) == [b"KEPT", b"KEPT"]
        app.forgets = False
        assert await client.answers(request()) == [KEPT]


@pytest.mark.parametrize(
    "received",
    [
        request(target=b"POST /graphql?operation=1 HTTP/1.1"),
        request(target=b"POST /graphql/ HTTP/1.1"),
        request(target=b"PUT /graphql HTTP/1.1"),
        request(more=b"x-request-id: mine\r\n"),
        request(more=b"traceparent: 00-0-0-00\r\n"),
        request(more=b"host: mesh\r\n"),
        request(more=b"irregular: 1\r\n"),
        request(more=b"padding: %b\r\n" % (b"x" * LONGEST_HEAD)),
        b"POST /graphql HTTP/1.1\r\nhost: mesh\r\ntransfer-encoding: chunked\r\n\r\n4\r\nkept\r\n0\r\n\r\n",
    ],
)
async def test_what_is_not_a_plain_post_is_always_read(received: bytes) -> None:
    async with connected(Application()) as client:
        assert await client.answers(*[received] * 4) == [b"KEPT"] * 4


@pytest.mark.parametrize("more", [b"connection: close\r\n", b"Connection: upgrade\r\n"])
async def test_a_connection_that_is_not_to_be_kept_is_never_answered_again(more: bytes) -> None:
    for _ in range(4):
        async with connected(Application()) as client:
            assert await client.answers(request(), request(), request(more=more)) == [b"KEPT", b"KEPT", b"KEPT"]


async def test_requests_that_come_together_are_read() -> None:
    async with connected(Application()) as client:
        assert await client.answers(*[request()] * 3) == [b"KEPT", b"KEPT", KEPT]
        await client.send(request() * 3)
        assert [await client.answer() for _ in range(3)] == [b"KEPT"] * 3
        assert await client.answers(request()) == [KEPT]


async def test_what_is_kept_does_not_overtake_what_was_asked_before() -> None:
    app = Application()
    async with connected(app) as client:
        assert await client.answers(*[request()] * 3) == [b"KEPT", b"KEPT", KEPT]
        await client.send(request(b"late"))
        await asyncio.sleep(0.01)
        await client.send(request())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.reader.read(1), 0.05)
        app.let_go.set()
        assert [await client.answer() for _ in range(2)] == [b"LATE", b"KEPT"]
        assert await client.answers(request()) == [KEPT]


async def test_a_connection_that_is_answered_at_once_is_closed_when_it_is_idle() -> None:
    loop = asyncio.get_running_loop()
    async with connected(Application(), idle_seconds=1) as client:
        await client.answers(*[request()] * 3)
        last = loop.time()
        assert await asyncio.wait_for(client.reader.read(), 10) == b""
        assert loop.time() >= last + 0.9


class Network(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def test_whatever_is_not_one_whole_request_to_answer_on_a_connection_that_stays_is_read() -> None:
    app = Application()
    protocol_of = HttpProtocol.within(WireLimits(), None, RepeatedHeads(app))
    config, state = uvicorn.Config(cast("Any", app), log_config=None), ServerState()
    network = Network()
    protocol = protocol_of(config, state, {})
    protocol.connection_made(network)

    async def answered(*pieces: bytes) -> bytes:
        network.written = b""
        for piece in pieces or (request(),):
            protocol.data_received(piece)
        for _ in range(10):
            await asyncio.sleep(0)
        return network.written

    for expected in (b"KEPT", b"KEPT", KEPT):
        assert (await answered()).endswith(expected)
    assert (await answered(request()[:-2], request()[-2:])).endswith(b"KEPT")
    assert (await answered(request()[:9], request()[9:])).endswith(b"KEPT")
    assert (await answered()).endswith(KEPT)
    protocol.pause_writing()
    assert await answered() == b""
    protocol.resume_writing()
    for _ in range(10):
        await asyncio.sleep(0)
    assert network.written.endswith(b"KEPT")
    assert (await answered()).endswith(KEPT)
    state.default_headers = [(b"connection", b"close")]
    assert (await answered()).endswith(b"KEPT")
    assert network.is_closed
    assert state.total_requests == 9
    protocol.connection_lost(None)
