"""The API as tests use it: through the whole application, without a socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from graph.execution.services import Feed, Services
from persistence.ports.store import Store
from persistence.service.executor import CommandExecutor
from persistence.service.rebalancer import Rebalancer
from strategies.registry import Registry

ON_EVERY_STORE = pytest.mark.parametrize("backend", ["memory", "postgres"], indirect=True)
GRAPHQL_RESPONSE = "application/graphql-response+json"


def services_of(store: Store, writer: CommandExecutor, feed: Feed, strategies: Registry | None = None) -> Services:
    """What the composition root opens, around any store."""
    known = strategies or Registry()
    return Services(store, writer, feed, known, Rebalancer(store, writer, known))


class Api:
    """A client of one application."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    async def post(self, query: str, variables: Mapping[str, Any] | None = None, **headers: str) -> httpx2.Response:
        # Escaped, as JSON allows: that is how a lone surrogate reaches a server.
        body = json.dumps({"query": query, "variables": variables})
        headers = {"accept": GRAPHQL_RESPONSE, "content-type": "application/json", **headers}
        return await self.http.post("/graphql", content=body, headers=headers)

    async def data(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an operation that must succeed."""
        answer = (await self.post(query, variables)).json()
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    async def field(self, query: str, **variables: Any) -> Any:
        """The one field of an operation that must succeed."""
        (value,) = (await self.data(query, **variables)).values()
        return value

    async def error(self, query: str, **variables: Any) -> dict[str, Any]:
        """The one error of an operation that must fail, with its code at hand."""
        answer = (await self.post(query, variables)).json()
        (error,) = answer["errors"]
        return {"message": error["message"], "path": error.get("path"), **error["extensions"]}


@asynccontextmanager
async def api_of(app: Starlette) -> AsyncIterator[Api]:
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://mesh") as http:
        yield Api(http)
