"""Exporting the audit log for a server: a process of its own writes it to a pipe, at the pace at which it is read.

Reading the log pauses the garbage collector and keeps a processor busy for as long as it takes, and lookups would wait.
What is written is what `mesh audit export` writes.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from persistence.audit.export import ExportFilter
from persistence.errors import StoreUnavailable

CHUNK: Final = 65_536
"""Bytes that are passed on at a time, and about as many wait in the pipe."""

_LONGEST_ERROR: Final = 4_096


@dataclass(frozen=True, slots=True)
class ProcessExporter:
    """Exports the log of this database."""

    url: str

    @asynccontextmanager
    async def __call__(self, where: ExportFilter, form: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The chunks. Iterating raises StoreError where the export cannot be begun or finished: what came is no export
        then. The process ends with the context."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # no module of the folder that the server was started in
            "-m",
            "graph.server.audit_export_process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=CHUNK,
        )
        try:
            yield _chunks(process, self._request(where, form))
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _request(self, where: ExportFilter, form: str) -> bytes:
        # By the standard input: the URL may have a password in it, and arguments are for all to see.
        document: dict[str, Any] = {"url": self.url, "form": form}
        document |= {name: getattr(where, name) for name in ("namespace", "actor", "change_ticket")}
        times = {name: getattr(where, name) for name in ("since", "until")}
        document |= {name: None if time is None else time.isoformat() for name, time in times.items()}
        return json.dumps(document).encode()


async def _chunks(process: asyncio.subprocess.Process, request: bytes) -> AsyncIterator[bytes]:
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise TypeError("all of them are pipes")
    with suppress(ConnectionError):
        process.stdin.write(request)
        await process.stdin.drain()
    process.stdin.close()
    # Read beside the output: a process whose stderr is full would wait.
    errors = asyncio.create_task(process.stderr.read(_LONGEST_ERROR))
    try:
        while chunk := await process.stdout.read(CHUNK):
            yield chunk
        if await process.wait():
            last = (await errors).decode(errors="replace").strip().rpartition("\n")[2]
            raise StoreUnavailable(last or "the process that exports has ended")
    finally:
        errors.cancel()
        with suppress(asyncio.CancelledError):
            await errors
