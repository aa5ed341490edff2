"""When a server that was started has come up, and when it answers lookups from memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from time import perf_counter
from typing import Final

from tests.benchmarks import processes
from tests.benchmarks.load import each_once
from tests.benchmarks.servers import Server

_FROM_MEMORY_NANOSECONDS: Final = 15_000
"""Of PostgreSQL's processor time a lookup: one that is answered from the database costs several times as much."""

_READY_SECONDS: Final = 120.0


_IDLE_SHARE: Final = 0.05
"""Of a processor: what a server at rest takes no more of."""

_LOOK_SECONDS: Final = 0.5


async def settled(*servers: Server) -> None:
    """When they do nothing more: processes that make plans are started once a server is ready, for seconds."""
    deadline = perf_counter() + _READY_SECONDS
    for server in servers:
        spent = 1.0
        while spent > _IDLE_SHARE * _LOOK_SECONDS:
            if perf_counter() > deadline:
                raise RuntimeError(f"a server is not at rest after {_READY_SECONDS:.0f} s")
            before = server.usage
            await asyncio.sleep(_LOOK_SECONDS)
            spent = processes.seconds_between(before, server.usage)


async def ready(server: Server) -> float:
    """When /readyz said so."""
    probe = b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    deadline = perf_counter() + _READY_SECONDS
    while perf_counter() < deadline:
        try:
            await each_once(server.port, [probe], connections=1)
        except (RuntimeError, ConnectionError):
            await asyncio.sleep(0.05)
        else:
            return perf_counter()
    raise RuntimeError(f"not ready after {_READY_SECONDS:.0f} s")


async def served_from_memory(server: Server, requests: Sequence[bytes], postmaster: int) -> float:
    """When lookups first cost PostgreSQL nothing. Raises RuntimeError where that does not come: the table is larger
    than `replica_shards` allows, for example."""
    number, deadline = 0, perf_counter() + _READY_SECONDS
    while (now := perf_counter()) < deadline:
        sent = [requests[(number + each) % len(requests)] for each in range(100)]
        number += len(sent)
        before = processes.cpu_nanoseconds(postmaster)
        answers = await each_once(server.port, sent, connections=1)
        spent = (processes.cpu_nanoseconds(postmaster) - before) / len(sent)
        if any(json.loads(answer)["data"]["shard"] is None for answer in answers):
            raise RuntimeError("a shard was not found")
        if spent < _FROM_MEMORY_NANOSECONDS:
            return now
        await asyncio.sleep(0.1)
    raise RuntimeError(f"lookups go to the database after {_READY_SECONDS:.0f} s")
