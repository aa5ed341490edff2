"""A load generator for HTTP/1.1 on keep-alive connections, thin enough to load a bare ASGI server to its limit."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, cast

PERCENTS: Final = (*range(1, 99), *(99 + number / 10 for number in range(10)), 99.99, 100)
"""Where a distribution of latencies is described."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Answers a second, and latencies in milliseconds, ordered. `octets` are those of answers, heads included."""

    rate: float
    latencies: Sequence[float] = field(repr=False)
    octets: int = 0

    @property
    def count(self) -> int:
        return len(self.latencies)

    @property
    def p50(self) -> float:
        return self.at(50)

    @property
    def p99(self) -> float:
        return self.at(99)

    @property
    def worst(self) -> float:
        return self.latencies[-1]

    def at(self, percent: float) -> float:
        return self.latencies[min(self.count - 1, math.floor(self.count * percent / 100))]


class Connection(asyncio.Protocol):
    """One request at a time; `answered` is called with each complete body."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.octets = 0
        self._buffer = bytearray()
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one by its looks only

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(self._buffer[:head_end]).lower()
        start = head.index(b"content-length:") + 15
        end = head.find(b"\r\n", start)
        length = int(head[start : end if end > 0 else None])
        if len(self._buffer) < head_end + 4 + length:
            return
        self.octets += head_end + 4 + length
        body = bytes(self._buffer[head_end + 4 : head_end + 4 + length])
        del self._buffer[: head_end + 4 + length]
        if self._answer is not None and not self._answer.done():
            if not head.startswith(b"http/1.1 200"):
                self._answer.set_exception(RuntimeError(f"{head.splitlines()[0]!r}: {body[:500]!r}"))
            else:
                self._answer.set_result(body)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the server closed the connection"))

    @property
    def usable(self) -> bool:
        """Whether the server has not closed it: after some seconds of silence it does."""
        return self.transport is not None and not self.transport.is_closing()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    async def ask(self, request: bytes) -> bytes:
        assert self.transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer


async def closed_loop(
    port: int, request: Callable[[int, int], bytes], *, connections: int, seconds: float, warming: float = 0.2
) -> Figures:
    """As many requests as the server answers on so many connections, each sending the next when it was answered.

    `request(c, n)` makes the n-th request of connection c. What is sent in that part of the time that is for warming up
    is not counted.
    """
    latencies: list[float] = []
    octets = 0
    begin = perf_counter()
    counted_from, end = begin + seconds * warming, begin + seconds

    async def client(number: int) -> None:
        nonlocal octets
        connection = await connect(port)
        asked = 0
        while (sent := perf_counter()) < end:
            await connection.ask(request(number, asked))
            asked += 1
            if sent >= counted_from:
                latencies.append(perf_counter() - sent)
        octets += connection.octets
        connection.close()

    await asyncio.gather(*(client(number) for number in range(connections)))
    return figures_of(latencies, end - counted_from, octets)


async def each_once(port: int, requests: Sequence[bytes], *, connections: int) -> Sequence[bytes]:
    """The answers to so many requests, in their order, on so many connections."""
    answers: dict[int, bytes] = {}
    waiting = iter(enumerate(requests))

    async def client() -> None:
        connection = await connect(port)
        for number, request in waiting:
            answers[number] = await connection.ask(request)
        connection.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return [answers[number] for number in range(len(requests))]


async def open_loop(
    port: int,
    request: Callable[[int], bytes],
    *,
    rate: float,
    seconds: float = math.inf,
    until: asyncio.Task[None] | None = None,
    observe: Callable[[float, float, float], None] = lambda *_: None,
) -> Figures:
    """`rate` requests a second, sent when they are due whether or not earlier ones were answered.

    For `seconds`, or until a task is done. `observe` is given of each when it was due, when this process began with it,
    and when it was answered.

    Latency counts from when a request was due: a server that stalls is charged for every request that had to wait.
    """
    idle = [await connect(port) for _ in range(64)]
    latencies: list[float] = []
    begin = perf_counter()

    async def one(number: int, due: float) -> None:
        begun = perf_counter()
        while idle and not idle[-1].usable:
            idle.pop()
        connection = idle.pop() if idle else await connect(port)
        try:
            await connection.ask(request(number))
        except ConnectionError:
            # The server closed it, for its silence, just as it was written to.
            connection = await connect(port)
            await connection.ask(request(number))
        answered = perf_counter()
        latencies.append(answered - due)
        observe(due, begun, answered)
        idle.append(connection)

    async with asyncio.TaskGroup() as group:
        for number in itertools.count():
            due = begin + number / rate
            if number >= rate * seconds or (until is not None and until.done()):
                break
            await asyncio.sleep(max(0.0, due - perf_counter()))
            group.create_task(one(number, due))
    for connection in idle:
        connection.close()
    return figures_of(latencies, perf_counter() - begin)


def post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


async def connect(port: int) -> Connection:
    _, protocol = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return protocol


def figures_of(latencies: Sequence[float], seconds: float, octets: int = 0) -> Figures:
    return Figures(len(latencies) / seconds, sorted(1_000 * each for each in latencies), octets)
