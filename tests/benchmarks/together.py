"""Everything at once: lookups at half of what the server can answer, changes, subscribers, and a rebalance."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any, Final

from graph.operations import operation
from persistence.commands.command import ChangeRequest
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.shards import CreateShards, NewShard
from persistence.postgres.store import open_store
from persistence.service.executor import CommandExecutor
from tests.benchmarks import fanout_writing, generator, rebalance, servers
from tests.benchmarks.databases import Databases
from tests.benchmarks.fanout_audience import Audience, Group, audience
from tests.benchmarks.load import PERCENTS
from tests.benchmarks.readiness import served_from_memory, settled
from tests.benchmarks.report import say
from tests.benchmarks.sampling import Case, sampled
from tests.benchmarks.servers import Server
from tests.benchmarks.workloads import OURS
from tests.support.mesh import ANY_MOVES

SECONDS: Final = 60.0
SUBSCRIBERS: Final = 200
CHANGES: Final = 20.0
"""A second."""

_NAMESPACE: Final = "steady"
_SETTLING_SECONDS: Final = 10.0
_REBALANCE_AFTER: Final = 0.25
"""Of the time."""


async def measure(
    databases: Databases, *, seconds: float = SECONDS, subscribers: int = SUBSCRIBERS, capacity_seconds: float = 3.0
) -> dict[str, Any]:
    """Lookups count from when they were due. The subscribers follow the namespace that is changed; the rebalance moves
    the 10,000 shards that are looked up."""
    url = await databases.new("together")
    await rebalance.fill(url)
    await _fill(url)
    requests = [
        OURS["lookup"].request(
            {"n": f"plan{at % rebalance.NAMESPACES:02}", "k": f"shard-{at // rebalance.NAMESPACES:03}"}
        )
        for at in (number * 7_919 % 10_000 for number in range(rebalance.NAMESPACES * rebalance.SHARDS_EACH))
    ]
    async with servers.omnirelay(url) as server:
        await served_from_memory(server, requests, databases.postmaster)
        await settled(server)
        case = Case("lookups", server, requests)
        await sampled(case, databases.postmaster, 1.0)
        capacity = (await sampled(case, databases.postmaster, capacity_seconds)).load.rate
        rate = capacity / 2
        say(f"  for {seconds:g} s: {rate:,.0f} lookups/s (half of {capacity:,.0f}), {CHANGES:g} changes/s, "
            f"{subscribers} subscribers, a rebalance")  # fmt: skip
        watched = {"query": operation("WatchShards"), "variables": {"namespace": _NAMESPACE}}
        with audience(Group(server.port, subscribers, watched)) as listeners:
            looking_up = asyncio.create_task(generator.at_rate(server.port, requests, rate=rate, seconds=seconds))
            moving = asyncio.create_task(_rebalanced(server, seconds * _REBALANCE_AFTER))
            client = await fanout_writing.Client.of(server.port)
            changed = fanout_writing.Shards(_NAMESPACE).next
            sent = await fanout_writing.at_rate(client, changed, rate=CHANGES, seconds=seconds)
            client.close()
            load, (planned, applied, moved) = await looking_up, await moving
            await _delivered(listeners, len(sent))
    writes = sorted((each.answered - each.stamp) / 1e6 for each in sent)
    figures = {
        "seconds": seconds,
        "capacity": capacity,
        "offered": rate,
        "answered": load.rate,
        "latencies": [[percent, load.latencies[percent]] for percent in PERCENTS],
        "changes": len(sent),
        "change_p99": writes[len(writes) * 99 // 100],
        "subscribers": subscribers,
        "planned": planned,
        "applied": applied,
        "moved": moved,
    }
    lookups = ", ".join(f"p{percent} {load.latencies[percent]:.1f} ms" for percent in (50, 99, 100))
    say(f"  lookups: {lookups}; {moved:,} shards planned in {planned:.1f} s and moved in {applied:.1f} s")
    return figures


async def _fill(url: str) -> None:
    change = ChangeRequest("bench", "measure", "CHG-1")
    async with open_store(url) as store:
        writer = CommandExecutor(store.unit_of_work)
        await writer.execute(ConfigureNamespace(_NAMESPACE, "rendezvous", {}, 0, change, ANY_MOVES))
        ids = map(fanout_writing.shard_id, range(fanout_writing.SHARDS))
        await writer.execute(CreateShards([NewShard(_NAMESPACE, each, "node-0", "node-0") for each in ids], change))


async def _rebalanced(server: Server, after: float) -> tuple[float, float, int]:
    """Seconds to plan and to apply, and how many shards were moved."""
    await asyncio.sleep(after)
    rolling = rebalance.Rolling(server.port)
    begin = perf_counter()
    await rolling.step()
    say(f"  rebalanced after {perf_counter() - begin:.1f} s")
    return rolling.plans[0], rolling.applies[0], rolling.moved[0]


async def _delivered(listeners: Audience, diffs: int) -> None:
    """Until every subscriber has so many. Raises RuntimeError when that takes long."""
    deadline = perf_counter() + _SETTLING_SECONDS
    while (fewest := await listeners.fewest()) < diffs:
        if perf_counter() > deadline:
            raise RuntimeError(f"a subscriber has {fewest} diffs of {diffs}")
        await asyncio.sleep(0.1)
