"""The servers that are measured, each in a process of its own: ours, and uvicorn bare, the limit of its kind."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.benchmarks import processes

PROGRAM: Final = "from graph.cli import main; main()"
START_SECONDS: Final = 120.0

_BARE: Final = """
import sys, uvicorn

answer = sys.stdin.buffer.read()
head = {"type": "http.response.start", "status": 200, "headers": [
    (b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]}
body = {"type": "http.response.body", "body": answer}

async def app(scope, receive, send):
    while (await receive())["more_body"]:
        pass
    await send(head)
    await send(body)

config = uvicorn.Config(app, port=0, loop="uvloop", http="httptools", ws="none", lifespan="off", log_config=None,
                        access_log=False, server_header=False)
listener = config.bind_socket()
print(f"http://127.0.0.1:{listener.getsockname()[1]}/graphql", flush=True)
uvicorn.Server(config).run([listener])
"""
"""Reads each request to its end and answers the same bytes: what the transport alone costs."""


@dataclass(frozen=True, slots=True)
class Server:
    port: int
    process: int

    @property
    def usage(self) -> processes.Usage:
        """With the processes it started."""
        return processes.usage(self.process)


@asynccontextmanager
async def omnirelay(url: str, *options: str, **settings: object) -> AsyncIterator[Server]:
    """`omnirelay serve` on that database, with default settings but for those options and `settings`."""
    arguments = ["serve", "--port", "0", "--no-demo", "--database-url", url, *options]
    environment = {f"OMNIRELAY_{name.upper()}": str(value) for name, value in settings.items()}
    async with started([sys.executable, "-c", PROGRAM, *arguments], environment=environment) as server:
        yield server


@asynccontextmanager
async def bare_uvicorn(answer: bytes) -> AsyncIterator[Server]:
    """A server that answers every request with these bytes."""
    async with started([sys.executable, "-c", _BARE], given=answer) as server:
        yield server


@asynccontextmanager
async def started(
    command: Sequence[str],
    *,
    given: bytes = b"",
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> AsyncIterator[Server]:
    """A program that prints its address when it is ready. `given` is its standard input, `log` what its standard error
    is kept in.

    Raises RuntimeError, with what it wrote to its standard error, when it ends or is silent for START_SECONDS instead.
    """
    with tempfile.TemporaryFile() if log is None else log.open("w+b") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **(environment or {})},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(given)
        process.stdin.close()
        try:
            async with asyncio.timeout(START_SECONDS):
                line = await process.stdout.readline()
            found = re.search(rb"http://127\.0\.0\.1:(\d+)", line)
            if found is None:
                errors.seek(0)
                raise RuntimeError(f"{command[-1][:80]} did not start: {errors.read()[-2_000:].decode()}")
            yield Server(int(found[1]), process.pid)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.wait()
