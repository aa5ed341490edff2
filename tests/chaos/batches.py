"""Part of `make chaos`: servers and PostgreSQL killed, and servers frozen, in the middle of batches.

Writers change few shards at a time, so that what arrives together is committed together, over two servers and partly
the same shards. Afterwards: acknowledged is recorded, no change is half there, each idempotency key of a request that
was answered is answered the same again, and the audit log verifies. How long a writer on the other server waits while
one is frozen, or makes a change of thousands of shards, is printed beside what it waits without.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import Any, Final, TypeAlias

import uvloop
from rich.console import Console
from rich.table import Table

from persistence.postgres.audit.verify import verify
from tests.chaos.database import MeshDatabase, Postgres
from tests.chaos.harness import running_postgres
from tests.chaos.history import read_history
from tests.chaos.interrupts import stop_like_ctrl_c
from tests.chaos.progress import Progress
from tests.chaos.records import Acknowledged, Ledger
from tests.chaos.requests import Asker
from tests.chaos.servers import Server, running_servers
from tests.chaos.verdict import Finding, Flaw, judge
from tests.chaos.watches import NAMESPACES
from tests.chaos.writers import Writer, prepare

WRITERS: Final = 24
LARGEST: Final = 3
"""Shards in a change."""
CHANGES_BETWEEN: Final = 25
CHANGES_WHILE_FROZEN: Final = 20
_BULK_SECONDS: Final = 60
_WITNESS_SECONDS: Final = 60
"""At most: by then no writer of the other server was answered."""
_LOOK_SECONDS: Final = 0.01
_ANSWER: Final = "__typename ... on Refusal { message } ... on ShardsChanged { change { id } replayed }"
_CREATE: Final = f"mutation ($input: CreateShardsInput!) {{ createShards(input: $input) {{ {_ANSWER} }} }}"
_UPDATE: Final = f"mutation ($input: UpdateShardsInput!) {{ updateShards(input: $input) {{ {_ANSWER} }} }}"


class Blow(StrEnum):
    SERVER_KILLED = "server killed"
    POSTGRES_KILLED = "PostgreSQL killed"
    SERVER_FROZEN = "server frozen"
    BULK = "change of many shards"


@dataclass(frozen=True, slots=True)
class Plan:
    """`blows` is how often each is dealt; `bulk` is how many shards the large change has."""

    seed: int
    blows: Mapping[Blow, int]
    bulk: int = 10_000


@dataclass(slots=True)
class Outcome:
    """`waits` are the longest of the other server's writer in seconds, one a blow; of null: while nothing was on."""

    findings: list[Finding] = field(default_factory=list)
    waits: dict[Blow | None, list[float]] = field(default_factory=dict)
    changes: int = 0
    repeated: int = 0
    replayed: int = 0
    conflicts: int = 0
    asked_again: int = 0

    def shown(self) -> Table:
        table = Table("blow", "times", "a writer of the other server waits: median, ms", "longest, ms")
        for blow, waits in self.waits.items():
            ordered = [f"{wait * 1_000:,.0f}" for wait in sorted(waits)]
            table.add_row(blow or "none", str(len(waits)), ordered[len(ordered) // 2], ordered[-1])
        table.caption = (
            f"{self.changes:,} changes acknowledged, {self.conflicts:,} conflicts; {self.repeated:,} requests "
            f"repeated, {self.replayed:,} of them answered with what was done before; {self.asked_again:,} keys asked "
            "again"
        )
        return table


_Made: TypeAlias = tuple[str, Mapping[str, Any], Acknowledged]
"""Document and input of a request, and what it was acknowledged as."""


class _KeyedWriter(Writer):
    """Remembers each request that made a change, to send it again."""

    made: list[_Made]

    async def _request(self, document: str, shards: Sequence[Mapping[str, Any]]) -> dict[str, int] | None:
        versions = await super()._request(document, shards)
        if versions is not None:
            last = self._ledger.acknowledged[-1]  # appended since the answer came, without a wait
            change = {"actor": self._actor, "reason": "chaos", "idempotencyKey": last.key}
            self.made.append((document, {"shards": shards, "change": change}, last))
        return versions


class _Witness(_KeyedWriter):
    """Measures how long it waits for each answer, attempts that have to be repeated included."""

    answers: int = 0
    _longest: float = 0.0
    _since: float = 0.0
    _begun: float | None = None

    def begin(self) -> None:
        """What it has waited before belongs to what was done then."""
        self._longest, self._since = 0.0, monotonic()

    def longest(self) -> float:
        """In seconds since `begin`, of the answer that it still waits for too."""
        return max(self._longest, 0.0 if self._begun is None else self._waited(self._begun))

    async def _request(self, document: str, shards: Sequence[Mapping[str, Any]]) -> dict[str, int] | None:
        self._begun = monotonic()
        versions = await super()._request(document, shards)
        self._longest, self._begun = max(self._longest, self._waited(self._begun)), None
        self.answers += 1
        return versions

    def _waited(self, begun: float) -> float:
        return monotonic() - max(begun, self._since)


class _Run:
    def __init__(self, plan: Plan, database: MeshDatabase, servers: Sequence[Server]) -> None:
        addresses = [server.address for server in servers]
        self._plan = plan
        self._database = database
        self._servers = servers
        self._randomness = random.Random(f"batches {plan.seed}")
        self._ledger = Ledger()
        progress = Progress()
        made: list[_Made] = []
        self._writers = [
            _KeyedWriter(number, plan.seed, LARGEST, addresses, progress, self._ledger) for number in range(WRITERS)
        ]
        self._witness = _Witness(WRITERS, plan.seed, 1, addresses[1:], progress, self._ledger)
        for writer in (*self._writers, self._witness):
            writer.made = made
        self._made = made
        self._asker = Asker(addresses, random.Random(f"asker {plan.seed}"))
        self._bulk = Asker(addresses[:1], random.Random(f"bulk {plan.seed}"), _BULK_SECONDS)
        self._outcome = Outcome(waits={None: []})

    async def go(self) -> Outcome:
        await prepare([server.address for server in self._servers])
        await self._create_many()
        stop = asyncio.Event()
        writing = [asyncio.create_task(writer.work(stop)) for writer in (*self._writers, self._witness)]
        try:
            for blow in self._blows():
                await self._more(len(self._ledger.acknowledged) + CHANGES_BETWEEN, writing)
                await self._deal(blow)
        finally:
            stop.set()
            ends = await asyncio.gather(*writing, return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        await self._ask_again()
        await asyncio.gather(self._asker.aclose(), self._bulk.aclose())
        return await self._judged()

    def _blows(self) -> Sequence[Blow]:
        blows = [blow for blow, count in self._plan.blows.items() for _ in range(count)]
        self._randomness.shuffle(blows)
        return blows

    async def _more(self, changes: int, writing: Sequence[asyncio.Task[None]]) -> None:
        self._witness.begin()
        while len(self._ledger.acknowledged) < changes and not all(task.done() for task in writing):  # noqa: ASYNC110 - others append
            await asyncio.sleep(_LOOK_SECONDS)
        self._outcome.waits[None].append(self._witness.longest())

    async def _deal(self, blow: Blow) -> None:
        # Anywhere in a batch: they follow one another every few milliseconds.
        await asyncio.sleep(self._randomness.uniform(0, 0.05))
        self._witness.begin()
        match blow:
            case Blow.SERVER_KILLED:
                await self._randomness.choice(self._servers).kill()
                await self._witnessed(1)
            case Blow.POSTGRES_KILLED:
                await self._database.postgres.kill()
                # Else what follows would be measured by a server that has not found its database yet: others write
                # enough for the next blow meanwhile.
                await self._witnessed(1)
            case Blow.SERVER_FROZEN:
                await self._freeze()
            case Blow.BULK:
                await self._change_many()
        self._outcome.waits.setdefault(blow, []).append(self._witness.longest())

    async def _freeze(self) -> None:
        pid = self._servers[0].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            await self._witnessed(CHANGES_WHILE_FROZEN)
        finally:
            os.kill(pid, signal.SIGCONT)

    async def _witnessed(self, answers: int) -> None:
        """Until the witness has been answered as often again, those that it waits for now not counted."""
        goal = self._witness.answers + answers + 1
        async with asyncio.timeout(_WITNESS_SECONDS):
            while self._witness.answers < goal:  # noqa: ASYNC110 - another process answers
                await asyncio.sleep(_LOOK_SECONDS)

    def _many(self, **fields: object) -> Sequence[Mapping[str, object]]:
        return [
            {"namespace": NAMESPACES[0], "shardId": f"many-{number:05}", **fields} for number in range(self._plan.bulk)
        ]

    async def _create_many(self) -> None:
        if self._plan.blows.get(Blow.BULK):
            change = {"actor": "chaos", "reason": "many", "idempotencyKey": "many"}
            await self._bulk.ask(_CREATE, input={"shards": self._many(ownerNodeId="node-a"), "change": change})

    async def _change_many(self) -> None:
        times = len(self._outcome.waits.get(Blow.BULK, ())) + 1
        change = {"actor": "chaos", "reason": "many", "idempotencyKey": f"many {times}"}
        shards = self._many(expectedVersion=times, ownerNodeId=f"node-{times}")
        answer = await self._bulk.ask(_UPDATE, input={"shards": shards, "change": change})
        if answer["__typename"] != "ShardsChanged":
            self._ledger.complaints.append(f"the change of many shards was answered {answer}")

    async def _ask_again(self) -> None:
        """Every request that was acknowledged: whoever lost the answer would."""
        left = iter(self._made)
        await asyncio.gather(*(self._ask_each(left) for _ in self._writers))

    async def _ask_each(self, requests: Iterator[_Made]) -> None:
        for document, given, acknowledged in requests:
            answer = await self._asker.ask(document, input=given)
            change_id = int(answer["change"]["id"]) if answer["__typename"] == "ShardsChanged" else None
            if change_id != acknowledged.change_id or not answer["replayed"]:
                finding = f"{acknowledged} is answered {answer} when it is asked again"
                self._outcome.findings.append(Finding(Flaw.UNASKED_WRITE, finding))
            self._outcome.asked_again += 1

    async def _judged(self) -> Outcome:
        url = self._database.postgres.url(self._database.name)
        outcome = self._outcome
        outcome.findings += judge([], self._ledger, [await read_history(url, [])])
        verdict = await verify(url)
        outcome.findings += [Finding(Flaw.HISTORY, f"audit verify: {found}") for found in verdict.findings.listed[:3]]
        outcome.changes, outcome.conflicts = len(self._ledger.acknowledged), self._ledger.conflicts
        outcome.repeated, outcome.replayed = self._ledger.repeated, self._ledger.replayed
        return outcome


async def run(plan: Plan, postgres: Postgres, folder: Path) -> Outcome:
    """On a new database of that PostgreSQL, with two servers."""
    database = MeshDatabase(postgres, "batches")
    await database.create()
    async with running_servers(2, database, folder) as servers:
        return await _Run(plan, database, servers).go()


async def _perform(plan: Plan, folder: Path) -> Outcome:
    async with running_postgres(folder / "postgresql") as postgres:
        return await run(plan, postgres, folder)


def main() -> int:
    stop_like_ctrl_c()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.batches", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="of the run to replay; by default a new one")
    parser.add_argument("--rounds", type=int, default=50, help="of each kind; a tenth of bulk (default: %(default)s)")
    chosen = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if chosen.seed is None else chosen.seed
    messages = Console(stderr=True)
    messages.print(f"batches, seed {seed}")
    blows = dict.fromkeys(Blow, chosen.rounds) | {Blow.BULK: -(-chosen.rounds // 10)}
    with tempfile.TemporaryDirectory(prefix="omnirelay-batches-") as folder:
        outcome = uvloop.run(_perform(Plan(seed, blows), Path(folder)))
    Console(width=None if sys.stdout.isatty() else 120).print(outcome.shown())
    for finding in outcome.findings[:20]:
        messages.print(str(finding), style="red", highlight=False)
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
