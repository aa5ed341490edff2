"""Writes that take long: an import, and plans with lookups going on meanwhile."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from subprocess import DEVNULL, PIPE
from time import perf_counter
from typing import Any, Final

from tests.benchmarks import rebalance
from tests.benchmarks.load import post
from tests.benchmarks.report import Report, say
from tests.benchmarks.servers import PROGRAM

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
