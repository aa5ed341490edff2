"""Subscribers by the thousand in a process of their own, thin enough to share two cores with what they measure.

They do their own framing, and a message that all are sent is decoded once: the others are recognised by their bytes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import multiprocessing
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from time import monotonic_ns
from typing import Any, Final, cast

import numpy as np
import uvloop

STAMP: Final = "sent at "
"""A change whose reason begins so goes on with the `monotonic_ns` of its sending, a clock all processes share."""

_FINAL_TEXT: Final = 0x81
_PING: Final = 0x89
_PONG: Final = 0x8A
_MASKED: Final = 0x80
_TWO_BYTES: Final = 126
_EIGHT_BYTES: Final = 127
_JOINING_AT_ONCE: Final = 50
_JOINING_SECONDS: Final = 60.0
_REMEMBERED: Final = 4_096


@dataclass(frozen=True, slots=True)
class Group:
    """Subscribers with the same operation. `subscription` is a payload of graphql-transport-ws; null: listen only."""

    port: int
    count: int
    subscription: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Received:
    """What a group was sent. `diffs` and `newest` (the last revision) are of each subscriber.

    A stamp and the time it arrived, in nanoseconds, stand at the same index of `stamps` and `times`. `astray` counts
    diffs that did not follow the one before them.
    """

    diffs: Sequence[int]
    newest: Sequence[int]
    astray: int
    messages: int
    octets: int
    stamps: np.ndarray[Any, np.dtype[np.int64]]
    times: np.ndarray[Any, np.dtype[np.int64]]
    example: bytes


@dataclass(frozen=True, slots=True)
class _Message:
    """`rising`: each revision in it is greater than the one before."""

    first: int
    last: int
    diffs: int
    rising: bool
    stamps: Sequence[int]


class _Hearing:
    """A group while it listens."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.members = [_Subscriber(self) for _ in range(group.count)]
        self._known: dict[bytes, _Message] = {}
        self.forget()

    def forget(self) -> None:
        """Count from here on."""
        for member in self.members:
            member.diffs = 0
        self.astray = self.messages = self.octets = 0
        self.stamps = array("q")
        self.times = array("q")
        self.example = b""

    def message(self, payload: bytes) -> _Message:
        message = self._known.get(payload)
        if message is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            message = self._known[payload] = _read(payload)
        return message

    def received(self) -> Received:
        return Received(
            [member.diffs for member in self.members],
            [member.newest for member in self.members],
            self.astray,
            self.messages,
            self.octets,
            np.array(self.stamps),
            np.array(self.times),
            self.example,
        )


class _Subscriber(asyncio.Protocol):
    def __init__(self, hearing: _Hearing) -> None:
        self._hearing = hearing
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._subscribed = False
        self.joined = asyncio.get_running_loop().create_future()
        self.diffs = 0
        self.newest = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one by its looks only
        self._transport.write(
            b"GET /graphql HTTP/1.1\r\nhost: 127.0.0.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            b"sec-websocket-protocol: graphql-transport-ws\r\n\r\n"
        )

    def data_received(self, data: bytes) -> None:
        now = monotonic_ns()
        if self._buffer:
            data = self._buffer + data
        start = 0
        if not self._subscribed:
            start = data.find(b"\r\n\r\n") + 4
            if start < len(b"\r\n\r\n"):
                self._buffer = data
                return
            self._accepted(data[:start])
        while (bounds := _bounds(data, start)) is not None:
            first, end = bounds
            if data[start] == _FINAL_TEXT:
                self._listen(data[first:end], now)
            elif data[start] == _PING:
                self._send(_PONG, data[first:end])
            else:
                self._left(f"was sent a frame of kind {data[start]:#x}: {data[first:end]!r}")
            start = end
        self._buffer = data[start:]

    def connection_lost(self, exc: Exception | None) -> None:
        self._left(f"lost its connection: {exc or 'closed'}")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _accepted(self, head: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 101"):
            raise RuntimeError(head.decode())
        self._subscribed = True
        asked = self._hearing.group.subscription
        if asked is None:
            self.joined.set_result(None)
            return
        self._send(_FINAL_TEXT, b'{"type":"connection_init"}')
        self._send(_FINAL_TEXT, json.dumps({"type": "subscribe", "id": "1", "payload": asked}).encode())

    def _listen(self, payload: bytes, now: int) -> None:
        hearing = self._hearing
        message = hearing.message(payload)
        if not message.diffs:
            if not self.joined.done() and b'"connection_ack"' not in payload:
                self.joined.set_result(None)
            return
        if message.first <= self.newest or not message.rising:
            hearing.astray += 1
        self.newest = message.last
        self.diffs += message.diffs
        hearing.messages += 1
        hearing.octets += len(payload)
        for stamp in message.stamps:
            hearing.stamps.append(stamp)
            hearing.times.append(now)
        hearing.example = payload

    def _send(self, kind: int, payload: bytes) -> None:
        assert self._transport is not None
        size = len(payload)
        if size < _TWO_BYTES:
            head = bytes((kind, _MASKED | size))
        else:
            head = bytes((kind, _MASKED | _TWO_BYTES)) + size.to_bytes(2, "big")
        # Masked with zeros: a client must mask, and that leaves the payload as it is.
        self._transport.write(head + b"\0\0\0\0" + payload)

    def _left(self, why: str) -> None:
        if not self.joined.done():
            self.joined.set_exception(RuntimeError(f"a subscriber {why}"))


def _bounds(data: bytes, start: int) -> tuple[int, int] | None:
    """Where the payload of the frame that begins at `start` is; null while some of it is missing."""
    have = len(data) - start
    head = 2
    if have < head:
        return None
    size = data[start + 1]
    if size >= _TWO_BYTES:
        head = 4 if size < _EIGHT_BYTES else 10
        if have < head:
            return None
        size = int.from_bytes(data[start + 2 : start + head], "big")
    return None if have < head + size else (start + head, start + head + size)


def _read(payload: bytes) -> _Message:
    body = json.loads(payload)
    if "errors" in body.get("payload", {}) or body["type"] in ("error", "complete"):
        raise RuntimeError(payload.decode())
    if body["type"] != "next":
        return _Message(0, 0, 0, rising=True, stamps=())
    diffs = body["payload"]["data"]["shardDiffs"]["diffs"]
    revisions = [int(diff["revision"]) for diff in diffs]
    reasons = [diff["change"]["reason"] for diff in diffs]
    stamps = [int(reason.removeprefix(STAMP)) for reason in reasons if reason.startswith(STAMP)]
    rising = all(before < after for before, after in itertools.pairwise(revisions))
    return _Message(revisions[0] if diffs else 0, revisions[-1] if diffs else 0, len(diffs), rising, stamps)


class Audience:
    """Subscribers in another process, all of whom are subscribed."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    async def forget(self) -> None:
        """Count from here on."""
        await self._ask("forget")

    async def received(self) -> Received:
        received: Received = await self._ask("received")
        return received

    async def fewest(self) -> int:
        """How many diffs the subscriber has that has received the fewest."""
        return int(await self._ask("fewest"))

    async def _ask(self, what: str) -> Any:
        self._pipe.send(what)
        return await asyncio.to_thread(self._pipe.recv)


@contextmanager
def audience(group: Group) -> Iterator[Audience]:
    spawning = multiprocessing.get_context("spawn")
    here, there = spawning.Pipe()
    process = spawning.Process(target=_attend, args=(there, group), daemon=True)
    process.start()
    there.close()
    try:
        here.recv()
        yield Audience(here)
    finally:
        here.close()
        process.join()


def _attend(pipe: Connection, group: Group) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_listen(pipe, group))


async def _listen(pipe: Connection, group: Group) -> None:
    """Until the other end closes the pipe."""
    hearing = _Hearing(group)
    async with asyncio.timeout(_JOINING_SECONDS):
        await _join(hearing)
    answers: dict[str, Callable[[], object]] = {
        "forget": hearing.forget,
        "received": hearing.received,
        "fewest": lambda: min(member.diffs for member in hearing.members),
    }
    pipe.send("subscribed")
    with suppress(EOFError):
        while True:
            pipe.send(answers[await asyncio.to_thread(pipe.recv)]())
    for member in hearing.members:
        member.close()


async def _join(hearing: _Hearing) -> None:
    """A few at a time, until all are subscribed."""
    loop = asyncio.get_running_loop()
    for start in range(0, len(hearing.members), _JOINING_AT_ONCE):
        some = hearing.members[start : start + _JOINING_AT_ONCE]
        for member in some:
            await loop.create_connection(lambda member=member: member, "127.0.0.1", hearing.group.port)  # type: ignore[misc]
        for member in some:
            await member.joined
