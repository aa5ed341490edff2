"""Running a function in a thread where it works on many shards, so that the event loop goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

WORTH_A_THREAD: Final = 200
"""Shards. From here on most work on them takes longer than handing it to a thread."""


async def offload(shards: int, work: Callable[..., T], *arguments: object) -> T:
    """The work, in a thread if it is on many shards: a bulk change must not hold up the event loop, and with it every
    lookup and every subscriber."""
    if shards < WORTH_A_THREAD:
        return work(*arguments)
    return await asyncio.to_thread(work, *arguments)
