"""Makes the faults happen, and measures how long it takes until diffs arrive again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

import asyncpg

from tests.chaos.database import MeshDatabase
from tests.chaos.faults import Fault, FaultKind
from tests.chaos.progress import Arrival, Progress
from tests.chaos.proxy import Proxy
from tests.chaos.servers import Server
from tests.chaos.subscribers import Subscriber

SILENCE_SECONDS: Final = 3.0
_ELSEWHERE: Final = "elsewhere"
_HOLD: Final = (
    "CREATE TABLE IF NOT EXISTS unrelated (id bigint)",
    "BEGIN",
    "INSERT INTO unrelated VALUES (1)",
)


@dataclass(slots=True)
class Injected:
    """One fault as it went. `recovery` is the time from when it struck to the first diff, committed after that, which
    arrived through what it struck; null if none did before the run ended. A stalled client is struck when it reads
    again, by all that came meanwhile; a dump, when it takes the place of what was there.
    """

    fault: Fault
    recovery: float | None = None
    over_at: float | None = None


class Injector:
    """`injected` are the faults that have struck so far."""

    def __init__(
        self,
        folder: Path,
        database: MeshDatabase,
        servers: Sequence[Server],
        subscribers: Sequence[Subscriber],
        progress: Progress,
    ) -> None:
        self.injected: list[Injected] = []
        self._folder = folder
        self._database = database
        self._servers = servers
        self._subscribers = subscribers
        self._progress = progress
        # Who dumps, restores or kills PostgreSQL does so alone: a killed pg_dump would prove nothing.
        self._postgres = asyncio.Lock()
        self._measuring: set[asyncio.Task[None]] = set()
        self._means: dict[FaultKind, Callable[[Injected], Awaitable[None]]] = {
            FaultKind.LISTENER_TERMINATED: self._terminate_listeners,
            FaultKind.NOTIFY_DROPPED: self._drop,
            FaultKind.NOTIFY_DOUBLED: self._double,
            FaultKind.DATABASE_HALF_OPEN: self._silence_database,
            FaultKind.CLIENTS_HALF_OPEN: self._silence_clients,
            FaultKind.TRANSACTION_HELD: self._hold,
            FaultKind.TRANSACTION_HELD_ELSEWHERE: self._hold_elsewhere,
            FaultKind.SERVER_KILLED: self._kill_server,
            FaultKind.POSTGRES_KILLED: self._kill_postgres,
            FaultKind.CLIENT_STALLED: self._stall,
            FaultKind.RESTORED: self._restore,
            FaultKind.DEPLOYED: self._deploy,
        }

    @property
    def quiet_since(self) -> float:
        """When the last fault ended; now, while one is on."""
        now = monotonic()
        return max((now if each.over_at is None else each.over_at for each in self.injected), default=0.0)

    async def run(self, faults: Sequence[Fault]) -> None:
        """Each when its time has come; several may be on at once. Returns when all are over."""
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await self._progress.reached(fault.after)
                group.create_task(self._inject(fault))

    async def stop_measuring(self) -> None:
        """What has not recovered by now will not be known to."""
        for task in self._measuring:
            task.cancel()
        await asyncio.gather(*self._measuring, return_exceptions=True)

    async def _inject(self, fault: Fault) -> None:
        injected = Injected(fault)
        self.injected.append(injected)
        try:
            await self._means[fault.kind](injected)
        finally:
            injected.over_at = monotonic()

    def _strike(self, injected: Injected) -> None:
        """From here on its recovery is measured."""
        measuring = self._measure(injected, self._sign_of_recovery(injected.fault))
        self._measuring.add(asyncio.create_task(measuring))

    async def _measure(self, injected: Injected, sign: Callable[[Arrival], bool]) -> None:
        struck_at = monotonic()
        await self._progress.arrived(sign)
        injected.recovery = monotonic() - struck_at

    def _sign_of_recovery(self, fault: Fault) -> Callable[[Arrival], bool]:
        epoch, revision = self._progress.epoch, self._progress.revision

        def later(arrival: Arrival) -> bool:
            return arrival.epoch != epoch or arrival.revision > revision

        server, subscriber = self._server(fault).number, self._subscriber(fault).number
        match fault.kind:
            case FaultKind.RESTORED:
                return lambda arrival: arrival.epoch != epoch
            case FaultKind.CLIENT_STALLED:
                return lambda arrival: later(arrival) and arrival.number == subscriber
            case (
                FaultKind.DATABASE_HALF_OPEN
                | FaultKind.CLIENTS_HALF_OPEN
                | FaultKind.SERVER_KILLED
                | FaultKind.DEPLOYED
                | FaultKind.NOTIFY_DROPPED
                | FaultKind.NOTIFY_DOUBLED
            ):
                return lambda arrival: later(arrival) and arrival.server == server
            case _:
                return later

    def _server(self, fault: Fault) -> Server:
        return self._servers[fault.victim % len(self._servers)]

    def _subscriber(self, fault: Fault) -> Subscriber:
        return self._subscribers[fault.victim % len(self._subscribers)]

    async def _passed(self, injected: Injected) -> None:
        await self._progress.reached(self._progress.diffs + injected.fault.lasts)

    async def _terminate_listeners(self, injected: Injected) -> None:
        async with self._postgres:
            self._strike(injected)
            await self._database.end_listeners()

    async def _drop(self, injected: Injected) -> None:
        await self._tamper(injected, 0)

    async def _double(self, injected: Injected) -> None:
        await self._tamper(injected, 2)

    async def _tamper(self, injected: Injected, copies: int) -> None:
        notifications = self._server(injected.fault).notifications
        self._strike(injected)
        notifications.copies = copies
        await self._passed(injected)
        notifications.copies = 1

    async def _silence_database(self, injected: Injected) -> None:
        await self._silence(injected, self._server(injected.fault).database)

    async def _silence_clients(self, injected: Injected) -> None:
        await self._silence(injected, self._server(injected.fault).clients)

    async def _silence(self, injected: Injected, proxy: Proxy) -> None:
        async with self._server(injected.fault).lock:
            self._strike(injected)
            proxy.go_silent()
            await asyncio.sleep(SILENCE_SECONDS)
            proxy.speak()

    async def _hold(self, injected: Injected) -> None:
        await self._hold_in(self._database.name, injected)

    async def _hold_elsewhere(self, injected: Injected) -> None:
        async with self._postgres, self._database.postgres.connected() as connection:
            with suppress(asyncpg.DuplicateDatabaseError):
                await connection.execute(f"CREATE DATABASE {_ELSEWHERE}")
        await self._hold_in(_ELSEWHERE, injected)

    async def _hold_in(self, database: str, injected: Injected) -> None:
        """A transaction that has written, and stays open; a later fault may end it early."""
        async with self._postgres:
            connection = await asyncpg.connect(self._database.postgres.url(database))
            for statement in _HOLD:
                await connection.execute(statement)
        try:
            self._strike(injected)
            await self._passed(injected)
        finally:
            connection.terminate()

    async def _kill_server(self, injected: Injected) -> None:
        server = self._server(injected.fault)
        async with server.lock, self._postgres:
            self._strike(injected)
            await server.kill()

    async def _kill_postgres(self, injected: Injected) -> None:
        async with self._postgres:
            self._strike(injected)
            await self._database.postgres.kill()

    async def _stall(self, injected: Injected) -> None:
        reading = self._subscriber(injected.fault).reading
        reading.clear()
        try:
            await self._passed(injected)
        finally:
            self._strike(injected)
            reading.set()

    async def _restore(self, injected: Injected) -> None:
        """What is committed between dump and restore is gone from the table, and its revisions are issued again."""
        file = self._folder / "mesh.dump"
        async with self._postgres:
            await self._database.dump(file)
        await self._passed(injected)
        async with self._postgres:
            await self._database.restore(file, lambda: self._strike(injected))
        file.unlink()

    async def _deploy(self, injected: Injected) -> None:
        server = self._server(injected.fault)
        async with server.lock, self._postgres:
            old = await server.succeed()
            self._strike(injected)
            await server.retire(old)
