"""Pages of history for subscribers that the ring cannot serve, remembered: one that several need is read once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from persistence.feed.tailer import FeedLimits
from persistence.model.records import ShardDiff, StreamPosition
from persistence.model.stream import StreamHead
from persistence.ports.feed import ChangeStream

_REMEMBERED: Final = 64
"""Pages, some 250 kB each. Subscribers that read a change of thousands of shards, or come back after a restart, are
near each other."""

KEPT_SECONDS: Final = 10.0
"""For which all are remembered once none is asked for: together they may take 16 MB."""


class Page(NamedTuple):
    """What the stream has of one namespace, or of all, up to and including `reached`; and its head at that time.
    `known`: the position that it follows is of this history, and not of another one."""

    head: StreamHead
    diffs: Sequence[ShardDiff]
    reached: StreamPosition
    known: bool


class Pages:
    """Full pages are remembered: what follows them is another page, so they never change. One that was lost in a
    failover leads to a position that nothing follows."""

    def __init__(self, stream: ChangeStream, limits: FeedLimits) -> None:
        self._stream = stream
        self._limits = limits
        self._entries: OrderedDict[tuple[StreamPosition, str | None], _Entry] = OrderedDict()
        self._asked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._entries)

    async def after(self, position: StreamPosition, namespace: str | None) -> Page:
        """What follows the position. Raises StoreError, or TimeoutError."""
        loop = asyncio.get_running_loop()
        self._asked_at = loop.time()
        if self._timer is None:
            self._timer = loop.call_at(self._asked_at + KEPT_SECONDS, self._forget)
        key = position, namespace
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry()
            if len(self._entries) > _REMEMBERED:
                self._entries.popitem(last=False)
        # A lock, not a task that all await: when the reader is cancelled, the next one reads.
        async with entry.reading:
            if entry.page is not None:
                return entry.page
            limit = self._limits.page if namespace is not None else self._limits.to_page_end(position.revision)
            # Without it, a peer that vanished behind a firewall holds all of them until the driver's longer timeout.
            async with asyncio.timeout(self._limits.read_seconds):
                head, diffs, known = await self._stream.after(position.revision, limit, namespace, mark=position.mark)
            full = len(diffs) == limit
            page = Page(head, diffs, diffs[-1].position_in(head.epoch) if full else head.position, known)
            if full and known:
                entry.page = page
            return page

    def _forget(self) -> None:
        """All, or later if one was asked for meanwhile."""
        loop, due = asyncio.get_running_loop(), self._asked_at + KEPT_SECONDS
        self._timer = None
        if due > loop.time():
            self._timer = loop.call_at(due, self._forget)
        else:
            self._entries.clear()


class _Entry:
    def __init__(self) -> None:
        self.reading = asyncio.Lock()
        self.page: Page | None = None
