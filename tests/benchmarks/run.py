"""`make bench`: what the store does, beside limits and peers measured in the same run, and the bars it is held to.

It runs in parts, each with a database of its own in one PostgreSQL unless it builds on what another part left there. A
part that fails is reported at the end, and the others go on. What was measured is kept in results.json, from which
docs/performance.md and its plots are written; parts that did not run keep their last results.

Client, server and PostgreSQL share the machine: compare processor time and ratios, not rates of different runs.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from graph.embedded_postgres.server import start_embedded_postgres
from tests.benchmarks import (
    bars,
    bulk_input,
    commits,
    fanout,
    growth,
    history,
    in_process,
    limits,
    meshes,
    node_client,
    performance,
    placement,
    reads,
    results,
    servers,
    sockets,
    time_travel,
    together,
    workers,
    writes,
)
from tests.benchmarks.databases import Databases
from tests.benchmarks.generator import CONNECTIONS
from tests.benchmarks.load import open_loop
from tests.benchmarks.report import Report, say
from tests.benchmarks.workloads import LOOKUP, OURS

LOOKUP_TARGET_MS: Final = 50.0
LOOKUP_RATE: Final = 200

_MESSAGES: Final = re.compile(r"([\d,]+) messages/s")
_A_SECOND: Final = re.compile(r"([\d,]+)/s")


@dataclass(frozen=True)
class Scale:
    """How long and how much."""

    seconds: float = 3.0
    """Of a round of load."""
    rounds: int = 5
    history: int = 20
    """Rows of history for each of the 10,000 shards."""
    placed: int = placement.SHARDS
    rows: int = time_travel.ROUNDS
    """Of history for each of 20,000 shards more."""
    sizes: Sequence[int] = growth.SIZES
    fanout_seconds: float = 30.0
    together_seconds: float = together.SECONDS
    subscribers: int = together.SUBSCRIBERS
    checked: int = 2_000
    """Answers of a contender, at most, that are compared before anything is timed."""
    commits: commits.Scale = field(default_factory=commits.Scale)
    slots: int = writes.SLOTS
    """Shards of an import."""
    tables: Sequence[int] = node_client.SIZES

    @property
    def is_full(self) -> bool:
        return self.placed == placement.SHARDS


SMOKE: Final = Scale(
    seconds=1.0,
    rounds=1,
    history=2,
    placed=10_000,
    rows=4,
    sizes=(1_000, 10_000),
    together_seconds=4.0,
    subscribers=20,
    checked=100,
    commits=commits.Scale(seconds=1.0, rounds=1, clients=(1, 32), attempts=1),
    slots=1_000,
)
"""Whether it works, and nothing about how fast it is."""

NOT_SMOKED: Final = ("fanout", "rebalance", "client")
"""Parts that have no smaller size."""


@dataclass
class Bench:
    """What parts have in common. `mesh` is the database of 10,000 shards, made when it is first asked for."""

    databases: Databases
    folder: Path
    report: Report
    scale: Scale
    _mesh: str | None = field(default=None, init=False)

    async def mesh(self) -> str:
        if self._mesh is None:
            say(f"  preparing 10,000 shards with {self.scale.history} rows of history each")
            url = await self.databases.new("mesh")
            await meshes.populate(url, self.scale.history)
            self._mesh = url
        return self._mesh


async def _placement(bench: Bench) -> None:
    placement.measure(bench.report, bench.scale.placed, placement.RUNS if bench.scale.is_full else 1)


async def _reads(bench: Bench) -> Any:
    url, scale = await bench.mesh(), bench.scale
    async with servers.omnirelay(url) as server:
        postmaster = bench.databases.postmaster
        figures = await reads.measure(
            url, postmaster, server, seconds=scale.seconds, rounds=scale.rounds, checked=scale.checked
        )
        await limits.prepare(url)
        selects = await limits.pgbench(url, limits.SELECT, clients=CONNECTIONS, seconds=max(1, round(scale.seconds)))
        ours = figures["workloads"]["lookup"][reads.OUR_NAME]["rate"]
        limit = f"pgbench, the same SELECT prepared: {selects:,.0f}/s"
        bench.report.add("one shard, 11 fields", f"{ours:,.0f}/s", limit, ours / selects, "higher")
        made = [OURS["lookup"].request(variables) for variables in LOOKUP.variables]
        at_rate = await open_loop(
            server.port, lambda number: made[number % len(made)], rate=LOOKUP_RATE, seconds=scale.seconds
        )
    figure = f"p50 {at_rate.p50:.1f} ms, p99 {at_rate.p99:.1f} ms, worst {at_rate.worst:.1f} ms"
    what, ratio = f"lookup among 10,000 shards at {LOOKUP_RATE}/s", at_rate.p99 / LOOKUP_TARGET_MS
    bench.report.add(what, figure, f"target p99 {LOOKUP_TARGET_MS:.0f} ms", ratio, "lower")
    return figures


async def _in_process(bench: Bench) -> Any:
    rounds = (in_process.ROUNDS, in_process.BATCHES) if bench.scale.is_full else (1, 5)
    figures = await in_process.measure(in_process.SHARDS, *rounds)
    # In a thread, as it runs event loops.
    costs = await asyncio.to_thread(bulk_input.costs, None, bulk_input.RUNS if bench.scale.is_full else 1)
    bench.report.tables.append(bulk_input.side_by_side(costs))
    return figures


async def _workers(bench: Bench) -> Any:
    scale, postmaster = bench.scale, bench.databases.postmaster
    return await workers.measure(await bench.mesh(), postmaster, seconds=scale.seconds, rounds=scale.rounds)


async def _together(bench: Bench) -> Any:
    scale = bench.scale
    return await together.measure(
        bench.databases, seconds=scale.together_seconds, subscribers=scale.subscribers, capacity_seconds=scale.seconds
    )


async def _writes(bench: Bench) -> Any:
    scale, report = bench.scale, bench.report
    url = await bench.databases.new("commits")
    figures = await commits.measure(url, bench.databases.postmaster, bench.folder, scale.commits)
    rate = figures["single"]["32"][commits.ONE]["rate"]
    for limit, script in (("no NOTIFY", limits.UNORDERED), ("with NOTIFY", limits.NOTIFYING)):
        most = await limits.pgbench(url, script, clients=32, seconds=max(1, round(scale.commits.seconds)))
        what = f"pgbench, shard and row of history, no order, {limit}: {most:,.0f}/s"
        report.add("updateShard, audited and ordered, 32 clients", f"{rate:,.0f}/s", what, rate / most, "higher")
    async with servers.omnirelay(url) as server:
        await writes.importing(report, server.port, bench.folder, scale.slots)
    return figures


async def _rebalance(bench: Bench) -> None:
    url = await bench.databases.new("rebalance")
    async with servers.omnirelay(url) as server:
        await writes.rebalancing(bench.report, server.port, url)


async def _fanout(bench: Bench) -> Any:
    known = len(bench.report.rows)
    await fanout.measure(bench.report, await bench.databases.new("fanout"), seconds=bench.scale.fanout_seconds)
    return _flat_out(bench.report.rows[known:])


def _flat_out(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Messages a second, from the row that the fan-out reports of it."""
    row = next(row for row in rows if row["what"].startswith("delivered when offered more"))
    found = (re.search(pattern, row[column]) for pattern, column in ((_MESSAGES, "figure"), (_A_SECOND, "limit")))
    ours, bare = (float(each[1].replace(",", "")) for each in found if each)
    return {"subscribers": fanout.SUBSCRIBERS, "messages": ours, "bare": bare}


async def _sockets(bench: Bench) -> Any:
    scale, full = bench.scale, bench.scale.is_full
    count, seconds = (sockets.SOCKETS, sockets.SECONDS) if full else (1_000, scale.seconds)
    return await sockets.measure(bench.report, await bench.mesh(), sockets=count, seconds=seconds)


async def _history(bench: Bench) -> Any:
    """On the database that reads and writes have used."""
    url, scale = await bench.mesh(), bench.scale
    created = await time_travel.fill(url, scale.rows)
    depth = (scale.rows - 2) * time_travel.NAMESPACES * time_travel.SHARDS_EACH
    figures = await history.measure(
        url,
        bench.databases.postmaster,
        names=time_travel.names(),
        depth=depth,
        seconds=max(1.0, scale.seconds / 2),
        rounds=scale.rounds,
    )
    await time_travel.measure(bench.report, url, created, time_travel.SAMPLES if scale.is_full else 10)
    return figures


async def _growth(bench: Bench) -> Any:
    scale = bench.scale
    return await growth.measure(bench.databases, seconds=scale.seconds, rounds=scale.rounds, sizes=scale.sizes)


async def _client(bench: Bench) -> None:
    await asyncio.to_thread(node_client.measure_all, bench.report, bench.scale.tables)


PARTS: Final[Mapping[str, Callable[[Bench], Awaitable[Any]]]] = {
    "placement": _placement,
    "reads": _reads,
    "in_process": _in_process,
    "workers": _workers,
    "together": _together,
    "writes": _writes,
    "rebalance": _rebalance,
    "fanout": _fanout,
    "sockets": _sockets,
    "history": _history,
    "growth": _growth,
    "client": _client,
}

BY_PROCESSOR_TIME: Final = frozenset({"reads", "workers", "together", "sockets", "writes", "history", "growth"})


async def measure(
    names: Sequence[str], scale: Scale, report: Report, *, keep: bool
) -> tuple[dict[str, Any], Mapping[str, str]]:
    """The results of each part, which are kept as soon as they are there, and of those that failed, why, in a line."""
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="omnirelay-bench-") as folder:
        cluster = start_embedded_postgres(Path(folder) / "data", settings={"max_connections": "300"})
        try:
            bench = Bench(Databases(cluster), Path(folder), report, scale)
            for name in names:
                report.part, begin, known = name, perf_counter(), len(report.rows)
                say(f"{name}:")
                try:
                    figures = await PARTS[name](bench)
                except Exception as error:  # noqa: BLE001 - the other parts are still to be measured
                    failed[name] = f"{type(error).__name__}: {error}"
                    traceback.print_exc()
                    continue
                found[name] = results.part(figures, report.rows[known:])
                if keep:
                    results.keep({name: found[name]})
                say(f"  {perf_counter() - begin:.0f} s")
        finally:
            cluster.stop()
    return found, failed


def _parts(given: str) -> Sequence[str]:
    names = given.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return names


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=_parts, default=[], metavar="PART,...", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--without", type=_parts, default=[], metavar="PART,...", help="all parts but these")
    parser.add_argument("--seconds", type=float, default=Scale.seconds, help="length of a round of load")
    parser.add_argument("--rounds", type=int, default=Scale.rounds, help="rounds, of which medians are taken")
    parser.add_argument(
        "--smoke", action="store_true", help="as little as possible, to see that it works; keeps nothing"
    )
    parser.add_argument("--json", action="store_true", help="print rows and tables as JSON")
    options = parser.parse_args(arguments)
    names = [name for name in PARTS if (not options.only or name in options.only) and name not in options.without]
    if not Path("/proc/self/stat").exists():
        say(f"left out, for want of Linux's /proc, which has processor times: {', '.join(sorted(BY_PROCESSOR_TIME))}")
        names = [name for name in names if name not in BY_PROCESSOR_TIME]
    scale = Scale(seconds=options.seconds, rounds=options.rounds)
    if options.smoke:
        names, scale = [name for name in names if name not in NOT_SMOKED], SMOKE
    report, begin = Report(), perf_counter()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # servers and PostgreSQL are stopped then
    found, failed = asyncio.run(measure(names, scale, report, keep=not options.smoke))
    report.print(as_json=options.json)
    for bar in bars.bars({name: each["figures"] for name, each in found.items()}):
        verdict = "" if options.smoke else "met" if bar.is_met else "MISSED"
        say(f"{verdict:6} {bar}")
    if options.smoke:
        say("As little was done as possible: these figures say that it works, and nothing about how fast it is.")
    else:
        performance.write()
        say(f"written: {performance.PAGE.name} and its plots, from {results.FILE.name}")
    for name, why in failed.items():
        say(f"FAILED {name}: {why}")
    say(f"{perf_counter() - begin:.0f} s in all")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
