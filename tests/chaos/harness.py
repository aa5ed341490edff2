"""One run: a database, servers, writers, subscribers, a schedule of faults; then the verdict."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from tests.chaos.database import MeshDatabase, Postgres
from tests.chaos.faults import Fault
from tests.chaos.figures import Figures, latencies
from tests.chaos.history import read_history
from tests.chaos.injector import Injector
from tests.chaos.node_clients import NodeClient
from tests.chaos.progress import Progress
from tests.chaos.records import Ledger
from tests.chaos.servers import Server, running_servers
from tests.chaos.subscribers import Subscriber
from tests.chaos.transports import over_events, over_websocket
from tests.chaos.verdict import Finding, Flaw, judge
from tests.chaos.watches import WATCHES
from tests.chaos.writers import Writer, prepare
from tests.support.fork_server import PROGRAM

_LOOK_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run consists of. The same plan gives the same requests, departures and faults.

    `largest` is how many shards a change has at most, `batches` after how many a subscriber leaves at the latest,
    `events` how many of the subscribers use server-sent events, `nodes` how many mesh nodes keep a table besides. Who
    gets nothing for `timeout` seconds, although there is something to get and no fault is on, counts as stuck; after
    the last write `catch_up_timeout` is enough.
    """

    seed: int
    diffs: int
    faults: Sequence[Fault]
    writers: int = 8
    subscribers: int = 50
    servers: int = 2
    events: int = 0
    nodes: int = 0
    largest: int = 500
    batches: int = 200
    timeout: float = 60.0
    catch_up_timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    findings: Sequence[Finding]
    figures: Figures


class Run:
    """`watch` is called several times a second with how far it is."""

    def __init__(self, plan: Plan, database: MeshDatabase, servers: Sequence[Server], folder: Path) -> None:
        addresses = [server.address for server in servers]
        self.plan = plan
        self.progress = Progress()
        self.ledger = Ledger()
        self._database = database
        self._servers = servers
        self._addresses = addresses
        self._writers = [
            Writer(number, plan.seed, plan.largest, addresses, self.progress, self.ledger)
            for number in range(plan.writers)
        ]
        self.subscribers = [
            Subscriber(
                number,
                plan.seed,
                WATCHES[number % len(WATCHES)],
                over_events if number < plan.events else over_websocket,
                plan.batches,
                addresses,
                self.progress,
            )
            for number in range(plan.subscribers)
        ]
        self._nodes = [NodeClient(number, addresses) for number in range(plan.nodes)]
        self.injector = Injector(folder, database, servers, self.subscribers, self.progress)

    async def go(self, watch: Callable[[Run], None]) -> Outcome:
        begun = monotonic()
        await prepare(self._addresses)
        following = [asyncio.create_task(subscriber.follow()) for subscriber in self.subscribers]
        try:
            await asyncio.gather(*(node.start() for node in self._nodes))
            await self._write(watch)
            moments = [monotonic()]
            await self._catch_up(following, watch)
            moments.append(monotonic())
            _, head = await self._head()
            await asyncio.gather(*(node.caught_up(head, self.plan.timeout) for node in self._nodes))
            moments.append(monotonic())
        finally:
            await asyncio.gather(*(node.stop() for node in self._nodes))
            await self.injector.stop_measuring()
            for task in following:
                task.cancel()
            ends = await asyncio.gather(*following, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end
        return await self._judged([begun, *moments])

    async def _write(self, watch: Callable[[Run], None]) -> None:
        """Until there are enough diffs and all faults are over."""
        stop = asyncio.Event()
        writing = [asyncio.create_task(writer.work(stop)) for writer in self._writers]
        goal = asyncio.create_task(self.progress.reached(self.plan.diffs))
        faults = asyncio.create_task(self.injector.run(self.plan.faults))
        try:
            while not (goal.done() and faults.done()) and not all(task.done() for task in writing):
                done, _ = await asyncio.wait([goal, faults], timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
                watch(self)
                if self._complain_of_stuck() or any(task.exception() for task in done):
                    break
        finally:
            stop.set()
            for task in (goal, faults):
                task.cancel()
            ends = await asyncio.gather(faults, *writing, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    def _complain_of_stuck(self) -> bool:
        """Whether a client has made no progress for too long, although history grew and no fault was on."""
        now, quiet_since = monotonic(), self.injector.quiet_since
        stuck = [
            subscriber
            for subscriber in self.subscribers
            if subscriber.revision < self.progress.revision
            and now - max(quiet_since, subscriber.moved_at) > self.plan.timeout
        ]
        for subscriber in stuck:
            where = f"{subscriber.epoch}/{subscriber.revision}"
            subscriber.record.stuck.append(f"{subscriber.record.name} is at {where} for {self.plan.timeout:.0f} s")
        if now - max(quiet_since, self.progress.acknowledged_at) > self.plan.timeout:
            self.ledger.complaints.append(f"no writer was answered for {self.plan.timeout:.0f} s")
            return True
        return bool(stuck)

    async def _catch_up(self, following: Sequence[asyncio.Task[None]], watch: Callable[[Run], None]) -> None:
        """Until all are at the head, or those that are not have not moved for too long."""
        epoch, head = await self._head()
        begun = monotonic()
        while True:
            behind = [
                subscriber
                for subscriber, task in zip(self.subscribers, following, strict=True)
                if (subscriber.epoch, subscriber.revision) != (epoch, head) and not task.done()
            ]
            moved_at = max([begun, *(subscriber.moved_at for subscriber in behind)])
            if not behind or monotonic() - moved_at > self.plan.catch_up_timeout:
                return
            watch(self)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _head(self) -> tuple[str, int]:
        async with self._database.postgres.connected(self._database.name) as connection:
            row = await connection.fetchrow("SELECT epoch, revision FROM stream_head")
        return row["epoch"], row["revision"]

    async def _judged(self, moments: Sequence[float]) -> Outcome:
        """`moments`: the beginning, the last write, subscribers at the head, mesh nodes at the head."""
        begun, written, followed, ended = moments
        records = [subscriber.record for subscriber in self.subscribers]
        listings = [listing for record in records for listing in record.listings]
        urls = [self._database.postgres.url(name) for name in self._database.lives]
        histories = [await read_history(url, listings) for url in urls]
        arrivals = [arrival for subscriber in self.subscribers for arrival in subscriber.latencies]
        figures = Figures(
            ended - begun,
            followed - written,
            ended - followed,
            self.progress.diffs,
            len(self.ledger.acknowledged),
            self.progress.deliveries,
            self.progress.reconnects,
            self.progress.endings,
            len(histories),
            sum(node.tables for node in self._nodes),
            self.ledger.repeated,
            self.ledger.replayed,
            self.ledger.conflicts,
            sum(server.notifications.tampered for server in self._servers),
            latencies(arrivals, histories),
            self.injector.injected,
        )
        wrong = [
            Finding(Flaw.NODE_TABLE, difference)
            for node in self._nodes
            for difference in node.differences(histories[-1].table)
        ]
        return Outcome([*judge(records, self.ledger, histories), *wrong], figures)


@asynccontextmanager
async def running_postgres(folder: Path) -> AsyncIterator[Postgres]:
    postgres = Postgres(folder)
    await postgres.start()
    try:
        yield postgres
    finally:
        await postgres.stop()


async def run(
    plan: Plan,
    postgres: Postgres,
    folder: Path,
    *,
    name: str = "mesh",
    program: Sequence[str] = PROGRAM,
    watch: Callable[[Run], None] = lambda _: None,
) -> Outcome:
    """On a database of that name, new in `postgres`. What servers say is kept in `folder`."""
    database = MeshDatabase(postgres, name)
    await database.create()
    async with running_servers(plan.servers, database, folder, program) as servers:
        return await Run(plan, database, servers, folder).go(watch)
