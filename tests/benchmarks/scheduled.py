"""Requests sent when they are due, cheaply: the generator shares the machine with what it measures."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final, cast

from tests.benchmarks.load import Figures, figures_of

_TICK_SECONDS: Final = 0.001
"""What is due in it is sent together."""

_PATIENCE_SECONDS: Final = 30.0


async def scheduled(port: int, requests: Sequence[bytes], *, rate: float, seconds: float, connections: int) -> Figures:
    """`rate` requests a second, sent in turn when they are due; latencies count from then.

    When all connections are busy, the next one that is free sends what has waited longest. Raises RuntimeError when a
    request is not answered with status 200 in half a minute.
    """
    loop = asyncio.get_running_loop()
    schedule = _Schedule(round(rate * seconds))
    made = [
        await loop.create_connection(lambda: _Connection(schedule.answered), "127.0.0.1", port)
        for _ in range(connections)
    ]
    schedule.idle.extend(connection for _, connection in made)
    begin = perf_counter()
    sent = 0
    while sent < schedule.total and not schedule.done.done():
        due_now = min(schedule.total, math.ceil((perf_counter() - begin) * rate))
        for number in range(sent, due_now):
            schedule.send(requests[number % len(requests)], begin + number / rate)
        sent = max(sent, due_now)
        await asyncio.sleep(_TICK_SECONDS)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await schedule.done
    except TimeoutError:
        raise RuntimeError(f"only {len(schedule.latencies)} of {schedule.total} requests are answered") from None
    taken = perf_counter() - begin
    for transport, _ in made:
        transport.close()
    return figures_of(schedule.latencies, taken, schedule.octets)


class _Schedule:
    """What is under way, and what was answered. Connections have their turns: a server closes one that it has not heard
    of for some seconds."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.idle: deque[_Connection] = deque()
        self.latencies: list[float] = []
        self.octets = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._late: deque[tuple[bytes, float]] = deque()

    def send(self, request: bytes, due: float) -> None:
        if self.idle:
            self.idle.popleft().send(request, due)
        else:
            self._late.append((request, due))

    def answered(self, connection: _Connection, size: int, failure: str) -> None:
        if self.done.done():
            return
        if failure:
            self.done.set_exception(RuntimeError(failure))
            return
        self.latencies.append(perf_counter() - connection.due)
        self.octets += size
        if self._late:
            connection.send(*self._late.popleft())
        else:
            self.idle.append(connection)
        if len(self.latencies) == self.total:
            self.done.set_result(None)


class _Connection(asyncio.Protocol):
    """One request at a time; `answered` is called with the size of each answer, and with what was wrong, or nothing."""

    def __init__(self, answered: Callable[[_Connection, int, str], None]) -> None:
        self._answered = answered
        self._begun = bytearray()
        self._transport: asyncio.Transport | None = None
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one by its looks only

    def send(self, request: bytes, due: float) -> None:
        assert self._transport is not None
        self.due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._begun:
            self._begun += data
            data = bytes(self._begun)
        if _is_whole(data):
            self._begun.clear()
            failure = "" if data.startswith(b"HTTP/1.1 200") else data[:500].decode(errors="replace")
            self._answered(self, len(data), failure)
        elif not self._begun:
            self._begun += data

    def connection_lost(self, _: Exception | None) -> None:
        self._answered(self, 0, "the server closed a connection")


def _is_whole(data: bytes) -> bool:
    """Whether there is all of an answer, which has a Content-Length."""
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0:
        return False
    begin = data[:head_end].lower().index(b"content-length:") + 15
    line_end = data.find(b"\r\n", begin)
    return len(data) >= head_end + 4 + int(data[begin:line_end])
