"""One run: a database, servers, clients, faults; then the verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from persistence.postgres.audit.verify import verify
from tests.chaos.database import MeshDatabase, Postgres
from tests.chaos.servers import Server, running_servers
from tests.linearizability.clients import NAMESPACE, Client, prepare
from tests.linearizability.comparison import Finding, Flaw
from tests.linearizability.faults import Fault, Injector
from tests.linearizability.figures import Figures, figures_of
from tests.linearizability.history import read_history
from tests.linearizability.journal import Journal, ReadMode
from tests.linearizability.verdict import judge
from tests.support.fork_server import PROGRAM

_LOOK_SECONDS: Final = 0.2
_PAUSE_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run consists of. The same plan gives the same clients and faults. It lasts for so many seconds, and until
    all faults are over and at least so many operations have been done: a busy machine does few in a second. A server
    that does not answer within `timeout` seconds of the end, when no fault is on, counts as stuck.
    """

    seed: int
    seconds: float
    operations: int = 0
    faults: Sequence[Fault] = ()
    clients: int = 8
    shards: int = 5
    servers: int = 3
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    findings: Sequence[Finding]
    figures: Figures
    journal: Journal


class Run:
    """`watch` is called several times a second with how far it is."""

    def __init__(self, plan: Plan, database: MeshDatabase, servers: Sequence[Server]) -> None:
        self.plan = plan
        self.journal = Journal()
        self.injector = Injector(database, servers)
        self._database = database
        self._addresses = [server.address for server in servers]
        self._shards = [f"r{number}" for number in range(plan.shards)]

    async def go(self, watch: Callable[[Run], None]) -> Outcome:
        await prepare(self._addresses, self.journal)
        begun = monotonic()
        await self._work(watch)
        worked = monotonic()
        stuck = await self._settle()
        settled = monotonic()
        url = self._database.postgres.url(self._database.name)
        history = await read_history(url, NAMESPACE)
        verified = await verify(url, processes=1)
        findings = [
            *stuck,
            *judge(self.journal, history),
            *(Finding(Flaw.HISTORY, f"audit verify: {finding}") for finding in verified.findings.listed),
        ]
        moments = (worked - begun, settled - worked, monotonic() - settled)
        kinds = [fault.kind for fault in self.injector.struck]
        return Outcome(findings, figures_of(self.journal, history, kinds, moments), self.journal)

    async def _work(self, watch: Callable[[Run], None]) -> None:
        """Until the time is over, all faults are, and enough has been done."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(self.plan.clients):
                client = Client(number, self.plan.seed, self._shards, self._addresses, self.journal)
                group.create_task(client.work(stop))
            faults = group.create_task(self.injector.run(self.plan.faults))
            end = monotonic() + self.plan.seconds
            while monotonic() < end or not faults.done() or self.journal.operations < self.plan.operations:
                await asyncio.sleep(_LOOK_SECONDS)  # clients count in the journal, which has no event
                watch(self)
            stop.set()

    async def _settle(self) -> list[Finding]:
        """Every server answers again, with all that any client was sent."""
        reader = Client(self.plan.clients, self.plan.seed, self._shards, self._addresses, self.journal)

        async def settled(server: int) -> None:
            while not await reader.look(server, ReadMode.LATEST, self._shards):  # noqa: ASYNC110 - a process has no event
                await asyncio.sleep(_PAUSE_SECONDS)

        findings = []
        try:
            for server in range(self.plan.servers):
                try:
                    await asyncio.wait_for(settled(server), self.plan.timeout)
                except TimeoutError:
                    findings.append(Finding(Flaw.STUCK, f"server {server} does not answer {self.plan.timeout:.0f} s"))
        finally:
            await reader.aclose()
        return findings


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
        return await Run(plan, database, servers).go(watch)
