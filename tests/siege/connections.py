"""Connections of attackers: what is sent need be no request, and is not sent to its end where the server answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import orjson

ANSWER_SECONDS: Final = 60.0

_CHUNK: Final = 65_536


@dataclass(frozen=True, slots=True)
class Target:
    """`hold_seconds`: how long a client that does not read stays. `source`: the address to connect from, null for
    any."""

    host: str
    port: int
    hold_seconds: float = 20.0
    source: str | None = None

    @property
    def local(self) -> tuple[str, int] | None:
        return None if self.source is None else (self.source, 0)


@dataclass(frozen=True, slots=True)
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Raises OSError where the server has closed."""
        for start in range(0, len(data), _CHUNK):
            self.writer.write(data[start : start + _CHUNK])
            await self.writer.drain()

    async def answer(self) -> str:
        """Status and code of one response. Raises IncompleteReadError or OSError if there is none."""
        status, body = await self._response()
        return f"{status} {code_of(body)}".strip()

    async def body(self) -> bytes:
        """Of one response."""
        return (await self._response())[1]

    async def _response(self) -> tuple[str, bytes]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        body = b"" if length is None else await self.reader.readexactly(int(length[1]))
        return head.split(b" ", 2)[1].decode(), body


@asynccontextmanager
async def connected(target: Target) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection(target.host, target.port, limit=2**20, local_addr=target.local)
    try:
        yield Connection(reader, writer)
    finally:
        writer.transport.abort()


async def exchanged(target: Target, request: Iterable[bytes]) -> str:
    """The answer to what was sent, or `closed`, or `silent` after a minute. Sending ends with the answer."""
    try:
        async with connected(target) as connection:
            sending = asyncio.create_task(_send_all(connection, request))
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await connection.answer()
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
    except (asyncio.IncompleteReadError, OSError):
        return "closed"
    except TimeoutError:
        return "silent"


async def posted(target: Target, query: str, variables: dict[str, Any] | None = None) -> str:
    """The answer to an operation."""
    return await exchanged(target, [request(orjson.dumps({"query": query, "variables": variables}))])


def request(body: bytes) -> bytes:
    """A POST of these bytes."""
    return (
        b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Accept: application/graphql-response+json\r\nContent-Length: %d\r\n\r\n" % len(body)
    ) + body


def code_of(body: bytes) -> str:
    """Of the first error; of an answer with data, if no error has a code, `data`."""
    with suppress(orjson.JSONDecodeError, LookupError, TypeError):
        answer = orjson.loads(body)
        errors = answer.get("errors")
        return str(errors[0]["extensions"]["code"]) if errors else "data"
    return ""


async def _send_all(connection: Connection, parts: Iterable[bytes]) -> None:
    with suppress(OSError):
        for part in parts:
            await connection.send(part)
