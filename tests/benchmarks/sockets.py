"""Idle subscribed sockets by the thousand: how soon they are open, what each takes, and what lookups wait meanwhile."""

from __future__ import annotations

import asyncio
import resource
from contextlib import ExitStack
from typing import Any, Final

from graph.operations import operation
from graph.server.descriptors import raise_file_limit
from tests.benchmarks import servers
from tests.benchmarks.fanout_audience import Group, audience
from tests.benchmarks.load import Figures, open_loop
from tests.benchmarks.processes import resident_bytes, seconds_between
from tests.benchmarks.readiness import settled
from tests.benchmarks.report import Report, say
from tests.benchmarks.servers import Server
from tests.benchmarks.workloads import LOOKUP, OURS

SOCKETS: Final = 10_000
SECONDS: Final = 20.0
RATE: Final = 200

_FIRST: Final = 200
"""Opened before anything is measured: what the first ones load is not what each takes."""

_SPARE_DESCRIPTORS: Final = 200
_OPENING_SECONDS: Final = 60.0
_SOCKET_KIB: Final = 18.0
_P99_MS: Final = 25.0


async def measure(report: Report, url: str, *, sockets: int = SOCKETS, seconds: float = SECONDS) -> dict[str, Any]:
    """On the database of 10,000 shards. The processes of server and clients each have a descriptor a socket."""
    raise_file_limit()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if sockets + _SPARE_DESCRIPTORS > limit:
        say(f"  {limit:,} descriptors are all that a process may have: fewer sockets than {sockets:,}")
        sockets = limit - _SPARE_DESCRIPTORS
    async with servers.omnirelay(url) as server:
        await settled(server)
        return await _measured(report, server, sockets, seconds)


async def _measured(report: Report, server: Server, sockets: int, seconds: float) -> dict[str, Any]:
    requests = [OURS["lookup"].request(variables) for variables in LOOKUP.variables]
    loop = asyncio.get_running_loop()

    async def lookups(seconds: float, until: asyncio.Task[None] | None = None) -> Figures:
        return await open_loop(
            server.port, lambda number: requests[number % len(requests)], rate=RATE, seconds=seconds, until=until
        )

    def group(count: int) -> Group:
        return Group(server.port, count, {"query": operation("WatchShards"), "variables": {}})

    with ExitStack() as stack:

        async def subscribe(count: int) -> None:
            # In a thread: it waits until all are subscribed.
            await asyncio.to_thread(stack.enter_context, audience(group(count)))

        await subscribe(_FIRST)
        alone = await lookups(seconds / 4)
        memory, spent, began = resident_bytes(server.process), server.usage, loop.time()
        opening = asyncio.create_task(subscribe(sockets - _FIRST))
        while_opening = await lookups(10 * _OPENING_SECONDS, opening)
        await opening
        opened = loop.time() - began
        processor = seconds_between(spent, server.usage)
        spent = server.usage
        while_open = await lookups(seconds)
        idle = seconds_between(spent, server.usage)
        kib = (resident_bytes(server.process) - memory) / (sockets - _FIRST) / 1_024
    what = f"{sockets:,} idle subscribed sockets"
    figure = f"{opened:.1f} s, {processor:.1f} s of the server's processor time"
    report.add(f"{what}: opened in", figure, f"target {_OPENING_SECONDS:g} s", opened / _OPENING_SECONDS, "lower")
    report.add(f"{what}: memory of each", f"{kib:.1f} KiB", f"target {_SOCKET_KIB:g} KiB", kib / _SOCKET_KIB, "lower")
    for when, each in (("being opened", while_opening), ("open", while_open)):
        figure = f"p50 {each.p50:.1f} ms, p99 {each.p99:.1f} ms, worst {each.worst:.0f} ms"
        limit = f"target p99 {_P99_MS:g} ms; with {_FIRST} sockets {alone.p99:.1f} ms"
        report.add(f"{RATE} lookups/s while {what} are {when}", figure, limit, each.p99 / _P99_MS, "lower")
    share = f"{100 * idle / seconds:.1f} % of a processor, {RATE} lookups/s included"
    say(f"  while they are idle the server takes {share}")
    return {"sockets": sockets, "opened": opened, "processor": processor, "kib": kib, "p99": while_open.p99}
