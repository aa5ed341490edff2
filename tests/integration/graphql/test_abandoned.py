"""Abandoned requests: the work of a client that has hung up is cancelled, and that of a few does not stop the rest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from graph.execution.services import Feed
from graph.http.app import create_app
from tests.support.graphql_api import Api, api_of, services_of
from tests.support.graphql_socket import graphql_socket
from tests.support.mesh import BILLING, Mesh, new
from tests.support.serving import serving

NAMES = "{ namespaces { nodes { name } } }"
BILLING_ALONE = {"namespaces": {"nodes": [{"name": BILLING}]}}
LOOKUP = "{ shards { revision } }"
FOLLOW = "subscription { shardDiffs { revision } }"
CREATE = "mutation ($input: CreateShardsInput!) { createShards(input: $input) { __typename } }"
SHARD = {
    "input": {
        "shards": [{"namespace": BILLING, "shardId": "s1", "ownerNodeId": "node-a"}],
        "change": {"actor": "ops", "reason": "a test asks for it"},
    }
}


class Held:
    """Calls of one method, each held until it is let go of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.begun = asyncio.Queue[None]()
        self.cancelled = asyncio.Queue[None]()
        self.let_go = asyncio.Event()
        method = getattr(owner, name)

        async def held(*arguments: Any, **named: Any) -> Any:
            self.begun.put_nowait(None)
            try:
                await self.let_go.wait()
            except asyncio.CancelledError:
                self.cancelled.put_nowait(None)
                raise
            return await method(*arguments, **named)

        monkeypatch.setattr(owner, name, held)


async def came(queue: asyncio.Queue[None]) -> None:
    await asyncio.wait_for(queue.get(), 10)


@pytest.fixture
def app(mesh: Mesh, feed: Feed) -> Starlette:
    return create_app(services_of(mesh.store, mesh.writer, feed), reads_at_once=1)


@pytest.fixture
async def address(app: Starlette) -> AsyncIterator[str]:
    async with serving(app) as address:
        yield address


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch, mesh: Mesh) -> Held:
    return Held(monkeypatch, type(mesh.store.namespaces), "page")


@pytest.fixture
def writing(monkeypatch: pytest.MonkeyPatch, mesh: Mesh) -> Held:
    return Held(monkeypatch, mesh.writer, "execute")


@pytest.fixture(autouse=True)
async def nothing_is_left_behind(app: Starlette, caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    yield
    async with api_of(app) as api:
        for name in ("running", "waiting"):
            for workload in ("lookup", "query", "mutation"):
                assert await counted(api, f"omnirelay_operations_{name}", workload) == 0.0
    assert [record.getMessage() for record in caplog.get_records("call") if record.exc_info] == []


async def counted(api: Api, name: str, workload: str) -> float:
    lines = (await api.http.get("/metrics")).text.splitlines()
    (value,) = [line.split()[-1] for line in lines if line.startswith(f'{name}{{workload="{workload}"}}')]
    return float(value)


async def until(api: Api, name: str, workload: str, value: float) -> None:
    async with asyncio.timeout(10):
        while await counted(api, name, workload) != value:  # noqa: ASYNC110 - the server, which has no sign but this
            await asyncio.sleep(0)


@asynccontextmanager
async def asked(address: str, query: str, variables: Any = None) -> AsyncIterator[None]:
    """A client that has sent this, and hangs up in the end without having read."""
    reader, writer = await asyncio.open_connection(*address.split(":"))
    body = json.dumps({"query": query, "variables": variables}).encode()
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: mesh\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    try:
        yield
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        del reader


async def test_a_query_whose_client_hung_up_is_cancelled(address: str, reading: Held, api: Api) -> None:
    async with asked(address, NAMES):
        await came(reading.begun)
    await came(reading.cancelled)
    await until(api, "omnirelay_operations_abandoned_total", "query", 1.0)
    assert 'omnirelay_operations_total{outcome="cancelled",type="query"} 1.0' in (await api.http.get("/metrics")).text


async def test_all_that_a_query_does_at_the_same_time_is_cancelled(address: str, reading: Held) -> None:
    async with asked(
        address, "{ a: namespaces { totalCount } b: namespaces { totalCount } c: namespaces { totalCount } }"
    ):
        for _ in range(3):
            await came(reading.begun)
    for _ in range(3):
        await came(reading.cancelled)
    assert reading.begun.empty()


async def test_a_query_that_waits_for_its_turn_is_not_begun_for_a_client_that_left(
    address: str, reading: Held, api: Api
) -> None:
    async with asked(address, NAMES):
        await came(reading.begun)
        async with asked(address, NAMES):
            await until(api, "omnirelay_operations_waiting", "query", 1.0)
        await until(api, "omnirelay_operations_waiting", "query", 0.0)
        assert reading.begun.empty()
    await came(reading.cancelled)


async def test_a_mutation_that_has_begun_is_finished_for_a_client_that_left(
    address: str, writing: Held, mesh: Mesh, api: Api
) -> None:
    async with asked(address, CREATE, SHARD):
        await came(writing.begun)
    async with httpx2.AsyncClient(timeout=60) as http:  # a round trip of the same server's: it knows by then
        await http.get(f"http://{address}/healthz")
    writing.let_go.set()
    await until(api, "omnirelay_operations_running", "mutation", 0.0)
    assert (await mesh.store.stream.head()).revision == 1
    assert writing.cancelled.empty()


async def test_a_client_that_stays_is_answered(address: str, reading: Held, writing: Held) -> None:
    reading.let_go.set()
    writing.let_go.set()
    async with httpx2.AsyncClient(timeout=60) as http:
        for _ in range(2):
            answer = await http.post(f"http://{address}/graphql", json={"query": NAMES})
            assert answer.json() == {"data": BILLING_ALONE}
        answer = await http.get(f"http://{address}/graphql", params={"query": NAMES})
        assert answer.json() == {"data": BILLING_ALONE}
        answer = await http.post(f"http://{address}/graphql", json={"query": CREATE, "variables": SHARD})
        assert answer.json() == {"data": {"createShards": {"__typename": "ShardsChanged"}}}


async def test_lookups_and_subscriptions_do_not_wait_behind_queries(
    address: str, api: Api, reading: Held, mesh: Mesh
) -> None:
    await mesh.create(new("a"))
    async with asked(address, NAMES), asked(address, NAMES):
        await came(reading.begun)
        await until(api, "omnirelay_operations_waiting", "query", 1.0)
        assert await api.field(LOOKUP) == {"revision": "1"}
        async with graphql_socket(address) as socket:
            await socket.subscribe(FOLLOW)
            assert await socket.batch() == {"revision": "1"}
    await came(reading.cancelled)


async def test_too_much_is_refused_with_when_to_come_back(
    mesh: Mesh, feed: Feed, reading: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.http.admission.QUEUE_SECONDS", 0.05)
    app = create_app(services_of(mesh.store, mesh.writer, feed), reads_at_once=1)
    async with serving(app) as address, graphql_socket(address) as socket, api_of(app) as api:
        async with asked(address, NAMES):
            await came(reading.begun)
            for accept in ("application/graphql-response+json", "application/json", "text/event-stream"):
                refused = await api.post(NAMES, accept=accept)
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                (error,) = refused.json()["errors"]
                assert error["extensions"] == {"code": "OVERLOADED", "retryAfter": 1.0}
                assert "Nothing was written" in error["message"]
            await socket.subscribe(NAMES)
            assert (await socket.error())["code"] == "OVERLOADED"
        await came(reading.cancelled)
        reading.let_go.set()
        await socket.subscribe(NAMES)
        assert {"namespaces": await socket.batch()} == BILLING_ALONE


async def test_what_a_socket_completes_or_takes_along_is_cancelled(address: str, reading: Held, api: Api) -> None:
    async with graphql_socket(address) as socket:
        await socket.subscribe(NAMES, name="1")
        await came(reading.begun)
        await socket.subscribe(NAMES, name="2")
        await until(api, "omnirelay_operations_waiting", "query", 1.0)
        await socket.send({"id": "1", "type": "complete"})
        await came(reading.cancelled)
        await came(reading.begun)
    await came(reading.cancelled)
    await until(api, "omnirelay_operations_abandoned_total", "query", 2.0)


async def test_a_mutation_over_a_socket_that_has_begun_is_finished_and_not_answered_once_completed(
    address: str, writing: Held, mesh: Mesh, api: Api
) -> None:
    async with graphql_socket(address) as socket:
        await socket.subscribe(CREATE, SHARD)
        await came(writing.begun)
        await socket.send({"id": "1", "type": "complete"})
        await socket.subscribe(LOOKUP)
        assert await socket.batch() == {"revision": "0"}
        assert (await socket.receive())["type"] == "complete"
        writing.let_go.set()
        await until(api, "omnirelay_operations_running", "mutation", 0.0)
        assert (await mesh.store.stream.head()).revision == 1
        await socket.send({"type": "ping"})
        assert await socket.receive() == {"type": "pong"}


async def test_a_mutation_whose_socket_is_gone_is_finished(address: str, writing: Held, mesh: Mesh, api: Api) -> None:
    async with graphql_socket(address) as socket:
        await socket.subscribe(CREATE, SHARD)
        await came(writing.begun)
    async with graphql_socket(address) as socket:  # a round trip of the same server's: it knows by then
        await socket.subscribe(LOOKUP)
        await socket.batch()
    writing.let_go.set()
    await until(api, "omnirelay_operations_running", "mutation", 0.0)
    assert (await mesh.store.stream.head()).revision == 1
    assert writing.cancelled.empty()
