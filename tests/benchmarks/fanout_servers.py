"""The servers that broadcast: ours, and uvicorn bare, as the limit of what it could do."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_OURS: Final = "from graph.cli import main; main()"

_BARE: Final = """
import asyncio, uvicorn

sockets = {}

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "graphql-transport-ws"})
        sockets[send] = None
        while (await receive())["type"] != "websocket.disconnect":
            pass
        del sockets[send]
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    frame = {"type": "websocket.send", "text": body.decode()}
    for each in list(sockets):
        await each(frame)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})

config = uvicorn.Config(app, port=0, loop="uvloop", http="httptools", ws="websockets-sansio",
                        ws_per_message_deflate=False, lifespan="off", log_config=None, access_log=False,
                        server_header=False)
listener = config.bind_socket()
print(f"http://127.0.0.1:{listener.getsockname()[1]}/graphql", flush=True)
uvicorn.Server(config).run([listener])
"""
"""What is posted to it goes to every socket, and the answer comes when it is on its way."""


@dataclass(frozen=True, slots=True)
class Server:
    port: int
    process: int

    @property
    def cpu_seconds(self) -> float:
        """Processor time it has used, all of its threads together."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def memory(self) -> int:
        """Bytes of it that are in memory."""
        return int(Path(f"/proc/{self.process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def omnirelay(url: str) -> AsyncIterator[Server]:
    """`omnirelay serve` on that database."""
    async with _started([_OURS, "serve", "--port", "0", "--no-demo", "--database-url", url]) as server:
        yield server


@asynccontextmanager
async def bare_broadcast() -> AsyncIterator[Server]:
    async with _started([_BARE]) as server:
        yield server


@asynccontextmanager
async def _started(program: Sequence[str]) -> AsyncIterator[Server]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", *program, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        line = await process.stdout.readline()
        found = re.search(rb"http://127\.0\.0\.1:(\d+)/graphql", line)
        if found is None:
            raise RuntimeError("the server did not start; what it said is above")
        yield Server(int(found[1]), process.pid)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()
