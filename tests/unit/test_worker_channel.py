"""Calls between processes over a socket pair; here both ends are in one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from graph.server.channel import Channel, ChannelClosed, Methods
from persistence.errors import Overloaded


@asynccontextmanager
async def channel(methods: Methods) -> AsyncIterator[tuple[Channel, asyncio.Task[None]]]:
    """An end whose calls these methods answer, and what runs the other end: cancelled, that is closed."""
    ours, theirs = socket.socketpair()
    here, there = await Channel.open(ours, {}), await Channel.open(theirs, methods)
    running = [asyncio.create_task(end.run()) for end in (here, there)]
    try:
        yield here, running[1]
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_calls_are_answered_in_any_order() -> None:
    asked, free = asyncio.Event(), asyncio.Event()

    async def slow(size: int) -> bytes:
        asked.set()
        await free.wait()
        return b"x" * size

    async def quick() -> str:
        return "done"

    async with channel({"slow": slow, "quick": quick}) as (end, _):
        first = asyncio.create_task(end.call("slow", 1_000_000))
        await asked.wait()
        assert await end.call("quick") == "done"
        free.set()
        assert len(await first) == 1_000_000


async def test_what_a_method_raises_is_raised_where_it_was_called() -> None:
    async def refused() -> None:
        raise Overloaded("all busy")

    async with channel({"refused": refused}) as (end, _):
        with pytest.raises(Overloaded, match="all busy"):
            await end.call("refused")


async def test_a_call_that_is_cancelled_is_cancelled_at_the_other_end() -> None:
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with channel({"endless": endless}) as (end, _):
        call = asyncio.create_task(end.call("endless"))
        await asked.wait()
        call.cancel()
        await cancelled.wait()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_calls_end_with_the_process_at_the_other_end() -> None:
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with channel({"endless": endless}) as (end, other):
        call = asyncio.create_task(end.call("endless"))
        await asked.wait()
        other.cancel()
        with pytest.raises(ChannelClosed):
            await call
        assert cancelled.is_set()
        with pytest.raises(ChannelClosed):
            await end.call("endless")
