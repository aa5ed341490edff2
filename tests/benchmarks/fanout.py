"""The fan-out of `shardDiffs`: what reaches a thousand subscribers, how late, and what a message costs the server.

Beside it, in the same run, what bare uvicorn makes of the same message for as many sockets. Writer, server, PostgreSQL
and subscribers share the machine: compare ratios, not figures. `python -m tests.benchmarks.fanout` runs it alone.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeVar

import numpy as np

import migrations
from graph.embedded_postgres.server import start_embedded_postgres
from graph.operations import operation
from persistence.commands.command import ChangeRequest
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.shards import CreateShards, NewShard
from persistence.postgres.store import open_store
from persistence.service.executor import CommandExecutor
from tests.benchmarks import fanout_writing as writing
from tests.benchmarks.fanout_audience import Audience, Group, Received, audience
from tests.benchmarks.fanout_servers import Server, bare_broadcast, omnirelay
from tests.benchmarks.fanout_writing import Client, Sent, Shards
from tests.benchmarks.report import Report, say
from tests.support.mesh import ANY_MOVES

SUBSCRIBERS: Final = 1_000
RATE: Final = 20.0
TARGET_RATIO: Final = 0.7
AIMS: Final = {50: 10.0, 95: 25.0, 99: 50.0}
"""Milliseconds from commit to client, at AIMED subscribers and RATE."""
AIMED: Final = 500

FLOOD: Final = 100.0
FLOOD_SECONDS: Final = 10.0
WARMING_SECONDS: Final = 2.0
SETTLING_SECONDS: Final = 5.0

BURST: Final = 5_000
BURST_SUBSCRIBERS: Final = 200
CALM_SUBSCRIBERS: Final = 50
BURST_AFTER_SECONDS: Final = 3.0
CALM_SECONDS: Final = 12.0
CALM_TARGET_MS: Final = 100.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Window:
    """What was sent to a server for a while, what was received of it, and what that took."""

    sent: Sequence[Sent]
    received: Received
    cpu_seconds: float
    memory: Sequence[int]

    @property
    def seconds(self) -> float:
        return float(self.received.times.max() - self.sent[0].stamp) / 1e9

    @property
    def diffs(self) -> float:
        """A second, over all subscribers."""
        return sum(self.received.diffs) / self.seconds

    @property
    def messages(self) -> float:
        return self.received.messages / self.seconds

    @property
    def cost(self) -> float:
        """Microseconds of the server's processor time a message, whatever it did besides."""
        return 1e6 * self.cpu_seconds / self.received.messages

    def latencies(self) -> Latencies:
        """From sending a change to each client: commit to client, and at most the time to commit more."""
        return Latencies((self.received.times - self.received.stamps) / 1e6)

    def after_answers(self) -> Latencies:
        """From when the writer knew: commit to client, and at most the time to answer less."""
        answered = {sent.stamp: sent.answered for sent in self.sent}
        known = np.array([answered[stamp] for stamp in self.received.stamps.tolist()])
        return Latencies((self.received.times - known) / 1e6)

    def writes(self) -> Latencies:
        """From sending a change to its answer."""
        return Latencies(np.array([(sent.answered - sent.stamp) / 1e6 for sent in self.sent]))


@dataclass(frozen=True, slots=True)
class Latencies:
    milliseconds: np.ndarray[Any, np.dtype[np.float64]]

    def at(self, percent: float) -> float:
        return float(np.percentile(self.milliseconds, percent))

    def __str__(self) -> str:
        figures = ", ".join(f"p{percent} {self.at(percent):.1f}" for percent in AIMS)
        return f"{figures}, worst {self.at(100):.0f} ms"


async def measure(
    report: Report, url: str, *, seconds: float, subscribers: int = SUBSCRIBERS, rate: float = RATE
) -> None:
    """All of it. The database's schema is up to date; the namespaces are new."""
    await fill(url)
    say(f"Fan-out: {subscribers:,} subscribers, {rate:g} diffs/s for {seconds:g} s")
    async with omnirelay(url) as server:
        shards = Shards("steady")
        if subscribers != AIMED:
            with audience(watching(server, AIMED, "steady")) as listeners:
                few = await window(server, listeners, shards.next, rate=rate, seconds=min(seconds, FLOOD_SECONDS))
            aimed(report, few, rate)
        with audience(watching(server, subscribers, "steady")) as listeners:
            ours = await window(server, listeners, shards.next, rate=rate, seconds=seconds)
            flooded = await window(server, listeners, shards.next, rate=FLOOD, seconds=FLOOD_SECONDS)
        if subscribers == AIMED:
            aimed(report, ours, rate)
    example = ours.received.example
    async with bare_broadcast() as server:
        with audience(Group(server.port, subscribers, None)) as listeners:

            def again() -> bytes:
                return writing.restamped(example)

            bare = await window(server, listeners, again, rate=rate, seconds=min(seconds, 3 * FLOOD_SECONDS))
            flat_out = await window(server, listeners, again, rate=1_000.0, seconds=FLOOD_SECONDS)
    compare(report, ours, bare, flooded, flat_out)
    async with omnirelay(url) as server:
        await burst(report, server)


def watching(server: Server, count: int, namespace: str) -> Group:
    return Group(server.port, count, {"query": operation("WatchShards"), "variables": {"namespace": namespace}})


async def fill(url: str) -> None:
    async with open_store(url) as store:
        writer = CommandExecutor(store.unit_of_work)
        change = ChangeRequest("bench", "measure", "CHG-1")
        for name, count in (("steady", writing.SHARDS), ("calm", writing.SHARDS), ("burst", BURST)):
            await writer.execute(ConfigureNamespace(name, "rendezvous", {}, 0, change, ANY_MOVES))
            shards = [NewShard(name, writing.shard_id(number), "node-0", "node-0") for number in range(count)]
            await writer.execute(CreateShards(shards, change))


async def window(
    server: Server, listeners: Audience, body: Callable[[], bytes], *, rate: float, seconds: float
) -> Window:
    """Offers changes at that rate, after a warm-up that does not count, until all has been received."""
    client = await Client.of(server.port)
    warming = await writing.at_rate(client, body, rate=rate, seconds=WARMING_SECONDS)
    await everything(listeners, len(warming))
    await listeners.forget()
    before = server.cpu_seconds
    memory, sent = await sampled(server, writing.at_rate(client, body, rate=rate, seconds=seconds))
    await everything(listeners, len(sent))
    received = await listeners.received()
    client.close()
    await listeners.forget()
    return Window(sent, received, server.cpu_seconds - before, memory)


async def everything(listeners: Audience, diffs: int) -> None:
    """Until every subscriber has so many diffs. Raises when nothing comes any more."""
    loop = asyncio.get_running_loop()
    fewest, moved = await listeners.fewest(), loop.time()
    while fewest < diffs:
        if loop.time() - moved > SETTLING_SECONDS:
            raise RuntimeError(f"a subscriber has {fewest} diffs of {diffs} and is sent no more")
        await asyncio.sleep(0.05)
        before, fewest = fewest, await listeners.fewest()
        if fewest > before:
            moved = loop.time()


async def sampled(server: Server, work: Awaitable[T]) -> tuple[Sequence[int], T]:
    """The server's memory, every second while the work goes on; and what the work gave."""
    samples: list[int] = []

    async def sample() -> None:
        while True:
            samples.append(server.memory)
            await asyncio.sleep(1.0)

    task = asyncio.create_task(sample())
    try:
        done = await work
    finally:
        task.cancel()
    return samples, done


def aimed(report: Report, figures: Window, rate: float) -> None:
    latencies, writes = figures.latencies(), figures.writes()
    say(f"  from the writer's answer to the client: {figures.after_answers()}")
    what = f"{AIMED} subscribers, {rate:g} diffs/s: sending a change to client"
    for percent, aim in AIMS.items():
        figure = f"p{percent} {latencies.at(percent):.1f} ms, the write {writes.at(percent):.1f} ms of it"
        report.add(what, figure, f"aim {aim:.0f} ms", latencies.at(percent) / aim, "lower")


def compare(report: Report, ours: Window, bare: Window, flooded: Window, flat_out: Window) -> None:
    subscribers = len(ours.received.diffs)
    complete(ours)
    complete(flooded)
    octets = ours.received.octets / ours.received.messages
    say(f"  a message is {octets:,.0f} bytes; {len(ours.sent)} changes were sent, all {subscribers:,} have all")
    say(f"  ours, sending a change to client: {ours.latencies()}")
    say(f"  ours, the writer's answer to client: {ours.after_answers()}; the write itself: {ours.writes()}")
    say(f"  bare, sending a message to client: {bare.latencies()}")
    at_rate = f"{subscribers:,} subscribers: delivered at the same offered rate"
    limit = f"bare uvicorn {bare.diffs:,.0f}/s"
    report.add(at_rate, f"{ours.diffs:,.0f} diffs/s", limit, ours.diffs / bare.diffs, "higher")
    limit = f"bare uvicorn flat out {flat_out.messages:,.0f}/s"
    report.add(at_rate, f"{ours.diffs:,.0f} diffs/s", limit, ours.diffs / flat_out.diffs, "higher")
    figure = f"{flooded.diffs:,.0f} diffs/s in {flooded.messages:,.0f} messages/s"
    report.add("delivered when offered more than that", figure, limit, flooded.diffs / flat_out.diffs, "higher")
    figure = f"{ours.cost:.1f} us, writes included"
    limit = f"bare uvicorn {bare.cost:.1f} us, flat out {flat_out.cost:.1f} us"
    report.add("processor time of the server, a message", figure, limit, ours.cost / bare.cost, "lower")
    figure = f"{flooded.cost:.1f} us, writes included"
    limit = f"bare uvicorn {flat_out.cost:.1f} us"
    report.add(
        "processor time of the server, a message, flat out", figure, limit, flooded.cost / flat_out.cost, "lower"
    )
    third = max(1, len(ours.memory) // 3)
    first, last = (median(part) / 1e6 for part in (ours.memory[:third], ours.memory[-third:]))
    figure = f"{last:.1f} MB in the last third of the time"
    report.add("memory of the server", figure, f"{first:.1f} MB in the first", last / first, "lower")


def complete(figures: Window) -> None:
    """Raises when a subscriber was not sent everything once and in order."""
    received, wanted = figures.received, len(figures.sent)
    if received.astray or set(received.diffs) != {wanted}:
        raise RuntimeError(
            f"of {wanted} diffs subscribers have {set(received.diffs)}, {received.astray} messages astray"
        )


async def burst(report: Report, server: Server) -> None:
    say(f"A transaction of {BURST:,} shards for {BURST_SUBSCRIBERS} subscribers, {CALM_SUBSCRIBERS} others meanwhile")
    # Two processes: what one audience has to read must not delay the other's clock.
    with (
        audience(watching(server, BURST_SUBSCRIBERS, "burst")) as crowd,
        audience(watching(server, CALM_SUBSCRIBERS, "calm")) as others,
    ):
        client, other = await Client.of(server.port), await Client.of(server.port)
        shards = Shards("calm")
        steady = asyncio.create_task(writing.at_rate(client, shards.next, rate=RATE, seconds=CALM_SECONDS))
        await asyncio.sleep(BURST_AFTER_SECONDS)
        big = await writing.once(other, writing.all_changed("burst", BURST))
        sent = await steady
        await everything(crowd, BURST)
        await everything(others, len(sent))
        whole, calm = await crowd.received(), await others.received()
    complete(Window([big] * BURST, whole, 0.0, ()))
    complete(Window(sent, calm, 0.0, ()))
    until = int(whole.times.max())
    during = (calm.stamps >= big.stamp) & (calm.stamps <= until)
    window = Window(sent, calm, 0.0, ())
    latencies, answers = window.latencies().milliseconds, window.after_answers().milliseconds
    writes = np.array([(each.answered - each.stamp) / 1e6 for each in sent if big.stamp <= each.stamp <= until])
    taken = (until - big.stamp) / 1e6
    octets = whole.octets / 1e6
    say(
        f"  whole and in order at all {BURST_SUBSCRIBERS} {taken:,.0f} ms after sending "
        f"({(big.answered - big.stamp) / 1e6:,.0f} ms to write), {octets:,.0f} MB in {whole.messages:,} messages"
    )
    say(f"  others before and after: {Latencies(latencies[~during])}")
    meanwhile, known = Latencies(latencies[during]), Latencies(answers[during])
    say(f"  others meanwhile, sending a change to client: {meanwhile}; of that the write: {Latencies(writes)}")
    ratio = known.at(100) / CALM_TARGET_MS
    report.add(
        "others meanwhile: the writer's answer to client", str(known), f"target {CALM_TARGET_MS:.0f} ms", ratio, "lower"
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the measurement at a steady rate")
    parser.add_argument("--subscribers", type=int, default=SUBSCRIBERS)
    parser.add_argument("--rate", type=float, default=RATE, help="diffs a second")
    options = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory(prefix="omnirelay-fanout-") as folder:
        database = start_embedded_postgres(Path(folder) / "data")
        try:
            await migrations.upgrade(database.url)
            given = {"subscribers": options.subscribers, "rate": options.rate, "seconds": options.seconds}
            await measure(report, database.url, **given)
        finally:
            database.stop()
    report.print(as_json=False)


if __name__ == "__main__":
    asyncio.run(main())
