"""A server whose own documents are not valid, which it finds out when it is ready already."""

from __future__ import annotations

import asyncio

import pytest

from graph.operations import ManifestError
from graph.server.process import preparing


async def test_it_stops_and_raises_why() -> None:
    stopped = asyncio.Event()

    async def broken() -> None:
        raise ManifestError("manifest.json: Head: Cannot query field")

    async def serve() -> None:
        async with preparing(broken, stopped.set) as begin:
            begin()
            await stopped.wait()

    with pytest.raises(ManifestError, match="Cannot query field"):
        await serve()


async def test_one_that_stops_meanwhile_does_not_wait_for_them() -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    async with preparing(endless, stopped.set):
        pass
    async with preparing(endless, stopped.set) as begin:
        begin()
        await begun.wait()
    assert not stopped.is_set()
