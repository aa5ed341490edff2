"""`make bench`: what the store does a second, as ratios to limits measured in the same run.

Client, server and PostgreSQL share the machine, and the machine is noisy: compare ratios, not figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Engine

import migrations
from graph.embedded_postgres.server import start_embedded_postgres
from persistence.commands.command import ChangeRequest
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.shards import CreateShards, NewShard, ShardPatch, UpdateShards
from persistence.model.outcomes import ShardsChanged
from persistence.postgres.store import open_store
from persistence.service.executor import CommandExecutor
from tests.benchmarks import fanout, limits, node_client, placement, rebalance, time_travel
from tests.benchmarks.load import closed_loop, open_loop, post
from tests.benchmarks.report import Report, say
from tests.support.mesh import ANY_MOVES

NAMESPACES: Final = 100
SHARDS_EACH: Final = 100
CONNECTIONS: Final = 16
BULK: Final = 5_000
SLOTS: Final = 16_384
IMPORT_TARGET_SECONDS: Final = 10.0
PROGRAM: Final = "from graph.cli import main; main()"
LOOKUP_TARGET_MS: Final = 50.0
LOOKUP_RATE: Final = 200

FIELDS: Final = (
    "namespace shardId strategy ownerNodeId leaderId capacityHint status version checksum updatedAt changeTicket"
)
LOOKUP: Final = f"query($n:String!,$k:String!){{shard(namespace:$n,shardId:$k){{{FIELDS}}}}}"
LIST: Final = (
    f"query($n:String!){{shards(filter:{{namespace:$n}},first:100){{edges{{cursor node{{{FIELDS}}}}} "
    "pageInfo{hasNextPage endCursor}}}"
)
HISTORY: Final = (
    "query($n:String!){shardHistory(filter:{namespace:$n},first:50){nodes{revision shardId version "
    "current{ownerNodeId} previous{ownerNodeId} change{actor reason changeTicket committedAt}} "
    "pageInfo{hasNextPage endCursor}}}"
)
WRITE: Final = (
    "mutation($i:UpdateShardInput!){updateShard(input:$i){__typename ...on ShardsChanged{revision} "
    "...on Refusal{message}}}"
)
BULK_WRITE: Final = (
    "mutation($i:UpdateShardsInput!){updateShards(input:$i){__typename ...on ShardsChanged{revision} "
    "...on Refusal{message}}}"
)
BY: Final = {"actor": "bench", "reason": "measure", "changeTicket": "CHG-1"}
CHANGE: Final = ChangeRequest("bench", "measure", "CHG-1")


def request(query: str, variables: dict[str, Any]) -> bytes:
    return post("/graphql", json.dumps({"query": query, "variables": variables}).encode())


def shard_of(number: int) -> dict[str, str]:
    return {"n": f"ns{number * 7919 % NAMESPACES}", "k": f"shard-{number * 104729 % SHARDS_EACH:04}"}


def lookup(connection: int, number: int) -> bytes:
    return request(LOOKUP, shard_of(connection * 1_000_003 + number))


def listing(connection: int, number: int) -> bytes:
    return request(LIST, {"n": shard_of(connection * 1_000_003 + number)["n"]})


def history(connection: int, number: int) -> bytes:
    return request(HISTORY, {"n": shard_of(connection * 1_000_003 + number)["n"]})


@asynccontextmanager
async def serving(url: str) -> AsyncIterator[int]:
    """The port of `omnirelay serve` on that database."""
    command = [sys.executable, "-c", PROGRAM, "serve", "--port", "0", "--no-demo", "--database-url", url]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    output = b""
    try:
        while not (found := re.search(rb"http://127\.0\.0\.1:(\d+)/graphql", output)):
            line = await process.stdout.readline()
            if not line:
                raise RuntimeError(output.decode())
            output += line
        yield int(found[1])
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def populate(url: str, rounds: int) -> None:
    """10,000 shards in 100 namespaces with `rounds` rows of history each, which makes `rounds` their version."""
    async with open_store(url) as store:
        writer = CommandExecutor(store.unit_of_work)
        names = [f"ns{number}" for number in range(NAMESPACES)]
        ids = [f"shard-{number:04}" for number in range(SHARDS_EACH)]
        for name in names:
            await writer.execute(ConfigureNamespace(name, "rendezvous", {}, 0, CHANGE, ANY_MOVES))
        new = [NewShard(name, id_, f"node-{i % 10}", f"node-{i % 10}") for name in names for i, id_ in enumerate(ids)]
        await writer.execute(CreateShards(new, CHANGE))
        for version in range(1, rounds):
            say(f"  history: {version * len(new):,} of {(rounds - 1) * len(new):,} rows")
            patches = [ShardPatch(*shard.key, version, owner_node_id=f"node-{version % 10}") for shard in new]
            outcome = await writer.execute(UpdateShards(patches, CHANGE))
            assert isinstance(outcome, ShardsChanged)


@contextmanager
def statement_seconds() -> Iterator[list[float]]:
    """Seconds each statement of this process spends between driver and database."""
    taken: list[float] = []
    started: list[float] = []

    def before(*_: object) -> None:
        started.append(perf_counter())

    def after(*_: object) -> None:
        taken.append(perf_counter() - started.pop())

    event.listen(Engine, "before_cursor_execute", before)
    event.listen(Engine, "after_cursor_execute", after)
    try:
        yield taken
    finally:
        event.remove(Engine, "before_cursor_execute", before)
        event.remove(Engine, "after_cursor_execute", after)


async def one_answer(port: int, made: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(made)
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    assert length is not None
    body = await reader.readexactly(int(length[1]))
    writer.close()
    return body


def checked(body: bytes, typename: str) -> None:
    answer = json.loads(body)
    (result,) = answer["data"].values()
    if result["__typename"] != typename:
        raise RuntimeError(body.decode())


async def reads(report: Report, port: int, url: str, seconds: float) -> None:
    say("Reads")
    selects = await limits.pgbench(url, limits.SELECT, clients=CONNECTIONS, seconds=round(seconds))
    kinds: list[tuple[str, Callable[[int, int], bytes]]] = [
        ("one shard, 11 fields", lookup),
        ("100 shards, 11 fields", listing),
        ("50 rows of history", history),
    ]
    for what, made in kinds:
        body = await one_answer(port, made(0, 0))
        if b'"errors"' in body:
            raise RuntimeError(body.decode())
        figures = await closed_loop(port, made, connections=CONNECTIONS, seconds=seconds)
        async with limits.bare_uvicorn(body) as bare:
            limit = await closed_loop(bare, made, connections=CONNECTIONS, seconds=seconds)
        report.rate(what, figures, "bare uvicorn, the same answer:", limit.rate)
        if made is lookup:
            report.rate(what, figures, "pgbench, the same SELECT prepared:", selects)
    at_rate = await open_loop(port, lambda number: lookup(0, number), rate=LOOKUP_RATE, seconds=max(5.0, seconds))
    figure = f"p50 {at_rate.p50:.1f} ms, p99 {at_rate.p99:.1f} ms, worst {at_rate.worst:.1f} ms"
    what = f"lookup among 10,000 shards at {LOOKUP_RATE}/s"
    report.add(what, figure, f"target p99 {LOOKUP_TARGET_MS:.0f} ms", at_rate.p99 / LOOKUP_TARGET_MS, "lower")


async def single_writes(report: Report, port: int, url: str, seconds: float, version: int) -> None:
    say("Single writes")

    def write(connection: int, number: int) -> bytes:
        shard = {"namespace": f"ns{connection}", "shardId": "shard-0001", "expectedVersion": version + number}
        return request(WRITE, {"i": {**shard, "ownerNodeId": f"node-{number % 10}", "change": BY}})

    figures = await closed_loop(port, write, connections=CONNECTIONS, seconds=seconds)
    unordered = await limits.pgbench(url, limits.UNORDERED, clients=32, seconds=round(seconds))
    notifying = await limits.pgbench(url, limits.NOTIFYING, clients=32, seconds=round(seconds))
    what = "updateShard, audited and ordered"
    report.rate(what, figures, "pgbench, shard + history, no order, no NOTIFY:", unordered)
    report.rate(what, figures, "pgbench, the same with NOTIFY:", notifying)


async def bulk_writes(report: Report, port: int, url: str, version: int) -> None:
    say("Bulk writes")
    plain = await limits.bulk_seconds(url) * BULK / 10_000
    keys = [(f"ns{number // SHARDS_EACH}", f"shard-{number % SHARDS_EACH:04}") for number in range(5_000, 5_000 + BULK)]
    through_api, in_database = [], []
    for attempt in range(3):
        shards = [
            {"namespace": n, "shardId": k, "expectedVersion": version + attempt, "ownerNodeId": f"node-{attempt}"}
            for n, k in keys
        ]
        made = request(BULK_WRITE, {"i": {"shards": shards, "change": BY}})
        begin = perf_counter()
        checked(await one_answer(port, made), "ShardsChanged")
        through_api.append(perf_counter() - begin)
    async with open_store(url) as store:
        for attempt in range(3, 6):
            patches = [ShardPatch(n, k, version + attempt, owner_node_id=f"node-{attempt}") for n, k in keys]
            with statement_seconds() as taken:
                outcome = await CommandExecutor(store.unit_of_work).execute(UpdateShards(patches, CHANGE))
            assert isinstance(outcome, ShardsChanged)
            in_database.append(sum(taken))
    limit = f"the same rows, plain SQL: {plain:.2f} s"
    for where, taken in (("in the database", in_database), ("through GraphQL", through_api)):
        report.add(f"updateShards of 5,000, {where}", f"{min(taken):.2f} s", limit, min(taken) / plain, "lower")


async def importing(report: Report, port: int, folder: Path) -> None:
    say("Import")
    file = folder / "slots.csv"
    rows = (f"redis,slot-{slot:05},redis-{slot * 6 // SLOTS + 1}" for slot in range(SLOTS))
    file.write_text("\n".join(["namespace,shardId,ownerNodeId", *rows, ""]))
    arguments = ["mesh", "shards", "import", str(file), "--create-namespace", "rendezvous", "--reason", "measure"]
    command = [sys.executable, "-c", PROGRAM, *arguments, "--server", f"http://127.0.0.1:{port}"]
    begin = perf_counter()
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, messages = await process.communicate()
    if process.returncode:
        raise RuntimeError(messages.decode())
    taken = perf_counter() - begin
    limit = f"target {IMPORT_TARGET_SECONDS:.0f} s"
    report.add(f"import of {SLOTS:,} shards, CSV", f"{taken:.1f} s", limit, taken / IMPORT_TARGET_SECONDS, "lower")


async def rebalancing(report: Report, port: int, url: str) -> None:
    say(f"Rebalancing {rebalance.NAMESPACES * rebalance.SHARDS_EACH:,} shards in {rebalance.NAMESPACES} namespaces")
    await rebalance.fill(url)
    windows = await rebalance.measure(request, lambda made: one_answer(port, made), port)
    for kind, window in zip(("placing all of them", "rolling nodes"), windows, strict=True):
        target = f"target {rebalance.TARGET_SECONDS:.0f} s"
        for what, taken in (("planRebalance", window.plans), ("applyPlan", window.applies)):
            figure = f"{rebalance.spread(taken)}, {max(window.moved):,} moves at most"
            report.add(f"{kind}: {what}", figure, target, max(taken) / rebalance.TARGET_SECONDS, "lower")
        figures = window.lookups
        figure = f"p50 {figures.p50:.1f} ms, p99 {figures.p99:.1f} ms, worst {figures.worst:.1f} ms"
        what, ratio = f"{kind}: lookups at {rebalance.LOOKUP_RATE}/s meanwhile", figures.p99 / rebalance.TARGET_MS
        report.add(what, figure, f"target p99 {rebalance.TARGET_MS:.0f} ms", ratio, "lower")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each measurement")
    parser.add_argument("--fanout-seconds", type=float, default=60.0, help="length of the fan-out at a steady rate")
    parser.add_argument("--rounds", type=int, default=20, help="rows of history for each of the 10,000 shards")
    parser.add_argument("--json", action="store_true", help="print rows and tables as JSON")
    options = parser.parse_args()
    report = Report()
    placement.measure(report)
    with tempfile.TemporaryDirectory(prefix="omnirelay-bench-") as folder:
        database = start_embedded_postgres(Path(folder) / "data")
        try:
            say("Preparing 10,000 shards in 100 namespaces")
            await migrations.upgrade(database.url)
            await populate(database.url, options.rounds)
            await limits.prepare(database.url)
            async with serving(database.url) as port:
                await reads(report, port, database.url, options.seconds)
                await single_writes(report, port, database.url, options.seconds, options.rounds)
                await bulk_writes(report, port, database.url, options.rounds)
                await importing(report, port, Path(folder))
                await rebalancing(report, port, database.url)
            await fanout.measure(report, database.url, seconds=options.fanout_seconds)
            await time_travel.measure(report, database.url)
        finally:
            database.stop()
    await asyncio.to_thread(node_client.measure_all, report)
    report.print(as_json=options.json)


if __name__ == "__main__":
    asyncio.run(main())
