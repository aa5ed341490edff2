"""What goes wrong and when, as a pure function of the seed, and how it is made to happen."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import asyncpg

from tests.chaos.database import MeshDatabase
from tests.chaos.proxy import Proxy
from tests.chaos.servers import Server

_BACKENDS: Final = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = $1 AND backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY state = 'idle', pid
"""
_SETTLE_SECONDS: Final = 60.0


class FaultKind(StrEnum):
    SERVER_KILLED = "server killed"
    SERVER_FROZEN = "server frozen"
    BACKENDS_TERMINATED = "backends terminated"
    BACKEND_KILLED = "backend killed"
    POSTGRES_KILLED = "PostgreSQL killed"
    DATABASE_STALLED = "stalled to PostgreSQL"
    DATABASE_CUT = "cut to PostgreSQL"
    CLIENTS_STALLED = "stalled to clients"
    CLIENTS_CUT = "cut to clients"


@dataclass(frozen=True, slots=True)
class Fault:
    """Strikes so many seconds after the beginning; what lasts, lasts for `lasts`. `victim` picks a server, or a
    connection, modulo how many there are."""

    kind: FaultKind
    at: float
    lasts: float
    victim: int


def schedule(seed: int, seconds: float, rounds: int, kinds: Sequence[FaultKind] = tuple(FaultKind)) -> list[Fault]:
    """Every kind once a round, in another order each round, spread over nine tenths of the time."""
    randomness = random.Random(f"faults {seed}")
    order = [kind for _ in range(rounds) for kind in randomness.sample(kinds, len(kinds))]
    step = seconds * 0.9 / max(1, len(order))
    return [
        Fault(
            kind,
            at=step * (place + randomness.uniform(0, 0.5)),
            lasts=randomness.uniform(0.2, 2.5),
            victim=randomness.randrange(1_000_000),
        )
        for place, kind in enumerate(order)
    ]


class Injector:
    """`struck` are the faults that have struck so far."""

    def __init__(self, database: MeshDatabase, servers: Sequence[Server]) -> None:
        self.struck: list[Fault] = []
        self._database = database
        self._servers = servers
        # A server that starts needs PostgreSQL, so neither is killed while the other comes back.
        self._starting = asyncio.Lock()
        self._means: dict[FaultKind, Callable[[Fault], Awaitable[None]]] = {
            FaultKind.SERVER_KILLED: self._kill_server,
            FaultKind.SERVER_FROZEN: self._freeze,
            FaultKind.BACKENDS_TERMINATED: self._terminate_backends,
            FaultKind.BACKEND_KILLED: self._kill_backend,
            FaultKind.POSTGRES_KILLED: self._kill_postgres,
            FaultKind.DATABASE_STALLED: lambda fault: self._stall(fault, self._server(fault).database),
            FaultKind.DATABASE_CUT: lambda fault: self._cut(self._server(fault).database),
            FaultKind.CLIENTS_STALLED: lambda fault: self._stall(fault, self._server(fault).clients),
            FaultKind.CLIENTS_CUT: lambda fault: self._cut(self._server(fault).clients),
        }

    async def run(self, faults: Sequence[Fault]) -> None:
        """Each at its time; several may be on at once. Returns when all are over."""
        begun = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, begun + fault.at - asyncio.get_running_loop().time()))
                group.create_task(self._inject(fault))

    async def _inject(self, fault: Fault) -> None:
        await self._means[fault.kind](fault)
        self.struck.append(fault)

    def _server(self, fault: Fault) -> Server:
        return self._servers[fault.victim % len(self._servers)]

    async def _kill_server(self, fault: Fault) -> None:
        server = self._server(fault)
        async with server.lock, self._starting:
            await server.kill()

    async def _freeze(self, fault: Fault) -> None:
        server = self._server(fault)
        async with server.lock:
            os.kill(server.pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(fault.lasts)
            finally:
                os.kill(server.pid, signal.SIGCONT)

    async def _stall(self, fault: Fault, proxy: Proxy) -> None:
        async with self._server(fault).lock:
            proxy.go_silent()
            await asyncio.sleep(fault.lasts)
            proxy.speak()

    async def _cut(self, proxy: Proxy) -> None:
        proxy.cut()

    async def _terminate_backends(self, fault: Fault) -> None:
        """Half of them, those at work first."""
        async with self._starting, self._database.postgres.connected(self._database.name) as connection:
            backends = [row["pid"] for row in await connection.fetch(_BACKENDS, self._database.name)]
            chosen = random.Random(fault.victim).sample(backends, len(backends) // 2)
            await connection.execute("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid", chosen)

    async def _kill_backend(self, fault: Fault) -> None:
        """kill -9: the postmaster ends all others, and recovers."""
        async with self._starting:
            async with self._database.postgres.connected(self._database.name) as connection:
                backends = [row["pid"] for row in await connection.fetch(_BACKENDS, self._database.name)]
                if backends:
                    os.kill(backends[fault.victim % min(3, len(backends))], signal.SIGKILL)
            await self._answers()

    async def _kill_postgres(self, _: Fault) -> None:
        async with self._starting:
            await self._database.postgres.kill()

    async def _answers(self) -> None:
        """Until PostgreSQL has recovered."""
        async with asyncio.timeout(_SETTLE_SECONDS):
            while True:
                with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await self._database.execute("SELECT 1")
                    return
                await asyncio.sleep(0.05)
