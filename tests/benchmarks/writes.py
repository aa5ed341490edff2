"""Writes: single ones and bulk ones beside plain SQL, an import, and plans with lookups going on meanwhile."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE
from time import perf_counter
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Engine

from persistence.commands.shards import ShardPatch, UpdateShards
from persistence.model.outcomes import ShardsChanged
from persistence.model.records import ShardKey
from persistence.postgres.store import open_store
from persistence.service.executor import CommandExecutor
from tests.benchmarks import limits, meshes, rebalance
from tests.benchmarks.load import closed_loop, each_once, post
from tests.benchmarks.report import Report, say
from tests.benchmarks.servers import PROGRAM
from tests.benchmarks.workloads import SHARDS_EACH

CONNECTIONS: Final = 16
BULK: Final = 5_000
SLOTS: Final = 16_384
ATTEMPTS: Final = 3
IMPORT_TARGET_SECONDS: Final = 10.0

WRITE: Final = (
    "mutation($i:UpdateShardInput!){updateShard(input:$i){__typename ...on ShardsChanged{revision} "
    "...on Refusal{message}}}"
)
BULK_WRITE: Final = WRITE.replace("UpdateShard", "UpdateShards").replace("updateShard(", "updateShards(")
BY: Final = {"actor": "bench", "reason": "measure", "changeTicket": "CHG-1"}


def request(query: str, variables: dict[str, Any]) -> bytes:
    return post("/graphql", json.dumps({"query": query, "variables": variables}).encode())


async def single(report: Report, port: int, url: str, seconds: float) -> None:
    say("  single writes")
    keys = [ShardKey(f"ns{number}", "shard-0001") for number in range(CONNECTIONS)]
    known = await meshes.versions(url)

    def write(connection: int, number: int) -> bytes:
        key = keys[connection]
        shard = {"namespace": key.namespace, "shardId": key.shard_id, "expectedVersion": known[key] + number}
        return request(WRITE, {"i": {**shard, "ownerNodeId": f"node-{(known[key] + number) % 10}", "change": BY}})

    figures = await closed_loop(port, write, connections=CONNECTIONS, seconds=seconds)
    await limits.prepare(url)
    unordered = await limits.pgbench(url, limits.UNORDERED, clients=32, seconds=max(1, round(seconds)))
    notifying = await limits.pgbench(url, limits.NOTIFYING, clients=32, seconds=max(1, round(seconds)))
    what = "updateShard, audited and ordered"
    report.rate(what, figures, "pgbench, shard + history, no order, no NOTIFY:", unordered)
    report.rate(what, figures, "pgbench, the same with NOTIFY:", notifying)


async def bulk(report: Report, port: int, url: str, attempts: int = ATTEMPTS) -> None:
    say("  bulk writes")
    await limits.prepare(url)
    plain = await limits.bulk_seconds(url) * BULK / 10_000
    keys = [
        ShardKey(f"ns{number // SHARDS_EACH}", f"shard-{number % SHARDS_EACH:04}")
        for number in range(BULK, 2 * BULK)  # none that `single` writes to
    ]
    known = await meshes.versions(url)
    through_api, in_database = [], []
    for attempt in range(attempts):
        shards = [
            {
                "namespace": key.namespace,
                "shardId": key.shard_id,
                "expectedVersion": known[key] + attempt,
                "ownerNodeId": f"node-{(known[key] + attempt) % 10}",
            }
            for key in keys
        ]
        made = request(BULK_WRITE, {"i": {"shards": shards, "change": BY}})
        begin = perf_counter()
        _require_changed(*await each_once(port, [made], connections=1))
        through_api.append(perf_counter() - begin)
    async with open_store(url) as store:
        for attempt in range(attempts, 2 * attempts):
            patches = [
                ShardPatch(*key, known[key] + attempt, owner_node_id=f"node-{(known[key] + attempt) % 10}")
                for key in keys
            ]
            with _statement_seconds() as taken:
                outcome = await CommandExecutor(store.unit_of_work).execute(UpdateShards(patches, meshes.CHANGE))
            assert isinstance(outcome, ShardsChanged)
            in_database.append(sum(taken))
    limit = f"the same rows, plain SQL: {plain:.2f} s"
    for where, taken in (("in the database", in_database), ("through GraphQL", through_api)):
        report.add(f"updateShards of {BULK:,}, {where}", f"{min(taken):.2f} s", limit, min(taken) / plain, "lower")


def _require_changed(body: bytes) -> None:
    answer = json.loads(body)
    if "errors" in answer or answer["data"]["updateShards"]["__typename"] != "ShardsChanged":
        raise RuntimeError(body[:1_000].decode())


@contextmanager
def _statement_seconds() -> Iterator[list[float]]:
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


async def importing(report: Report, port: int, folder: Path, slots: int = SLOTS) -> None:
    say("  import")
    file = folder / "slots.csv"
    rows = (f"redis,slot-{slot:05},redis-{slot * 6 // slots + 1}" for slot in range(slots))
    file.write_text("\n".join(["namespace,shardId,ownerNodeId", *rows, ""]))
    arguments = ["mesh", "shards", "import", str(file), "--create-namespace", "rendezvous", "--reason", "measure"]
    command = [sys.executable, "-c", PROGRAM, *arguments, "--server", f"http://127.0.0.1:{port}"]
    begin = perf_counter()
    process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=PIPE)
    _, messages = await process.communicate()
    if process.returncode:
        raise RuntimeError(messages.decode())
    taken = perf_counter() - begin
    limit = f"target {IMPORT_TARGET_SECONDS:.0f} s"
    report.add(f"import of {slots:,} shards, CSV", f"{taken:.1f} s", limit, taken / IMPORT_TARGET_SECONDS, "lower")


async def rebalancing(report: Report, port: int, url: str) -> None:
    say(f"  rebalancing {rebalance.NAMESPACES * rebalance.SHARDS_EACH:,} shards in {rebalance.NAMESPACES} namespaces")
    await rebalance.fill(url)
    windows = await rebalance.measure(port)
    for kind, window in zip(("placing all of them", "rolling nodes"), windows, strict=True):
        target = f"target {rebalance.TARGET_SECONDS:.0f} s"
        for what, taken in (("planRebalance", window.plans), ("applyPlan", window.applies)):
            figure = f"{rebalance.spread(taken)}, {max(window.moved):,} moves at most"
            report.add(f"{kind}: {what}", figure, target, max(taken) / rebalance.TARGET_SECONDS, "lower")
        figures = window.lookups
        figure = f"p50 {figures.p50:.1f} ms, p99 {figures.p99:.1f} ms, worst {figures.worst:.1f} ms"
        what, ratio = f"{kind}: lookups at {rebalance.LOOKUP_RATE}/s meanwhile", figures.p99 / rebalance.TARGET_MS
        report.add(what, figure, f"target p99 {rebalance.TARGET_MS:.0f} ms", ratio, "lower")
