"""What a client may send before it is known, how long it may take over it, and over what it is sent: each row of what
used to stop a server ends with a code or a close."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from graph.server.connections import Connections, WireLimits
from graph.server.http_protocol import HttpProtocol
from tests.support.serving import serving

ROUND: Final = 65_536
LARGE: Final = 15_000_000
GET: Final = b"GET /%s HTTP/1.1\r\nhost: mesh\r\n%s\r\n"
QUICK: Final = WireLimits(head_seconds=0.3, body_seconds=0.3, send_seconds=0.3)


class Application:
    """`/large` is 15 MB, `/body` reads what it is sent, everything else answers without looking at the body."""

    def __init__(self) -> None:
        self.state = SimpleNamespace(drain=lambda: None)
        self.left = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["path"].strip("/")
        if name == "body":
            while (message := await receive()).get("more_body"):
                pass
            if message["type"] == "http.disconnect":
                self.left += 1
                return
        body = bytes(LARGE) if name == "large" else name.encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """Status and body."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        return int(head.split()[1]), await asyncio.wait_for(self.reader.readexactly(int(length[1])), 10)

    async def refusal(self) -> tuple[int, str]:
        """Status and code; nothing comes after it."""
        status, body = await self.answer()
        assert await asyncio.wait_for(self.reader.read(), 10) == b""
        return status, json.loads(body)["errors"][0]["extensions"]["code"]

    async def end(self) -> None:
        """Until the server has closed the connection."""
        with suppress(ConnectionError):
            while await asyncio.wait_for(self.reader.read(ROUND), 10):
                pass


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Client]:
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


@pytest.fixture
def app() -> Application:
    return Application()


@pytest.fixture
async def address(app: Application) -> AsyncIterator[str]:
    """Of a server that is quick to lose patience."""
    async with serving(cast("Starlette", app), http=HttpProtocol.within(QUICK, None)) as address:
        yield address


async def sent_until_refused(client: Client, head: bytes, most: int) -> int:
    """Bytes that were sent of `most` until the server closed the connection."""
    sent = 0
    with suppress(ConnectionError):
        await client.send(head)
        while sent < most and not client.reader.at_eof():
            await client.send(b"a" * ROUND)
            sent += ROUND
    return sent


async def test_a_header_without_end_is_refused_before_much_of_it_is_read(address: str) -> None:
    async with connected(address) as client:
        sent = await sent_until_refused(client, b"GET /healthz HTTP/1.1\r\nhost: mesh\r\nx-long: ", 67_108_864)
        assert sent < 16_777_216  # what the buffers of the system hold included
    async with connected(address) as client:
        await client.send(b"GET /healthz HTTP/1.1\r\nhost: mesh\r\nx-long: " + b"a" * 40_000)
        assert await client.refusal() == (431, "HEADERS_TOO_LARGE")


async def test_headers_are_counted(address: str) -> None:
    async with connected(address) as client:
        await client.send(GET % (b"small", b"a: b\r\n" * 100))
        assert await client.refusal() == (431, "HEADERS_TOO_LARGE")
    async with connected(address) as client:
        await client.send(GET % (b"small", b"a: b\r\n" * 99))
        assert await client.answer() == (200, b"small")


async def test_what_is_no_http_is_refused_with_a_code(address: str) -> None:
    for nonsense in (b"nonsense\r\n\r\n", GET % (b"small", b"content-length: x\r\n"), b"GET \xff HTTP/1.1\r\n\r\n"):
        async with connected(address) as client:
            await client.send(nonsense)
            assert await client.refusal() == (400, "BAD_REQUEST")


@pytest.mark.parametrize("before", [b"", GET % (b"small", b"")])
async def test_a_handshake_with_a_body_is_refused(address: str, before: bytes) -> None:
    upgrade = b"connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 10\r\n"
    async with connected(address) as client:
        if before:
            await client.send(before)
            assert await client.answer() == (200, b"small")
        await client.send(GET % (b"graphql", upgrade) + b"half")
        assert (await asyncio.wait_for(client.reader.read(), 10)).startswith(b"HTTP/1.1 400 ")


async def test_half_sent_requests_end(address: str) -> None:
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(100):
            client = await stack.enter_async_context(connected(address))
            await client.send(b"GET /small HTTP/1.1\r\nhost: me")
            clients.append(client)
        assert {await client.refusal() for client in clients} == {(408, "REQUEST_TIMEOUT")}


async def test_a_header_that_drips_is_not_waited_for(address: str) -> None:
    async with connected(address) as client:
        with suppress(ConnectionError):
            await client.send(b"GET /small HTTP/1.1\r\n")
            while not client.reader.at_eof() and not client.reader._buffer:  # type: ignore[attr-defined]  # noqa: SLF001 - the answer is there
                await client.send(b"a: b\r\n")
                await asyncio.sleep(0.02)
        assert await client.refusal() == (408, "REQUEST_TIMEOUT")


async def test_a_body_that_drips_is_not_waited_for(app: Application, address: str) -> None:
    for framing in (b"content-length: 10000000\r\n", b"transfer-encoding: chunked\r\n"):
        async with connected(address) as client:
            await client.send(GET.replace(b"GET", b"POST") % (b"body", framing))
            await client.send(b"5\r\nbytes\r\n")
            assert await client.refusal() == (408, "REQUEST_TIMEOUT")
    assert app.left == 2


async def test_a_connection_without_a_request_ends_in_silence(address: str) -> None:
    async with connected(address) as client:
        assert await asyncio.wait_for(client.reader.read(), 10) == b""
    async with connected(address) as client:  # between requests, line ends are skipped
        with suppress(ConnectionError):
            while not client.reader.at_eof():
                await client.send(b"\r\n")
                await asyncio.sleep(0.02)
        await client.end()


async def test_a_body_that_nothing_waits_for_is_not_read_on(address: str) -> None:
    """The answer arrives all the same: what is under way is thrown away, for a while."""
    async with connected(address) as client:
        await client.send(GET.replace(b"GET", b"POST") % (b"refused", b"content-length: 300000\r\n"))
        await client.send(b"a" * 200_000)
        assert await client.answer() == (200, b"refused")
        assert await asyncio.wait_for(client.reader.read(), 10) == b""
    async with connected(address) as client:
        head = GET.replace(b"GET", b"POST") % (b"refused", b"content-length: 67108864\r\n")
        assert await sent_until_refused(client, head, 67_108_864) < 16_777_216


async def test_a_body_in_two_parts_leaves_its_connection_open(address: str) -> None:
    async with connected(address) as client:
        for _ in range(3):
            await client.send(GET.replace(b"GET", b"POST") % (b"body", b"content-length: 6\r\n"))
            await client.send(b"abc")
            await client.send(b"def")
            assert await client.answer() == (200, b"body")


async def test_a_large_body_arrives_whole_in_either_framing(address: str) -> None:
    async with connected(address) as client:
        for _ in range(2):
            await client.send(
                GET.replace(b"GET", b"POST") % (b"body", b"content-length: 3000000\r\n") + b"a" * 3_000_000
            )
            assert await client.answer() == (200, b"body")
            chunks = b"5\r\nabcde\r\n" * 50_000 + b"0\r\n\r\n"
            await client.send(GET.replace(b"GET", b"POST") % (b"body", b"transfer-encoding: chunked\r\n") + chunks)
            assert await client.answer() == (200, b"body")


async def test_thousands_of_requests_that_are_sent_at_once_are_answered_in_their_order(address: str) -> None:
    names = [f"{number}".encode() for number in range(3_000)]
    async with connected(address) as client:
        sending = asyncio.create_task(client.send(b"".join(GET % (name, b"") for name in names)))
        assert [(await client.answer())[1] for _ in names] == names
        await sending


async def test_an_answer_that_is_not_read_is_given_up() -> None:
    connections = Connections(1_000, 0)
    protocol = HttpProtocol.within(QUICK, connections)
    async with serving(cast("Starlette", Application()), http=protocol) as address, AsyncExitStack() as stack:
        for ending in (b"", b"connection: close\r\n") * 5:
            client = await stack.enter_async_context(connected(address))
            cast("Any", client.writer.transport).pause_reading()
            await client.send(GET % (b"large", ending))
        async with connected(address) as other:
            await other.send(GET % (b"small", b""))
            assert await other.answer() == (200, b"small")
        async with asyncio.timeout(10):
            while connections.open:  # noqa: ASYNC110 - a counter
                await asyncio.sleep(0.01)


async def test_an_answer_that_is_read_slowly_arrives(address: str) -> None:
    async with connected(address) as client:
        await client.send(GET % (b"large", b""))
        status, body = await client.answer()
        assert (status, len(body)) == (200, LARGE)


async def test_the_connection_that_waits_longest_makes_room(caplog: pytest.LogCaptureFixture) -> None:
    connections = Connections(40, 0)
    protocol = HttpProtocol.within(WireLimits(), connections)
    caplog.set_level(logging.WARNING)
    async with serving(cast("Starlette", Application()), http=protocol) as address, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(address)) for _ in range(120)]
        for client in clients:
            with suppress(ConnectionError):
                await client.send(b"GET /small HTTP/1.1\r\nhost: me")
        async with connected(address) as other:
            await other.send(GET % (b"small", b""))
            assert await other.answer() == (200, b"small")
        await asyncio.wait_for(clients[0].end(), 10)
    assert [record.getMessage()[:18] for record in caplog.records] == ["All 40 connections"]


async def test_an_address_has_a_share_of_the_connections(caplog: pytest.LogCaptureFixture) -> None:
    connections = Connections(1_000, 5, is_counted=lambda _: True)
    caplog.set_level(logging.WARNING)
    protocol = HttpProtocol.within(WireLimits(), connections)
    async with serving(cast("Starlette", Application()), http=protocol) as address:
        for _ in range(2):  # what has ended counts no more
            async with AsyncExitStack() as stack:
                clients = [await stack.enter_async_context(connected(address)) for _ in range(5)]
                for client in clients:
                    await client.send(GET % (b"small", b""))
                    assert await client.answer() == (200, b"small")
                async with connected(address) as sixth:
                    assert await sixth.refusal() == (429, "TOO_MANY_CONNECTIONS")
            async with asyncio.timeout(10):
                while connections.open:  # noqa: ASYNC110 - a counter
                    await asyncio.sleep(0)
    assert len(caplog.records) == 1
