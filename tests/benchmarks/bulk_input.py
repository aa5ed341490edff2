"""What a bulk change costs before the database is asked: from the bytes of its body to the first unit of work.

`python -m tests.benchmarks.bulk_input` prints it for each bulk mutation. No database is needed, nor a server.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from time import process_time, thread_time
from typing import Any, Final, cast

import orjson
from rich.console import Console

from graph.auth.principal import Principal, Scope
from graph.execution.context import Context
from graph.execution.services import Feed, Services
from graph.schema.build import MeshSchema, build_schema
from persistence.errors import FieldError, InvalidArgument
from persistence.ports.store import Store
from persistence.ports.writes import UnitOfWork
from persistence.service.executor import CommandExecutor
from persistence.service.rebalancer import Rebalancer
from strategies.registry import Registry
from tests.benchmarks.report import SideBySide
from tests.benchmarks.timing import Times, duration

SHARDS: Final = 10_000
RUNS: Final = 15
DOCUMENTS: Final = Path(__file__).parents[2] / "frontend-queries" / "documents"
CHANGE: Final[Mapping[str, Any]] = {
    "actor": "ops",
    "reason": "Import of shards.csv",
    "changeTicket": "CHG-1042",
    "metadata": {"source": "shards.csv", "rows": SHARDS},
    "idempotencyKey": "import-9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}


@dataclass(frozen=True, slots=True)
class Bulk:
    """A bulk mutation as the CLI sends it."""

    name: str
    operation: str
    shards: Sequence[Mapping[str, Any]]

    @property
    def body(self) -> bytes:
        query = (DOCUMENTS / f"{self.operation}.graphql").read_text("utf-8")
        variables = {"input": {"shards": self.shards, "change": CHANGE}}
        return orjson.dumps({"query": query, "operationName": self.operation, "variables": variables})


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one bulk mutation: processor time of the event loop's thread, and of all threads."""

    bulk: Bulk
    bytes: int
    loop: Times
    process: Times


def bulks(shards: int = SHARDS) -> Sequence[Bulk]:
    names = [{"namespace": f"namespace-{n % 10}", "shardId": f"shard-{n:06}"} for n in range(shards)]
    versions: list[dict[str, Any]] = [{"expectedVersion": str(n % 90 + 1)} for n in range(shards)]
    owners = [{"ownerNodeId": f"node-{n % 50}.eu-west-1"} for n in range(shards)]
    content: list[dict[str, Any]] = [
        {
            "leaderId": f"replica-{n % 50}",
            "capacityHint": 1.0 + n % 7,
            "localityHint": f"eu-west-1/zone-{n % 3}",
            "status": ("ACTIVE", "DRAINING", "PAUSED")[n % 3],
        }
        for n in range(shards)
    ]
    return (
        Bulk("updateShards, owners", "UpdateShards", _joined(names, versions, owners)),
        Bulk("updateShards, all fields", "UpdateShards", _joined(names, versions, owners, content)),
        Bulk("createShards, all fields", "CreateShards", _joined(names, owners, content)),
        Bulk("deleteShards", "DeleteShards", _joined(names, versions)),
    )


def _joined(*columns: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    return [dict(item for part in parts for item in part.items()) for parts in zip(*columns, strict=True)]


def costs(chosen: Sequence[Bulk] | None = None, runs: int = RUNS) -> Sequence[Cost]:
    """Of each bulk mutation; the first run of each, which compiles it, does not count."""
    schema, probe = build_schema(), _Probe()
    writer = CommandExecutor(probe.unit_of_work)
    services = Services(cast("Store", None), writer, cast("Feed", None), Registry(), cast("Rebalancer", None))
    context = Context(services, Principal("ops", frozenset(Scope)), "request")
    return [asyncio.run(_cost(each, schema, context, probe, runs)) for each in chosen or bulks()]


async def _cost(bulk: Bulk, schema: MeshSchema, context: Context, probe: _Probe, runs: int) -> Cost:
    body, loop, process = bulk.body, list[float](), list[float]()
    for run in range(-2, runs):
        if run <= 0:
            # As a server does once it has started.
            gc.collect()
            gc.freeze()
            gc.set_threshold(5_000, 10, 20)
        probe.begin()
        request = orjson.loads(body)
        await schema.execute(request["query"], request["variables"], context, None, request["operationName"])
        if run >= 0:
            loop.append(probe.loop_seconds)
            process.append(probe.process_seconds)
        del request
    return Cost(bulk, len(body), Times(loop), Times(process))


class _Probe:
    """A database that notes when it is asked, and refuses what is. Times are seconds since `begin`, NaN before."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.loop_seconds = self.process_seconds = nan
        self._began = thread_time(), process_time()

    def unit_of_work(self) -> AbstractAsyncContextManager[UnitOfWork]:
        if isnan(self.loop_seconds):
            self.loop_seconds, self.process_seconds = thread_time() - self._began[0], process_time() - self._began[1]
        raise InvalidArgument(FieldError("shards", "have been measured"))


def side_by_side(measured: Sequence[Cost]) -> SideBySide:
    return SideBySide(
        f"Bulk changes of {SHARDS:,} shards, before the database is asked",
        ("", "body", "event loop", "median", "all threads"),
        [
            (
                cost.bulk.name,
                f"{cost.bytes / 1e6:.2f} MB",
                duration(cost.loop.best),
                duration(sorted(cost.loop.seconds)[len(cost.loop.seconds) // 2]),
                duration(cost.process.best),
            )
            for cost in measured
        ],
        [f"Processor time from the body's bytes to the first unit of work, best of {RUNS} runs."],
    )


def main() -> None:
    Console().print(side_by_side(costs()).table())


if __name__ == "__main__":
    main()
