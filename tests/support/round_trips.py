"""What is sent to PostgreSQL, counted on the wire.

https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final
from urllib.parse import parse_qs, urlsplit

_LISTENER: Final = b"omnirelay-listener\0"

# Query, Sync and Flush: what the server answers, and what a client waits for.
_ENDS: Final = frozenset(b"QSH")


class RoundTrips:
    """Stands between one process and PostgreSQL. `count` is how often the process waited for an answer, on any
    connection but that of its listener; since when is up to the test."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self.count = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._socket)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await asyncio.gather(self._count(reader, back), _pass_on(there, writer))
        for end in (writer, back):
            end.close()

    async def _count(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        # The first message has no type.
        size = await source.readexactly(4)
        startup = await source.readexactly(int.from_bytes(size) - 4)
        sink.write(size + startup)
        counted = _LISTENER not in startup
        while True:
            head = await source.readexactly(5)
            sink.write(head + await source.readexactly(int.from_bytes(head[1:]) - 4))
            self.count += counted and head[0] in _ENDS


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65_536):
        sink.write(data)
    sink.close()


@asynccontextmanager
async def round_trips(database_url: str) -> AsyncIterator[tuple[RoundTrips, str]]:
    """And the URL of the database behind it."""
    parts = urlsplit(database_url)
    (folder,), (port,) = (parse_qs(parts.query)[name] for name in ("host", "port"))
    between = RoundTrips(f"{folder}/.s.PGSQL.{port}")
    listener = await asyncio.start_server(between.serve, "127.0.0.1", 0)
    try:
        local = listener.sockets[0].getsockname()[1]
        yield between, f"postgresql://{parts.username}@127.0.0.1:{local}{parts.path}?sslmode=disable"
    finally:
        listener.close()
