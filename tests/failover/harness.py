"""One run: a cluster, two servers, writers, readers and subscribers, rounds of faults; then the verdict."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Final

from tests.chaos.progress import Progress
from tests.chaos.records import Acknowledged, Ledger
from tests.chaos.subscribers import Subscriber
from tests.chaos.transports import over_websocket
from tests.chaos.watches import WATCHES
from tests.chaos.writers import prepare
from tests.failover.clients import Reader, SteadyWriter
from tests.failover.cluster import Cluster, ClusterError, Node
from tests.failover.faults import FaultKind, Struck, strike
from tests.failover.history import Lost, read_branches
from tests.failover.installation import ROOT, Installation
from tests.failover.servers import PROGRAM, Server, running_servers
from tests.failover.verdict import (
    LEFT_BEHIND_SECONDS,
    Finding,
    Flaw,
    Position,
    Promotion,
    Told,
    judge,
    mismatches,
)

_SERVERS: Final = 2
_LOOK_SECONDS: Final = 0.1
_WRITE_SECONDS: Final = 60.0
_HEALTHY_SECONDS: Final = 120.0
_CATCH_UP_SECONDS: Final = 60.0
_BATCHES: Final = 200
"""After how many a subscriber leaves and comes back, at the latest."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Of the writers, one is bound to each server, and the others ask either."""

    seed: int
    kinds: Sequence[FaultKind]
    writers: int = 4
    subscribers: int = 20


@dataclass(frozen=True, slots=True)
class Figures:
    """One round, in seconds. `no_primary` is from the fault until a node was primary again; from then on count
    `writes_after`, until the slower server wrote, `subscribers_after`, until all of them had that write, and
    `healthy_after`, until three nodes streamed. `no_writes` is the longest that a writer was not answered, `unready`
    how long the slower server's `/readyz` was not 200. `lost` counts the revisions that died with the old primary.
    """

    number: int
    kind: FaultKind
    promotion: str
    no_primary: float
    writes_after: float | None
    no_writes: float
    subscribers_after: float | None
    unready: float
    healthy_after: float
    mismatches: int
    lost: int


@dataclass(frozen=True, slots=True)
class Outcome:
    findings: Sequence[Finding]
    rounds: Sequence[Figures]
    acknowledged: int
    repeated: int
    replayed: int
    deliveries: int
    subscriptions: int
    reads: int


class Run:
    """`watch` is called when a round begins and when it is over."""

    def __init__(self, plan: Plan, cluster: Cluster, servers: Sequence[Server], watch: Callable[[str], None]) -> None:
        addresses = [server.address for server in servers]
        self._plan = plan
        self._cluster = cluster
        self._servers = servers
        self._watch = watch
        self._progress = Progress()
        self._writers = [
            SteadyWriter(number, plan.seed, addresses[number : number + 1] or addresses, self._progress)
            for number in range(plan.writers)
        ]
        self._readers = [Reader(number, address, self._progress) for number, address in enumerate(addresses)]
        self._subscribers = [
            Subscriber(
                number, plan.seed, WATCHES[number % len(WATCHES)], over_websocket, _BATCHES, addresses, self._progress
            )
            for number in range(plan.subscribers)
        ]
        self._promotions: list[Promotion] = []
        self._figures: list[Figures] = []
        self._lost: list[tuple[Lost, bool]] = []
        self._findings: list[Finding] = []

    async def go(self) -> Outcome:
        await prepare([server.address for server in self._servers])
        stop = asyncio.Event()
        following = [asyncio.create_task(subscriber.follow()) for subscriber in self._subscribers]
        working = [
            *(asyncio.create_task(writer.work(stop)) for writer in self._writers),
            *(asyncio.create_task(reader.work(stop)) for reader in self._readers),
        ]
        try:
            for number, kind in enumerate(self._plan.kinds, start=1):
                try:
                    await self._round(number, kind)
                except ClusterError as error:
                    self._findings.append(Finding(Flaw.STUCK, f"round {number} ({kind}): {error}"))
                    break
            stop.set()
            await asyncio.wait(working, timeout=_WRITE_SECONDS)
            leader = await self._cluster.healthy(_HEALTHY_SECONDS)
            head = max(write.revision for writer in self._writers for write in writer.ledger.acknowledged)
            await self._caught_up(lambda subscriber: subscriber.revision == head)
        finally:
            for task in (*following, *working):
                task.cancel()
            ends = await asyncio.gather(*following, *working, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end
        return await self._outcome(leader)

    async def _round(self, number: int, kind: FaultKind) -> None:
        primary = await self._cluster.healthy(_HEALTHY_SECONDS)
        positions: list[Position] = []
        replayed = self._replayed
        name = f"{number} ({kind})"
        self._watch(f"round {number} of {len(self._plan.kinds)}: {kind}")
        begun = monotonic()

        def dead() -> None:
            """What has been acknowledged until now says nothing about the revisions that come."""
            positions.extend(Position(each.number, each.revision) for each in self._subscribers)
            self._progress.revision = 0

        struck = await strike(kind, self._cluster, primary, dead)
        writes = await self._write_again(struck.serves_at)
        reached = self._progress.revision
        caught_up = await self._caught_up(lambda subscriber: subscriber.revision >= reached)
        subscribers_after = monotonic() - struck.serves_at if caught_up else None
        if struck.returns is not None:
            await struck.returns()
        leader = await self._cluster.healthy(_HEALTHY_SECONDS)
        healthy_at = monotonic()
        if kind is FaultKind.RETURNED and self._replayed == replayed:
            sentence = f"round {name}: no request was answered with what was done before, so it shows nothing"
            self._findings.append(Finding(Flaw.NOTHING_REPLAYED, sentence))
        fork = None
        if struck.lost is not None:
            self._lost.append((struck.lost, kind is FaultKind.LOST))
            fork = struck.lost.fork if kind is FaultKind.LOST else None
        promoted = struck.promoted is not None
        fresh_at = struck.serves_at + LEFT_BEHIND_SECONDS if kind is FaultKind.ORPHANED else 0.0
        promotion = Promotion(name, begun, struck.serves_at, monotonic(), promoted, writes, fork, positions, fresh_at)
        self._promotions.append(promotion)
        self._figures.append(
            self._measured(number, kind, primary, leader, struck, promotion, subscribers_after, healthy_at)
        )
        self._watch(_summary(self._figures[-1], self._plan.subscribers))

    @property
    def _replayed(self) -> int:
        return sum(writer.ledger.replayed for writer in self._writers)

    def _measured(
        self,
        number: int,
        kind: FaultKind,
        primary: Node,
        leader: Node,
        struck: Struck,
        promotion: Promotion,
        subscribers_after: float | None,
        healthy_at: float,
    ) -> Figures:
        known = [seconds for seconds in promotion.writes_after if seconds is not None]
        return Figures(
            number,
            kind,
            f"{primary.name} -> {leader.name}" if leader is not primary else primary.name,
            struck.serves_at - struck.at,
            max(known) if len(known) == len(promotion.writes_after) else None,
            max(_longest_gap(writer.acknowledged, struck.at, promotion.over_at) for writer in self._writers),
            subscribers_after,
            max(server.unready_seconds(struck.at, promotion.over_at) for server in self._servers),
            healthy_at - struck.serves_at,
            mismatches(promotion, [subscriber.record for subscriber in self._subscribers]),
            0 if struck.lost is None else len(struck.lost.rows),
        )

    async def _write_again(self, since: float) -> list[float | None]:
        """When each server acknowledged a write after that, in seconds; None if it did not in a minute."""
        bound = self._writers[: len(self._servers)]

        while any(not writer.acknowledged or writer.acknowledged[-1] <= since for writer in bound):
            if monotonic() - since > _WRITE_SECONDS:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        return [_first_after(writer.acknowledged, since) for writer in bound]

    async def _caught_up(self, there: Callable[[Subscriber], bool]) -> bool:
        """Whether all subscribers were in time that have not been refused; the verdict names those that never were."""
        begun = monotonic()
        while not all(there(each) or each.record.complaints for each in self._subscribers):
            if monotonic() - begun > _CATCH_UP_SECONDS:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        return True

    async def _outcome(self, leader: Node) -> Outcome:
        records = [subscriber.record for subscriber in self._subscribers]
        ledger = _together([writer.ledger for writer in self._writers])
        ledger.complaints += [complaint for reader in self._readers for complaint in reader.complaints]
        reads = [read for reader in self._readers for read in reader.reads]
        listings = [listing for reader in self._readers for listing in reader.listings]
        told = Told(ledger, records, reads, listings)
        of_records = [listing for record in records for listing in record.listings]
        branches = await read_branches(leader.url(), self._lost, [*listings, *of_records])
        died = [
            Finding(Flaw.DIED, f"server {server.number}; it said:\n{server.last_words()}")
            for server in self._servers
            if not server.running
        ]
        audit = [Finding(Flaw.AUDIT, said) for said in await _audited(self._cluster.url())]
        return Outcome(
            [*self._findings, *judge(told, branches, self._promotions), *died, *audit],
            self._figures,
            len(ledger.acknowledged),
            ledger.repeated,
            ledger.replayed,
            self._progress.deliveries,
            self._progress.reconnects,
            len(reads),
        )


def _summary(figures: Figures, subscribers: int) -> str:
    writes = "never" if figures.writes_after is None else f"{figures.writes_after:.1f} s"
    return (
        f"  {figures.promotion}, a primary after {figures.no_primary:.1f} s, writes {writes} later, "
        f"{figures.mismatches} of {subscribers} cursors refused, {figures.lost} revisions lost, "
        f"well after {figures.healthy_after:.0f} s"
    )


def _together(ledgers: Sequence[Ledger]) -> Ledger:
    acknowledged: list[Acknowledged] = [write for ledger in ledgers for write in ledger.acknowledged]
    return Ledger(
        acknowledged,
        [complaint for ledger in ledgers for complaint in ledger.complaints],
        sum(ledger.conflicts for ledger in ledgers),
        sum(ledger.repeated for ledger in ledgers),
        sum(ledger.replayed for ledger in ledgers),
    )


def _first_after(moments: Sequence[float], since: float) -> float | None:
    return next((moment - since for moment in moments if moment > since), None)


def _longest_gap(moments: Sequence[float], begun: float, ended: float) -> float:
    inside = [begun, *(moment for moment in moments if begun < moment < ended), ended]
    return max(later - earlier for earlier, later in pairwise(inside))


async def _audited(url: str) -> list[str]:
    """What `audit verify` and `audit check` find fault with."""
    wrong = []
    for command in ("verify", "check"):
        process = await omnirelay("mesh", "audit", command, "--database-url", url)
        said, _ = await process.communicate()
        if process.returncode:
            wrong.append(f"{command} ended with {process.returncode}: {said.decode(errors='replace')[-1_000:]}")
    return wrong


async def omnirelay(*arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, *PROGRAM, *arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def run(plan: Plan, installation: Installation, folder: Path, watch: Callable[[str], None]) -> Outcome:
    """`folder` belongs to the installation's owner; data and logs are kept in it."""
    async with Cluster(folder, installation, plan.seed).running() as cluster:
        process = await omnirelay("db", "upgrade", "--database-url", cluster.url())
        said, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"db upgrade ended with {process.returncode}: {said.decode(errors='replace')}")
        async with running_servers([cluster.url(number) for number in range(_SERVERS)], folder) as servers:
            return await Run(plan, cluster, servers, watch).go()
