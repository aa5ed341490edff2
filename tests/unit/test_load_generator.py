"""The load generator in Python: what it sends, counts and takes for a failure. wrk takes the same file of requests."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from unittest import mock

import pytest

from tests.benchmarks import generator
from tests.benchmarks.load import PERCENTS, each_once, post

ANSWER = b'{"data":{}}'
REQUESTS = [post("/graphql", b"%d" % number) for number in range(7)]


@dataclass
class Server:
    """Answers with `status` from its `failing`th request on, and with 200 before."""

    failing: int | None = None
    bodies: list[bytes] = field(default_factory=list)
    connections: Counter[int] = field(default_factory=Counter)
    """Requests that came on each."""
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.bodies.append(await reader.readexactly(length))
                self.connections[id(writer)] += 1
                fails = self.failing is not None and len(self.bodies) >= self.failing
                status = b"503 Service Unavailable" if fails else b"200 OK"
                writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(ANSWER), ANSWER))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(failing: int | None = None) -> AsyncIterator[Server]:
    server = Server(failing)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server


async def test_flat_out_every_answer_counts_and_all_requests_have_their_turn() -> None:
    with mock.patch.object(generator, "WRK", None):
        async with serving() as server:
            load = await generator.flat_out(server.port, REQUESTS, seconds=0.2, connections=3)
    assert load.requests == len(server.bodies) > len(REQUESTS)
    assert {*server.bodies} == {b"%d" % number for number in range(7)}
    assert load.octets == load.requests * len(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + ANSWER)
    assert list(load.latencies) == list(PERCENTS)
    assert list(load.latencies.values()) == sorted(load.latencies.values())


async def test_at_a_rate_as_many_are_sent_as_are_due_in_their_order() -> None:
    async with serving() as server:
        load = await generator.at_rate(server.port, REQUESTS, rate=100, seconds=0.3, connections=1)
    assert load.requests == 30
    assert server.bodies == [b"%d" % (number % 7) for number in range(30)]


async def test_at_a_rate_no_connection_is_silent_for_long_as_servers_close_such() -> None:
    async with serving() as server:
        await generator.at_rate(server.port, REQUESTS, rate=100, seconds=0.4, connections=8)
    assert len(server.connections) == 8
    assert min(server.connections.values()) >= 2


@pytest.mark.parametrize("at_rate", [True, False])
async def test_an_answer_of_another_status_is_a_failure(*, at_rate: bool) -> None:
    with mock.patch.object(generator, "WRK", None):
        async with serving(failing=5) as server:
            if at_rate:
                work = generator.at_rate(server.port, REQUESTS, rate=100, seconds=0.2)
            else:
                work = generator.flat_out(server.port, REQUESTS, seconds=0.2)
            with pytest.raises(RuntimeError, match="503"):
                await work


async def test_answers_much_smaller_than_expected_are_a_failure() -> None:
    with mock.patch.object(generator, "WRK", None):
        async with serving() as server:
            with pytest.raises(RuntimeError, match="where 5,000 were expected"):
                await generator.flat_out(server.port, REQUESTS, seconds=0.1, expected=5_000)


async def test_each_once_gives_the_answers_in_the_order_of_requests() -> None:
    async with serving() as server:
        assert await each_once(server.port, REQUESTS, connections=3) == [ANSWER] * 7
        assert sorted(server.bodies) == [b"%d" % number for number in range(7)]
