"""Subscriptions without a schema, a feed without a store, and clients that take messages when a test lets them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from graph.subscriptions.groups import DirectWrite, Message, Subscriber, SubscriberGroups
from graph.subscriptions.operation import SharingKey
from persistence.model.records import ShardDiff, StreamPosition
from persistence.model.stream import DiffBatch
from tests.support.rows import history_row, position

EPOCH = "epoch"


def at(revision: int) -> StreamPosition:
    return position(revision, EPOCH)


class ScriptedFeed:
    """Everything, in pages of three. `followers` are being served now, `asked` counts all that ever were."""

    def __init__(self) -> None:
        self.rows: list[ShardDiff] = []
        self.followers = 0
        self.asked = 0
        self._failure: Exception | None = None
        self._moved = asyncio.Event()

    def commit(self, count: int = 1) -> None:
        self.rows += [history_row(len(self.rows) + 1 + number) for number in range(count)]
        self._wake()

    def fail(self, error: Exception) -> None:
        self._failure = error
        self._wake()

    def recover(self) -> None:
        self._failure = None

    async def follow(self, begin: StreamPosition) -> AsyncGenerator[DiffBatch, None]:
        position, told = begin, False
        self.followers += 1
        self.asked += 1
        try:
            while True:
                if self._failure is not None:
                    raise self._failure
                moved = self._moved
                rows = self.rows[position.revision : position.revision + 3]
                if rows or not told:
                    position, told = at(position.revision + len(rows)), True
                    yield DiffBatch(position, rows, caught_up=position.revision == len(self.rows))
                else:
                    await moved.wait()
        finally:
            self.followers -= 1

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


@dataclass(frozen=True)
class ScriptedStream:
    feed: ScriptedFeed
    begin: StreamPosition

    def follow(self, begin: StreamPosition) -> AsyncGenerator[DiffBatch, None]:
        return self.feed.follow(begin)


@dataclass(frozen=True)
class ScriptedOperation:
    """Its payload names the revisions of a batch. `executed` are the positions it was worked out for."""

    stream: ScriptedStream
    key: SharingKey
    executed: list[int] = field(default_factory=list)
    width: int = 0
    shows_time: bool = False

    async def payload(self, batch: DiffBatch) -> str:
        """Each revision is at least `width` characters wide."""
        self.executed.append(batch.position.revision)
        return " ".join(str(diff.revision).rjust(self.width) for diff in batch.diffs)


class Client:
    """Takes messages while its `door` is open; `breaks` is raised in place of taking one.

    With a `head` it has the short way too, while the door is open: `frames` came on it, of those it `encoded` so many.
    """

    def __init__(self, head: bytes | None = None) -> None:
        self.direct = None if head is None else DirectWrite(head, self._encode, self._write)
        self.frames: list[bytes] = []
        self.encoded = 0
        self.door = asyncio.Event()
        self.door.set()
        self.taken: list[int] = []
        self.messages: list[tuple[int, DiffBatch]] = []
        self.waiting = asyncio.Event()
        self.breaks: Exception | None = None
        self._took = asyncio.Event()

    async def take(self, message: Message) -> None:
        if not self.door.is_set():
            self.waiting.set()
            await self.door.wait()
            self.waiting.clear()
        if self.breaks is not None:
            raise self.breaks
        self.messages.append((len(message.payload), message.batch))
        self._note(message.payload)

    def _encode(self, head: bytes, payload: bytes) -> bytes:
        self.encoded += 1
        return head + payload

    def _write(self, frame: bytes) -> bool:
        if not self.door.is_set() or self.breaks is not None:
            return False
        assert self.direct is not None
        self.frames.append(frame)
        assert frame.startswith(self.direct.head)
        self._note(frame.removeprefix(self.direct.head))
        return True

    def _note(self, payload: bytes) -> None:
        self.taken += map(int, payload.split())
        took, self._took = self._took, asyncio.Event()
        took.set()

    async def has(self, last: int) -> list[int]:
        """Once it has taken that revision, all it has taken."""
        async with asyncio.timeout(10):
            while last and last not in self.taken:
                await self._took.wait()
        return self.taken


def operation(feed: ScriptedFeed, begin: int = 0, variables: bytes = b"{}", *, width: int = 0) -> ScriptedOperation:
    key = SharingKey("subscription", None, variables, frozenset())
    return ScriptedOperation(ScriptedStream(feed, at(begin)), key, width=width)


@asynccontextmanager
async def subscribed(
    groups: SubscriberGroups, asked: ScriptedOperation, client: Client, send_timeout: float | None = None
) -> AsyncIterator[asyncio.Task[None]]:
    """A task that serves the client, after its first message has been sent or waits to be."""
    subscriber = Subscriber(groups, asked, client.take, send_timeout, client.direct)  # type: ignore[arg-type] # what it needs of one
    task = asyncio.create_task(subscriber.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task
