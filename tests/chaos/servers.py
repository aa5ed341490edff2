"""Server processes on one database: each reaches PostgreSQL, and is reached by clients, through a proxy of its own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from tests.chaos.database import MeshDatabase
from tests.chaos.notifications import LISTENER, Notifications, Rewriter
from tests.chaos.proxy import Proxy, Rewrite
from tests.support.fork_server import PROGRAM, ForkedProcess, fork

# Bookmarks come quickly, so that clients notice a connection that has gone silent within seconds. The ring is small, so
# that who comes back often finds that it has moved on, and is served from history.
_ENVIRONMENT: Final = {
    "OMNIRELAY_BOOKMARK_SECONDS": "0.5",
    "OMNIRELAY_FEED_RING": "2000",
    "OMNIRELAY_DRAIN_SECONDS": "5",
    "OMNIRELAY_LOG_LEVEL": "warning",
    "OMNIRELAY_PLAN_PROCESSES": "0",  # no plans are made here
}
_STOP_SECONDS: Final = 30


class Server:
    """One place in the deployment: the addresses stay, the process behind them changes."""

    def __init__(self, number: int, database: MeshDatabase, folder: Path, program: Sequence[str]) -> None:
        self.number = number
        self.log = folder / f"server-{number}.log"
        self.notifications = Notifications()
        self.database = Proxy(self._inspected)
        self.clients = Proxy()
        self.lock = asyncio.Lock()
        self._mesh = database
        self._program = program
        self._process: ForkedProcess | None = None

    @property
    def address(self) -> str:
        """Where clients find it, whichever process it is."""
        return f"127.0.0.1:{self.clients.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        await self.database.start()
        await self.clients.start()
        self.database.target = self._mesh.postgres.socket
        try:
            await self.start()
            yield self
        finally:
            if self._process is not None:
                self._process.kill()
                await self._process.ended()
            await self.clients.stop()
            await self.database.stop()

    async def start(self) -> None:
        """A new process takes the place."""
        url = f"postgresql://postgres@127.0.0.1:{self.database.port}/{self._mesh.name}?sslmode=disable"
        reading, writing = os.pipe()
        with open(reading, "rb") as out, open(writing, "wb") as into:  # noqa: PTH123, ASYNC230 - no paths, no files
            with self.log.open("ab") as log, open(os.devnull, "rb") as nothing:  # noqa: PTH123, ASYNC230 - same
                self._process = fork(
                    (*self._program, "serve", "--port", "0", "--no-demo", "--database-url", url),
                    environment={**os.environ, **_ENVIRONMENT},
                    stdin=nothing.fileno(),
                    stdout=into.fileno(),
                    stderr=log.fileno(),
                )
            into.close()
            line = await asyncio.to_thread(out.readline)
        found = re.search(rb"http://127\.0\.0\.1:(\d+)/graphql", line)
        if found is None:
            raise RuntimeError(f"server {self.number} did not start; it said in {self.log}:\n{self._last_words()}")
        self.clients.target = int(found[1])

    async def kill(self) -> None:
        """kill -9, then a new process."""
        assert self._process is not None
        self._process.kill()
        await self._process.ended()
        await self.start()

    async def succeed(self) -> ForkedProcess:
        """A new process takes over from this one, which goes on with those it has."""
        old = self._process
        assert old is not None
        await self.start()
        return old

    async def retire(self, process: ForkedProcess) -> None:
        """With SIGTERM; it must end well."""
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_STOP_SECONDS):
            code = await process.ended()
        if code:
            raise RuntimeError(f"server {self.number} ended with {code} on SIGTERM; it said:\n{self._last_words()}")

    def _inspected(self, first: bytes) -> Rewrite | None:
        return Rewriter(self.notifications) if LISTENER in first else None

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


@asynccontextmanager
async def running_servers(
    count: int, database: MeshDatabase, folder: Path, program: Sequence[str] = PROGRAM
) -> AsyncIterator[list[Server]]:
    """All of them, started at the same time."""
    servers = [Server(number, database, folder, program) for number in range(count)]
    async with AsyncExitStack() as stack:
        # One after the other on the stack, so that each one that started is stopped whatever becomes of the rest.
        for server in servers:
            await stack.enter_async_context(server.running())
        yield servers
