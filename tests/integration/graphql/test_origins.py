"""Pages of other origins may use the API where `allowed_origins` names them, over HTTP and sockets alike."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from graph.execution.services import Feed
from graph.http.app import create_app
from tests.support.graphql_api import services_of
from tests.support.mesh import Mesh
from tests.support.serving import serving

OPS = "https://ops.example.com"
HEAD = {"query": "{ head { revision } }"}
ASKED = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}


@pytest.fixture
def app(mesh: Mesh, feed: Feed) -> Starlette:
    return create_app(services_of(mesh.store, mesh.writer, feed), allowed_origins=[OPS])


@pytest.fixture
async def address(app: Starlette) -> AsyncIterator[str]:
    async with serving(app) as address:
        yield address


@pytest.fixture
async def http(address: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=f"http://{address}") as http:
        yield http


async def test_a_browser_may_remember_that_it_may(http: httpx2.AsyncClient) -> None:
    answer = await http.options("/graphql", headers={"origin": OPS, **ASKED})
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == OPS
    assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD, POST"
    assert answer.headers["access-control-max-age"] == "7200"
    assert "origin" in answer.headers["vary"]
    assert "access-control-allow-credentials" not in answer.headers


async def test_answers_may_be_read_by_the_page(http: httpx2.AsyncClient) -> None:
    cross = {"origin": OPS, "sec-fetch-site": "cross-site"}
    for _ in range(3):  # at first as it is executed, then by the short way in
        answer = await http.post("/graphql", json=HEAD, headers=cross)
        assert answer.json()["data"] == {"head": {"revision": "0"}}
        assert answer.headers["access-control-allow-origin"] == OPS
        assert "x-ratelimit-remaining" in answer.headers["access-control-expose-headers"]
    answer = await http.get("/graphql", params=HEAD, headers=cross)
    assert answer.json()["data"] == {"head": {"revision": "0"}}
    assert "origin" in answer.headers["vary"]
    assert "authorization" in answer.headers["vary"]
    again = await http.get("/graphql", params=HEAD, headers={**cross, "if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.headers["access-control-allow-origin"]) == (304, OPS)
    refused = await http.post("/graphql", json={"query": "{"}, headers=cross)
    assert refused.headers["access-control-allow-origin"] == OPS


async def test_an_event_stream_may_be_read_by_the_page(http: httpx2.AsyncClient) -> None:
    document = {"query": "subscription { shardDiffs { revision } }"}
    headers = {"origin": OPS, "sec-fetch-site": "cross-site", "accept": "text/event-stream"}
    async with http.stream("GET", "/graphql", params=document, headers=headers) as answer:
        assert answer.headers["access-control-allow-origin"] == OPS
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                break


async def test_other_origins_may_nothing_and_the_log_says_which_setting_it_is(
    http: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    other = {"origin": "https://elsewhere.example", **ASKED}
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            answer = await http.options("/graphql", headers=other)
            assert answer.status_code == 405
            assert "access-control-allow-origin" not in answer.headers
    logged = [record.getMessage() for record in caplog.records if "allowed_origins" in record.getMessage()]
    assert len(logged) == 1
    assert "'https://elsewhere.example'" in logged[0]
    assert "OMNIRELAY_ALLOWED_ORIGINS" in logged[0]
    cross = {"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"}
    assert (await http.get("/graphql", params=HEAD, headers=cross)).status_code == 403
    answer = await http.post("/graphql", json=HEAD, headers=cross)
    assert "access-control-allow-origin" not in answer.headers
    assert "access-control-allow-origin" not in (await http.get("/metrics", headers={"origin": OPS})).headers


async def test_a_socket_is_opened_for_the_page_and_for_no_other(address: str, caplog: pytest.LogCaptureFixture) -> None:
    async def opened(origin: str) -> None:
        protocols = [Subprotocol("graphql-transport-ws")]
        async with connect(f"ws://{address}/graphql", subprotocols=protocols, origin=Origin(origin)):
            pass

    await opened(OPS)
    await opened(f"http://{address}")
    long = "https://elsewhere.example/" + 8_000 * "x"
    for origin in ("https://elsewhere.example", "https://elsewhere.example", long):
        with pytest.raises(InvalidStatus) as refused:
            await opened(origin)
        assert refused.value.response.status_code == 403
    logged = [record.getMessage() for record in caplog.records if "elsewhere" in record.getMessage()]
    assert len(logged) == 2
    assert all("OMNIRELAY_ALLOWED_ORIGINS" in line and len(line) < 400 for line in logged)
