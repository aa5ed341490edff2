"""Sockets whose client does not answer: closed so that the client comes back, and for certain."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from starlette.applications import Starlette
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from graph.server.websocket_protocol import WebSocketProtocol
from tests.support.mesh import Mesh, because, new
from tests.support.serving import serving

REASONS = "subscription { shardDiffs { diffs { revision change { reason } again: change { reason } } } }"
PING_SECONDS = 0.2
COMMITS = 20
"""Of two hundred kilobytes each: more than the system buffers for a connection that takes so little."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WebSocketProtocol, "late_seconds", 0.2)
    monkeypatch.setattr(WebSocketProtocol, "drop_seconds", 0.2)


@pytest.fixture
async def address(app: Starlette, impatient: None) -> AsyncIterator[str]:  # noqa: ARG001
    async with serving(app, ping_seconds=PING_SECONDS) as address:
        yield address


class SilentClient:
    """Reads frames, and sends nothing by itself: no pong, no answer to a close."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = ClientProtocol(parse_uri(f"ws://{address}/graphql"), subprotocols=["graphql-transport-ws"])  # type: ignore[list-item]
        self._protocol.send_request(self._protocol.connect())
        self._flush()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            self._writer.write(data)

    def send(self, message: object) -> None:
        self._protocol.send_text(json.dumps(message).encode())
        self._flush()

    def pong(self, ping: Frame) -> None:
        self._protocol.send_pong(bytes(ping.data))
        self._flush()

    async def open(self) -> None:
        while self._protocol.state is not State.OPEN:
            self._protocol.receive_data(await self._reader.read(65_536))

    async def frames(self) -> AsyncIterator[Frame]:
        """Until the connection ends. What the protocol would answer stays unsent."""
        while data := await self._reader.read(65_536):
            self._protocol.receive_data(data)
            for event in self._protocol.events_received():
                if isinstance(event, Frame):
                    yield event


@asynccontextmanager
async def silent_client(address: str) -> AsyncIterator[SilentClient]:
    host, port = address.split(":")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect((host, int(port)))
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            client = SilentClient(reader, writer, address)
            await client.open()
            yield client
        finally:
            writer.close()


async def test_a_client_that_answers_no_ping_is_told_to_come_back(address: str) -> None:
    async with asyncio.timeout(10), silent_client(address) as client:
        frames = [frame async for frame in client.frames()]
    assert [frame.opcode for frame in frames] == [Opcode.PING, Opcode.CLOSE]
    assert int.from_bytes(frames[-1].data[:2]) == 1001
    assert bytes(frames[-1].data[2:]) == b"no answer to a ping"


async def test_an_answer_that_comes_late_is_an_answer(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a freeze of the server: the time is over, and the answer has been there all the while."""
    monkeypatch.setattr(WebSocketProtocol, "late_seconds", 30.0)
    late = asyncio.Event()
    timeout = WebSocketProtocol.keepalive_timeout

    def noticed(protocol: WebSocketProtocol) -> None:
        timeout(protocol)
        late.set()

    monkeypatch.setattr(WebSocketProtocol, "keepalive_timeout", noticed)
    async with asyncio.timeout(10), silent_client(address) as client:
        pings = (frame async for frame in client.frames() if frame.opcode is Opcode.PING)
        for _ in range(2):
            ping = await anext(pings)
            await late.wait()
            late.clear()
            client.pong(ping)
        await anext(pings)


async def test_a_client_that_reads_nothing_is_dropped_with_all_that_waits_for_it(app: Starlette, mesh: Mesh) -> None:
    """Of its buffers nothing drains, so the code that closes the socket cannot be sent."""
    async with (
        httpx2.AsyncClient(timeout=60) as http,
        serving(app, ping_seconds=1.0) as address,
        silent_client(address) as client,
    ):
        client.send({"type": "connection_init"})
        client.send({"type": "subscribe", "id": "1", "payload": {"query": REASONS}})
        async with asyncio.timeout(20):
            # Over a socket: each request lets the server run.
            while not await is_open(http, address):
                pass
            number = 0
            while await is_open(http, address):
                if number < COMMITS:
                    await mesh.create(*(new(f"{number}-{n}") for n in range(100)), change=because("x" * 1_000))
                    number += 1
    assert number == COMMITS


async def is_open(http: httpx2.AsyncClient, address: str) -> bool:
    return "omnirelay_subscriptions_open 1.0" in (await http.get(f"http://{address}/metrics")).text
