"""A client of server-sent events that shows every field of every event, as it came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Event:
    """`type` is empty for one that only sets `retry`."""

    type: str
    data: str
    id: str | None
    retry: str | None

    @property
    def payload(self) -> dict[str, Any]:
        assert self.type == "next", self
        payload: dict[str, Any] = json.loads(self.data)
        return payload

    @property
    def batch(self) -> Any:
        """The value of the one field of a result."""
        assert "errors" not in self.payload, self
        (value,) = self.payload["data"].values()
        return value

    @property
    def error(self) -> dict[str, Any]:
        """The one error of a refusal, its extensions at hand."""
        assert self.payload["data"] is None, self
        (error,) = self.payload["errors"]
        return {"message": error["message"], **error["extensions"]}


class EventStream:
    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def event(self) -> Event | None:
        """The next event; null at the end of the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            async for line in self._lines:
                if not line:
                    return Event(fields.get("event", ""), fields.get("data", ""), fields.get("id"), fields.get("retry"))
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
        assert not fields, fields
        return None

    async def next(self) -> Event:
        event = await self.event()
        assert event is not None, "the stream has ended"
        return event

    async def begun(self) -> Event:
        """The first result, after the line with when to connect again."""
        retry = await self.next()
        assert (retry.type, retry.retry) == ("", "1000"), retry
        return await self.next()

    async def revisions(self, count: int) -> list[str]:
        """Of the next so many diffs."""
        found: list[str] = []
        while len(found) < count:
            found += [diff["revision"] for diff in (await self.next()).batch["diffs"]]
        return found


@asynccontextmanager
async def event_stream(
    address: str, query: str, variables: Mapping[str, Any] | None = None, *, method: str = "POST", **headers: str
) -> AsyncIterator[EventStream]:
    sent = {"accept": "text/event-stream", **{name.replace("_", "-"): value for name, value in headers.items()}}
    body: dict[str, Any] = {"query": query, "variables": variables or {}}
    request: dict[str, Any] = {"json": body}
    if method == "GET":
        request = {"params": {"query": query, "variables": json.dumps(variables or {})}}
    async with (
        httpx2.AsyncClient(timeout=_TIMEOUT_SECONDS) as http,
        http.stream(method, f"http://{address}/graphql", headers=sent, **request) as response,
    ):
        yield EventStream(response)
