"""The stream of changes: those who are behind do not keep those waiting who keep up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from persistence.commands.nodes import RegisterNode
from persistence.feed.changes import LiveChanges, changes_of
from persistence.feed.live import live_feed
from persistence.feed.tailer import FeedLimits
from persistence.model.paging import Page, PageRequest
from persistence.model.queries import ChangeFilter
from persistence.model.records import NO_CHANGE, Change, StreamPosition
from tests.reference.store import memory_store
from tests.support.mesh import Mesh, because

LIMITS = FeedLimits(page=2, bookmark_seconds=3_600.0)


class SlowReader:
    """Pages of changes, of which those from the beginning wait until they are let go."""

    def __init__(self, mesh: Mesh) -> None:
        self._changes = mesh.store.changes
        self.waiting = asyncio.Event()

    async def page(self, where: ChangeFilter, page: PageRequest[int], *, newest_first: bool) -> Page[Change]:
        if page.after is None:
            self.waiting.set()
            await asyncio.Event().wait()
        return await self._changes.page(where, page, newest_first=newest_first)


@pytest.fixture
async def mesh() -> Mesh:
    mesh = Mesh(memory_store())
    await mesh.configure()
    return mesh


async def register(mesh: Mesh, *names: str) -> None:
    for name in names:
        await mesh.execute(RegisterNode(name, because(name)))


async def next_reasons(batches: AsyncIterator[Any]) -> Sequence[str]:
    async with asyncio.timeout(5):
        while True:
            if changes := changes_of(await anext(batches)):
                return [change.reason for change in changes]


async def test_one_that_reads_what_is_old_delays_none_that_keeps_up(mesh: Mesh) -> None:
    reader = SlowReader(mesh)
    await register(mesh, "a", "b", "c", "d")
    async with live_feed(mesh.store.stream, mesh.store.signal, LIMITS) as feed:
        live: Any = LiveChanges(reader, mesh.store.stream, feed, LIMITS)  # type: ignore[arg-type]  # what is used of one
        newest = await live.begin(None)
        beginning = StreamPosition(newest.epoch, 0, NO_CHANGE)
        async with (
            aclosing(live.follow(newest, ChangeFilter())) as keeping_up,
            aclosing(live.follow(beginning, ChangeFilter())) as behind,
        ):
            await anext(keeping_up)
            await register(mesh, "e")
            assert await next_reasons(keeping_up) == ["e"]
            reading = asyncio.create_task(anext(behind))
            await reader.waiting.wait()
            await register(mesh, "f")
            assert await next_reasons(keeping_up) == ["f"]
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
