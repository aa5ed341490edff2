"""A node's table: how fast it answers, how long the first one takes, what a shard costs, and what proving it disturbs.

`python -m tests.benchmarks.node_client` runs it alone: PostgreSQL, server and client on this machine.
"""

from __future__ import annotations

import asyncio
import random
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

import migrations
from graph.client import MeshClient, State
from graph.embedded_postgres.server import start_embedded_postgres
from persistence.commands.command import ChangeRequest
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.shards import CreateShards, NewShard
from persistence.postgres.store import open_store
from persistence.service.executor import CommandExecutor
from tests.benchmarks.report import Report, say
from tests.benchmarks.timing import Times, duration, measured, one_core, size, timed
from tests.support.mesh import ANY_MOVES

SIZES: Final = (10_000, 100_000)
NAMESPACES: Final = 20
NODES: Final = 50
PER_CHANGE: Final = 10_000
LOOKUPS: Final = 500_000
RUNS: Final = 7
TARGET_RATE: Final = 1_000_000
PROGRAM: Final = "from graph.cli import main; main()"
TIMEOUT_SECONDS: Final = 300.0

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Figures:
    """`owner` and `bare` are of LOOKUPS lookups, of keys in no order.

    `proving` and `resting` are lookups a second by the clock with and without proofs going on, `pause` the longest that
    1,000 took meanwhile. `first` is in seconds from nothing to a proven table that is live, `memory` in bytes a shard.
    """

    shards: int
    owner: Times
    bare: Times
    proving: float
    resting: float
    pause: float
    first: float
    memory: float

    def report(self, report: Report) -> None:
        what = f"a node's table of {self.shards:,} shards"
        rate, bare = LOOKUPS / self.owner.best, LOOKUPS / self.bare.best
        report.add(f"{what}: owner()", f"{rate:,.0f}/s", f"target {TARGET_RATE:,}/s", rate / TARGET_RATE, "higher")
        report.add(f"{what}: owner()", f"{rate:,.0f}/s", f"a dict of dicts {bare:,.0f}/s", rate / bare, "higher")
        report.add(
            f"{what}: owner() while it is proven over and over",
            f"{self.proving:,.0f}/s, longest pause of 1,000 lookups {duration(self.pause)}",
            f"otherwise {self.resting:,.0f}/s",
            self.proving / self.resting,
            "higher",
        )
        say(f"  {what}: first proven table after {duration(self.first)}; {size(self.memory)} a shard")


def measure(url: str, shards: int) -> Figures:
    """Of a server that holds so many shards."""
    begin = perf_counter()
    mesh = opened(url, verify_seconds=0.01)
    first = perf_counter() - begin
    keys = keys_of(mesh)
    until = mesh.counters.proofs + 2
    proving, pause = by_the_clock(mesh, keys, lambda: mesh.counters.proofs >= until)
    mesh.close()
    resting, _ = by_the_clock(mesh, keys, lambda: True)
    with one_core():
        bare = {namespace: {key: s.owner_node_id for key, s in mesh.shards(namespace).items()} for namespace in names()}
        owner_times, _ = timed(RUNS, lambda: look_up(mesh.owner, keys))
        bare_times, _ = timed(RUNS, lambda: look_up_bare(bare, keys))
    memory, _, another = measured(lambda: opened(url))
    another.close()
    return Figures(shards, owner_times, bare_times, proving, resting, pause, first, memory / shards)


def opened(url: str, verify_seconds: float = 60.0) -> MeshClient:
    """Live. The caller closes it."""
    mesh = MeshClient(url, start_seconds=TIMEOUT_SECONDS, verify_seconds=verify_seconds)
    mesh.__enter__()
    if not mesh.wait_until(lambda: mesh.state is State.LIVE, TIMEOUT_SECONDS):
        raise RuntimeError(f"the table is {mesh.state}")
    return mesh


def keys_of(mesh: MeshClient) -> Sequence[Key]:
    """As many as are looked up, in no order; strings of their own, as a request brings them."""
    keys = [(namespace, shard_id) for namespace in mesh.namespaces() for shard_id in mesh.shards(namespace)]
    chosen = random.Random(1).choices(keys, k=LOOKUPS)
    return [(namespace.encode().decode(), shard_id.encode().decode()) for namespace, shard_id in chosen]


def look_up(owner: Callable[[str, str], str | None], keys: Sequence[Key]) -> None:
    for namespace, shard_id in keys:
        owner(namespace, shard_id)


def look_up_bare(table: dict[str, dict[str, str]], keys: Sequence[Key]) -> None:
    for namespace, shard_id in keys:
        table[namespace][shard_id]


def by_the_clock(mesh: MeshClient, keys: Sequence[Key], done: Callable[[], bool]) -> tuple[float, float]:
    """Lookups a second, and the longest that 1,000 of them took, over all keys again and again until it is done."""
    longest, count, begin = 0.0, 0, perf_counter()
    while True:
        for start in range(0, len(keys), 1_000):
            before = perf_counter()
            look_up(mesh.owner, keys[start : start + 1_000])
            longest = max(longest, perf_counter() - before)
        count += len(keys)
        if done():
            return count / (perf_counter() - begin), longest


def names() -> Sequence[str]:
    return [f"space{number:02}" for number in range(NAMESPACES)]


async def fill(url: str, shards: int) -> None:
    async with open_store(url) as store:
        writer = CommandExecutor(store.unit_of_work)
        change = ChangeRequest("bench", "measure", "CHG-1")
        for name in names():
            await writer.execute(ConfigureNamespace(name, "rendezvous", {}, 0, change, ANY_MOVES))
        news = [
            NewShard(names()[number % NAMESPACES], f"shard-{number:07}", f"node-{number % NODES:02}")
            for number in range(shards)
        ]
        for start in range(0, shards, PER_CHANGE):
            await writer.execute(CreateShards(news[start : start + PER_CHANGE], change))


@contextmanager
def serving(url: str) -> Iterator[str]:
    """The address of `omnirelay serve` on that database."""
    command = [sys.executable, "-c", PROGRAM, "serve", "--port", "0", "--no-demo", "--database-url", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own code
        assert process.stdout is not None
        try:
            found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            if found is None:
                raise RuntimeError("the server did not start")
            yield found[0]
        finally:
            process.send_signal(signal.SIGTERM)


def measure_all(report: Report, sizes: Sequence[int] = SIZES) -> None:
    """Each on a database and a server of its own. Runs event loops: not to be called in one."""
    with tempfile.TemporaryDirectory() as folder:
        for shards in sizes:
            say(f"A mesh node's copy of {shards:,} shards")
            postgres = start_embedded_postgres(Path(folder) / str(shards))
            try:
                asyncio.run(migrations.upgrade(postgres.url))
                asyncio.run(fill(postgres.url, shards))
                with serving(postgres.url) as address:
                    measure(address, shards).report(report)
            finally:
                postgres.stop()


def main() -> None:
    report = Report()
    measure_all(report)
    report.print(as_json=False)


if __name__ == "__main__":
    main()
