"""One siege: a server with default settings, subscribers, writers, another client that looks shards up, attackers."""

from __future__ import annotations

import asyncio
import random
import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

import numpy as np
import orjson

from graph.server.heap import TRIM_SECONDS
from persistence.feed.tailer import FeedLimits
from persistence.postgres.diff_rows import HELD_ROWS
from tests.benchmarks import servers
from tests.benchmarks.processes import resident_bytes
from tests.benchmarks.readiness import settled
from tests.benchmarks.servers import Server
from tests.chaos.database import MeshDatabase, Postgres
from tests.chaos.harness import running_postgres
from tests.chaos.history import read_history
from tests.chaos.progress import Progress
from tests.chaos.records import Ledger
from tests.chaos.requests import Asker
from tests.chaos.subscribers import Subscriber
from tests.chaos.transports import over_events, over_websocket
from tests.chaos.verdict import Finding, judge
from tests.chaos.watches import WATCHES
from tests.chaos.writers import Writer, prepare
from tests.siege.connections import Target, connected
from tests.siege.standstills import Span, joined, overlap, processors

_WRITERS: Final = 4
_LARGEST: Final = 20
"""Shards in a change."""

_FOREVER: Final = 10**9
"""Batches after which a subscriber leaves."""

_ENVIRONMENT: Final = {"OMNIRELAY_BOOKMARK_SECONDS": "1", "OMNIRELAY_LOG_LEVEL": "error"}
"""Subscribers take a connection that is silent for longer than four seconds for broken."""

LOG: Final = "server.log"
"""In the folder of a run."""

_NODES: Final = 8
_LOOKUPS_A_SECOND: Final = 50.0
_CATCHING_UP_SECONDS: Final = 30.0

_CONFIGURE: Final = """
mutation ($input: ConfigureNamespaceInput!) {
  configureNamespace(input: $input) { __typename ... on Refusal { message } }
}"""
_CACHES: Final = re.compile(rb"(?m)^omnirelay_kept_(?:records|answers|documents)_bytes (\S+)$")

_A_CHANGE: Final = 100
"""Shards: fewer than are read from history by who follows them."""

_A_PAGE: Final = 500

_UPDATE: Final = """
mutation ($input: UpdateShardsInput!) { updateShards(input: $input) { __typename ... on Refusal { message } } }"""
_READ_HISTORY: Final = """
query ($after: String) {
  shardHistory(first: 500, after: $after) { pageInfo { endCursor } nodes { revision previous { shardId } } }
}"""

_REGISTER: Final = """
mutation ($input: RegisterNodeInput!) { registerNode(input: $input) { __typename ... on Refusal { message } } }"""
_CREATE: Final = """
mutation ($input: CreateShardsInput!) { createShards(input: $input) { __typename ... on Refusal { message } } }"""


@dataclass(frozen=True, slots=True)
class Plan:
    """`names` are those of the attacks; each goes on for `seconds`, all at the same time. `quiet_seconds` come before,
    without any, as what it is compared with, and `warming_seconds` before these, if any."""

    names: Sequence[str]
    seed: int = 7
    seconds: float = 180.0
    quiet_seconds: float = 10.0
    warming_seconds: float = 3.0
    giving_back_seconds: float = 1.5 * TRIM_SECONDS
    """In which connections of attackers have ended, and what is free has been returned once: memory is read then."""
    subscribers: int = 200
    changes_a_second: float = 20.0
    shards: int = 20_000


@dataclass(frozen=True, slots=True)
class Lookups:
    """`taken`: how long each waited for the server, in milliseconds. `late`: the longest that their client itself was
    late. `stood_still`: how long a processor did at a time, null where that is not known. Neither is in `taken`."""

    taken: Sequence[float]
    late: float
    stood_still: Sequence[float] | None

    @classmethod
    def of(cls, times: Sequence[tuple[float, float, float]], spans: Sequence[Span] | None) -> Lookups:
        """When each was due, begun and answered, and when a processor stood still, in seconds."""
        taken = [answered - begun - overlap((begun, answered), spans or ()) for _, begun, answered in times]
        return cls(
            [1_000 * each for each in taken],
            1_000 * max((begun - due for due, begun, _ in times), default=0.0),
            None if spans is None else [1_000 * (end - begin) for begin, end in spans],
        )

    def at(self, percent: float) -> float:
        return float(np.percentile(self.taken, percent))

    def __str__(self) -> str:
        return f"p50 {self.at(50):.1f}, p99 {self.at(99):.1f}, worst {self.at(100):.1f}"

    @property
    def not_counted(self) -> str:
        """In words."""
        stood_still = self.stood_still
        return f"client late by up to {self.late:.0f} ms; " + (
            "when processors stood still is not known"
            if stood_still is None
            else f"processors stood still {len(stood_still):,} times, for up to {max(stood_still, default=0):.0f} ms"
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """Memory of the server in bytes, without its caches. `answers` are those of attackers, by attack."""

    findings: Sequence[Finding]
    quiet_lookups: Lookups
    lookups: Lookups
    memory_before: int
    memory_peak: int
    memory_after: int
    answers: Mapping[str, Mapping[str, int]]
    changes: int
    deliveries: int
    left: Mapping[str, int]


async def run(plan: Plan, folder: Path, watch: Callable[[str], None] = lambda _: None) -> Outcome:
    """What the server's data is kept in is `folder`. `watch` is called with what is being done."""
    async with running_postgres(folder / "postgresql") as postgres:
        database = MeshDatabase(postgres, "mesh")
        await database.create()
        command = [sys.executable, "-c", servers.PROGRAM, "serve", "--port", "0", "--no-demo"]
        url = postgres.url(database.name)
        given = [*command, "--database-url", url]
        async with servers.started(given, environment=_ENVIRONMENT, log=folder / LOG) as server:
            return await _Siege(plan, postgres, database, server, watch).go()


class _Siege:
    def __init__(
        self, plan: Plan, postgres: Postgres, database: MeshDatabase, server: Server, watch: Callable[[str], None]
    ) -> None:
        addresses = [f"127.0.0.1:{server.port}"]
        self._plan, self._postgres, self._database, self._server = plan, postgres, database, server
        self._watch = watch
        self._addresses = addresses
        self._progress, self._ledger = Progress(), Ledger()
        self._writers = [
            Writer(number, plan.seed, _LARGEST, addresses, self._progress, self._ledger) for number in range(_WRITERS)
        ]
        self._subscribers = [
            Subscriber(
                number,
                plan.seed,
                WATCHES[number % len(WATCHES)],
                over_events if number % 10 == 0 else over_websocket,
                _FOREVER,
                addresses,
                self._progress,
            )
            for number in range(plan.subscribers)
        ]

    async def go(self) -> Outcome:
        self._watch("creating shards")
        await prepare(self._addresses)
        await self._fill()
        if self._plan.warming_seconds:
            await self._fill_windows()
            await settled(self._server)
        following = [asyncio.create_task(subscriber.follow()) for subscriber in self._subscribers]
        stop = asyncio.Event()
        writing = [asyncio.create_task(self._write(writer, stop)) for writer in self._writers]
        try:
            while not all(each.record.segments for each in self._subscribers):  # noqa: ASYNC110 - read by tasks that have no event
                await asyncio.sleep(0.1)
            self._watch("nothing but subscribers and changes")
            await self._bystander(self._plan.warming_seconds)
            quiet = await self._bystander(self._plan.quiet_seconds)
            before = await self._memory()
            async with self._memory_watched() as peaks:
                lookups, answers = await asyncio.gather(self._bystander(self._plan.seconds), self._attackers())
            stop.set()
            await asyncio.gather(*writing)
            self._watch("subscribers catch up")
            await self._caught_up()
            self._watch("memory is given back")
            await asyncio.sleep(self._plan.giving_back_seconds)
            after = await self._memory()
        finally:
            for task in (*following, *writing):
                task.cancel()
            await asyncio.gather(*following, *writing, return_exceptions=True)
        return Outcome(
            await self._judged(),
            quiet,
            lookups,
            before,
            max(peaks, default=before),
            after,
            answers,
            len(self._ledger.acknowledged),
            self._progress.deliveries,
            self._progress.endings,
        )

    async def _fill(self) -> None:
        """The shards that attackers list, and a hundred that the other client looks up."""
        asker = Asker(self._addresses, random.Random(self._plan.seed))
        try:
            for number in range(_NODES):
                change = {"actor": "siege", "reason": "what simulations place shards on"}
                await asker.ask(_REGISTER, input={"nodeId": f"node-{number}", "change": change})
            for name, count in (("bystander", 100), ("filling", self._plan.shards)):
                change = {"actor": "siege", "reason": "what is there already"}
                given: dict[str, Any] = {"name": name, "strategy": "rendezvous", "change": change}
                await asker.ask(_CONFIGURE, input=given)
                for start in range(0, count, 1_000):
                    shards = [
                        {"namespace": name, "shardId": f"s-{number:03}", "ownerNodeId": f"node-{number % _NODES}"}
                        for number in range(start, min(start + 1_000, count))
                    ]
                    await asker.ask(_CREATE, input={"shards": shards, "change": change})
        finally:
            await asker.aclose()

    async def _fill_windows(self) -> None:
        """What the server holds of the newest history in any case, within bounds: the feed's ring, and the rows that
        were shown lately. Else they would be filled meanwhile, and be taken for what attacks leave."""
        asker = Asker(self._addresses, random.Random(self._plan.seed))
        change = {"actor": "siege", "reason": "fills the feed's ring"}
        try:
            for start in range(0, min(FeedLimits().ring, self._plan.shards), _A_CHANGE):
                shards = [
                    {"namespace": "filling", "shardId": f"s-{number:03}", "expectedVersion": "1", "capacityHint": 2.0}
                    for number in range(start, min(start + _A_CHANGE, self._plan.shards))
                ]
                changed = await asker.ask(_UPDATE, input={"shards": shards, "change": change})
                if "message" in changed:
                    raise RuntimeError(f"the feed's ring is not filled: {changed['message']}")
            after: str | None = None
            for _ in range(2 * HELD_ROWS // _A_PAGE):
                page = await asker.ask(_READ_HISTORY, after=after)
                after = page["pageInfo"]["endCursor"]
        finally:
            await asker.aclose()

    async def _write(self, writer: Writer, stop: asyncio.Event) -> None:
        """Its share of the changes, at their times; late ones are made up for."""
        period = _WRITERS / self._plan.changes_a_second
        begun, made = monotonic(), 0
        try:
            while not stop.is_set():
                await asyncio.sleep(max(0.0, begun + made * period - monotonic()))
                await writer.change()
                made += 1
        finally:
            await writer.aclose()

    async def _bystander(self, seconds: float) -> Lookups:
        times, *stood_still = await asyncio.gather(
            _program("bystander", self._server.port, seconds, _LOOKUPS_A_SECOND),
            *(_program("standstills", processor, seconds) for processor in processors()),
        )
        known = None not in stood_still
        return Lookups.of(times, joined([(a, b) for each in stood_still for a, b in each]) if known else None)

    async def _attackers(self) -> dict[str, dict[str, int]]:
        self._watch(f"{len(self._plan.names)} attacks for {self._plan.seconds:g} s")
        answers: dict[str, dict[str, int]] = await _program(
            "attackers", "127.0.0.1", self._server.port, self._plan.seconds, *self._plan.names
        )
        return answers

    async def _memory(self) -> int:
        """What the server has, but for what its caches hold: those have bounds of their own, and may be full or not."""
        resident = await asyncio.to_thread(resident_bytes, self._server.process)
        async with connected(Target("127.0.0.1", self._server.port)) as connection:
            await connection.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            metrics = await connection.body()
        return resident - sum(int(float(size)) for size in _CACHES.findall(metrics))

    @asynccontextmanager
    async def _memory_watched(self) -> AsyncIterator[list[int]]:
        """What the server has, twice a second."""
        peaks: list[int] = []

        async def look() -> None:
            while True:
                peaks.append(await self._memory())
                await asyncio.sleep(0.5)

        looking = asyncio.create_task(look())
        try:
            yield peaks
        finally:
            looking.cancel()

    async def _caught_up(self) -> None:
        """At the head, or for 30 s without getting there; the verdict then finds what is missing."""
        async with self._postgres.connected(self._database.name) as connection:
            head = await connection.fetchval("SELECT revision FROM stream_head")
        deadline = monotonic() + _CATCHING_UP_SECONDS
        while any(each.revision < head for each in self._subscribers):
            if monotonic() > deadline:
                for each in self._subscribers:
                    if each.revision < head:
                        each.record.stuck.append(f"{each.record.name} is at {each.revision} of {head}")
                return
            await asyncio.sleep(0.1)

    async def _judged(self) -> list[Finding]:
        records = [subscriber.record for subscriber in self._subscribers]
        listings = [listing for record in records for listing in record.listings]
        history = await read_history(self._postgres.url(self._database.name), listings)
        return judge(records, self._ledger, [history])


async def _program(name: str, *arguments: object) -> Any:
    """What a program beside this one prints, as JSON. Raises RuntimeError if it fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"tests.siege.{name}",
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise RuntimeError(f"{name} ended with {process.returncode}: {errors.decode()[-2_000:]}")
    return orjson.loads(output)
