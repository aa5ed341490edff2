"""A PostgreSQL of a test's own, for what cannot be done to the one that all tests share."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import asyncpg

from graph.embedded_postgres.server import EmbeddedPostgres, start_embedded_postgres
from migrations import upgrade

_SETTINGS: Final = {"fsync": "off", "full_page_writes": "off"}
ABSENT: Final = "absent"
"""A standby that never comes."""


@dataclass
class OwnPostgres:
    folder: Path
    _server: EmbeddedPostgres

    @classmethod
    def start(cls, folder: Path) -> Self:
        return cls(folder, start_embedded_postgres(folder, settings=_SETTINGS))

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def pid(self) -> int:
        return self._server.postmaster_pid

    @property
    def cluster(self) -> Path:
        return self.folder / "postgres" / "cluster"

    def stop(self) -> None:
        self._server.stop()

    def restart(self) -> None:
        """After `stop` or `kill`."""
        self._server.stop()
        self._server = start_embedded_postgres(self.folder, settings=_SETTINGS)

    def kill_and_restart(self) -> None:
        """Crash recovery: the server is there again, at the same address."""
        before = self._server
        os.kill(before.postmaster_pid, signal.SIGKILL)
        self._server = start_embedded_postgres(self.folder, settings=_SETTINGS)
        before.stop()

    def copy_to(self, folder: Path) -> OwnPostgres:
        """What a base backup of a stopped server is. Starts it."""
        subprocess.run(["/bin/cp", "-a", self.folder, folder], check=True)  # noqa: S603 - our own folders
        return OwnPostgres.start(folder)

    async def promote(self) -> None:
        """Make it a standby without a primary, and promote that: a new timeline of the same system."""
        await asyncio.to_thread(self.stop)
        mark = self.cluster / "standby.signal"
        mark.touch()
        facts = self.cluster.stat()
        os.chown(mark, facts.st_uid, facts.st_gid)
        await asyncio.to_thread(self.restart)
        await self.sql("SELECT pg_promote()")

    async def sql(self, statement: str, *values: Any) -> Any:
        """By the driver as it comes: what any other client sees."""
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetchval(statement, *values)
        finally:
            await connection.close()

    async def set_standby(self, name: str) -> None:
        """Have commits wait for the standby of that name; none if it is empty."""
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
            await connection.execute("SELECT pg_reload_conf()")
            while await connection.fetchval("SHOW synchronous_standby_names") != name:
                pass
            # Commits wait once the checkpointer has read the setting, which it does before it makes a checkpoint.
            await connection.execute("CHECKPOINT")
        finally:
            await connection.close()

    async def waiting_for_standby(self, number: int = 1) -> list[int]:
        """The backends that do, once there are so many."""
        connection = await asyncpg.connect(self.url)
        try:
            while True:
                rows = await connection.fetch("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
                if len(rows) >= number:
                    return [row["pid"] for row in rows]
        finally:
            await connection.close()

    @asynccontextmanager
    async def without_standby(self) -> AsyncIterator[None]:
        """Commits wait for one that is absent, until the end."""
        await self.set_standby(ABSENT)
        try:
            yield
        finally:
            await self.set_standby("")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """SIGSTOP of all its processes: it accepts connections and sends nothing."""
        stopped = [self.pid]
        os.kill(self.pid, signal.SIGSTOP)
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        for child in children.read_text().split():
            os.kill(int(child), signal.SIGSTOP)
            stopped.append(int(child))
        try:
            yield
        finally:
            for pid in reversed(stopped):
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    continue


@contextmanager
def own_postgres(folder: Path, *, migrated: bool = True) -> Iterator[OwnPostgres]:
    server = OwnPostgres.start(folder)
    try:
        if migrated:
            asyncio.run(upgrade(server.url))
        yield server
    finally:
        server.stop()


def within(seconds: float) -> _Stopwatch:
    return _Stopwatch(seconds)


class _Stopwatch:
    """Asserts that its block took no longer."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._begun = time.monotonic()

    def __exit__(self, *_: object) -> None:
        took = time.monotonic() - self._begun
        assert took <= self._seconds, f"took {took:.1f} s"
