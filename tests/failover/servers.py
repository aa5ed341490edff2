"""Two servers on the cluster, each reached directly, and what their `/readyz` answers meanwhile."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Final

import httpx2

from tests.failover.installation import ROOT

PROGRAM: Final = ("-c", "from graph.cli import main; main()")
_ENVIRONMENT: Final = {
    "OMNIRELAY_BOOKMARK_SECONDS": "0.5",
    "OMNIRELAY_DRAIN_SECONDS": "5",
    "OMNIRELAY_PLAN_PROCESSES": "0",  # nothing is planned here
}
_STOP_SECONDS: Final = 20
_START_SECONDS: Final = 60
_LOOK_SECONDS: Final = 0.25
_READY_SECONDS: Final = 2.0


class Server:
    """`unready` are the spans in which `/readyz` did not answer 200, on the clock of `time.monotonic`."""

    def __init__(self, number: int, url: str, folder: Path) -> None:
        self.number = number
        self.address = ""
        self.unready: list[tuple[float, float]] = []
        self.log = folder / f"server-{number}.log"
        self._url = url
        self._process: Process | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Server]:
        try:
            await self._start()
            looking = asyncio.create_task(self._look())
            try:
                yield self
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)
        finally:
            await self._stop()

    def unready_seconds(self, begun: float, ended: float) -> float:
        return sum(max(0.0, min(end, ended) - max(start, begun)) for start, end in self.unready)

    async def _start(self) -> None:
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, *PROGRAM, "serve", "--port", "0", "--no-demo", "--database-url", self._url),
                cwd=ROOT,
                env={**os.environ, **_ENVIRONMENT},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._process = process
        assert process.stdout is not None
        async with asyncio.timeout(_START_SECONDS):
            line = await process.stdout.readline()
        found = re.search(rb"http://(127\.0\.0\.1:\d+)/graphql", line)
        if found is None:
            raise RuntimeError(f"server {self.number} did not start; see {self.log}:\n{self.last_words()}")
        self.address = found[1].decode()

    async def _stop(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _look(self) -> None:
        async with httpx2.AsyncClient(timeout=_READY_SECONDS) as http:
            last = monotonic()
            while True:
                asked = monotonic()
                ready = False
                with suppress(httpx2.HTTPError, OSError):
                    ready = (await http.get(f"http://{self.address}/readyz")).status_code == httpx2.codes.OK
                now = monotonic()
                if not ready:
                    self.unready.append((last, now))
                last = now
                await asyncio.sleep(max(0.0, asked + _LOOK_SECONDS - monotonic()))

    def last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


@asynccontextmanager
async def running_servers(urls: Sequence[str], folder: Path) -> AsyncIterator[list[Server]]:
    servers = [Server(number, url, folder) for number, url in enumerate(urls)]
    async with AsyncExitStack() as stack:
        for server in servers:
            await stack.enter_async_context(server.serving())
        yield servers
