"""Pages of history for those whom the ring cannot serve, read once for all who ask for the same."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, TypeAlias

from persistence.feed.limits import FeedLimits
from persistence.ports import ChangeStream, StreamHead
from persistence.records import ShardDiff, StreamPosition

_REMEMBERED: Final = 32
"""Pages, some 250 kB each. Who reads a change of thousands of shards is about where others are."""

Page: TypeAlias = tuple[StreamHead, Sequence[ShardDiff]]


class Pages:
    """Full pages are remembered: what follows them is another page, so they never change."""

    def __init__(self, stream: ChangeStream, limits: FeedLimits) -> None:
        self._stream = stream
        self._limits = limits
        self._entries: OrderedDict[StreamPosition, _Entry] = OrderedDict()

    async def after(self, position: StreamPosition) -> Page:
        """What follows the position, and the head when that was read. Raises StoreError, or TimeoutError."""
        entry = self._entries.get(position)
        if entry is None:
            entry = self._entries[position] = _Entry()
            if len(self._entries) > _REMEMBERED:
                self._entries.popitem(last=False)
        # Not a task for all to wait for: whoever is cancelled leaves the reading to the next.
        async with entry.reading:
            if entry.page is not None:
                return entry.page
            page = await self.read(position.revision)
            if len(page[1]) == self._limits.page:
                entry.page = page
            return page

    async def read(self, revision: int) -> Page:
        """As it is now. Raises as `after` does."""
        # A peer that vanished behind a firewall would otherwise hold the feed until the driver's own, longer timeout.
        async with asyncio.timeout(self._limits.read_seconds):
            return await self._stream.after(revision, self._limits.page)


class _Entry:
    def __init__(self) -> None:
        self.reading = asyncio.Lock()
        self.page: Page | None = None
