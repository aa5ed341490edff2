"""Operations of many fields, each of which is allowed: they hold up nobody else, take no more turns than one, and cost
nothing where they are refused."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final
from unittest import mock

import pytest
from graphql import DocumentNode, visit
from starlette.applications import Starlette

import graph.execution.documents
import graph.execution.limits
import graph.http.app
import graph.subscriptions.operation
from graph.auth.principal import Scope
from graph.execution.budgets import CostLimits
from graph.execution.limits import parse as parsed
from graph.execution.selections import AT_ONCE, gathered
from graph.execution.services import Feed
from graph.http.admission import AdmissionControl, AdmissionQueue
from graph.http.app import create_app
from graph.schema.build import MeshSchema
from persistence.errors import Overloaded
from persistence.model.outcomes import NotFound
from persistence.service.rebalancer import Rebalancer
from tests.integration.graphql.test_costly_documents import posted, schema_of_a_server
from tests.support.graphql_api import GRAPHQL_RESPONSE, api_of, services_of
from tests.support.graphql_socket import graphql_socket
from tests.support.loop_watchdog import ATTEMPTS, LIMIT_SECONDS, longest_turn
from tests.support.mesh import Mesh, new
from tests.support.serving import serving
from tests.support.tokens import bearer, shared_secret

FIELDS: Final = "nodes { shardId namespace ownerNodeId version checksum status updatedAt }"
TYPES: Final = "__schema { types { name fields { name args { name type { name } } type { name ofType { name } } } } }"


def pages(count: int, first: int) -> str:
    return "{ " + " ".join(f"a{n}: shards(first: {first}) {{ {FIELDS} }}" for n in range(count)) + " }"


@pytest.fixture
def app(mesh: Mesh, feed: Feed) -> Iterator[Starlette]:
    with mock.patch.object(graph.http.app, "build_schema", schema_of_a_server):
        yield create_app(services_of(mesh.store, mesh.writer, feed))


@pytest.mark.parametrize(
    "text", [pages(18, 200), pages(45, 200), f"{{ head {{ revision }} {TYPES} }}"],
    ids=["18 pages, by their plan", "45 pages, by graphql-core", "the schema beside something else"],
)  # fmt: skip
async def test_the_loop_is_not_held_up(app: Starlette, mesh: Mesh, text: str) -> None:
    await mesh.create(*(new(f"s-{number:03}") for number in range(200)))
    sent: list[Any] = []
    posts = [posted(app, text + " " * number, GRAPHQL_RESPONSE, sent) for number in range(ATTEMPTS)]
    assert await longest_turn(lambda number: posts[number]()) < LIMIT_SECONDS
    for start, body in sent:
        assert start["status"] == 200
        data = json.loads(body["body"])["data"]
        assert all(len(page["nodes"]) == 200 for name, page in data.items() if name.startswith("a"))
        assert len(data) == (2 if "__schema" in data else text.count("shards("))


class _Counting(Rebalancer):
    """Counts how many simulations there are at the same time."""

    running = most = 0

    async def simulate(self, *_: object) -> Any:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        return NotFound(namespaces=("nowhere",))


@pytest.mark.parametrize(("count", "names"), [(4, 0), (3, 60)], ids=["by its plan", "by graphql-core"])
async def test_what_plans_is_planned_one_after_the_other(mesh: Mesh, feed: Feed, count: int, names: int) -> None:
    services = services_of(mesh.store, mesh.writer, feed)
    counting = _Counting(mesh.store, mesh.writer, services.strategies)
    selected = " ".join(["moveCount", *(f"n{number}: __typename" for number in range(names))])
    fields = " ".join(f"a{number}: simulateRebalance(input: {{}}) {{ {selected} }}" for number in range(count))
    async with api_of(create_app(replace(services, rebalancer=counting))) as api:
        await api.post(f"{{ {fields} }}")
    assert counting.most == 1


@asynccontextmanager
async def _full(mesh: Mesh, feed: Feed) -> AsyncIterator[Starlette]:
    """A server whose queues refuse everything."""

    async def refuse(*_: object) -> None:
        raise Overloaded("all turns are taken", 1.0)

    limits = CostLimits(burst=5_000, rate=1)
    with mock.patch.object(AdmissionQueue, "enter", refuse):
        yield create_app(services_of(mesh.store, mesh.writer, feed), costs=limits)


HISTORY: Final = "query($n: Int) { shardHistory(first: $n) { nodes { shardId } } }"


async def test_what_a_queue_refuses_costs_nothing(mesh: Mesh, feed: Feed) -> None:
    variables = {"n": 500}
    async with _full(mesh, feed) as app, api_of(app) as api:
        for _ in range(20):  # through the application first, by the short way in from then on
            refused = await api.post(HISTORY, variables)
            assert refused.status_code == 503
            assert refused.json()["errors"][0]["extensions"]["code"] == "OVERLOADED"
            assert "x-ratelimit-used" not in refused.headers
    async with _full(mesh, feed) as app, serving(app) as address, graphql_socket(address) as socket:
        for number in range(20):
            payload = {"query": HISTORY, "variables": variables}
            await socket.send({"id": str(number), "type": "subscribe", "payload": payload})
            message = await socket.receive()
            assert message["payload"][0]["extensions"]["code"] == "OVERLOADED"


async def test_an_unread_document_is_refused_without_a_charge(mesh: Mesh, feed: Feed) -> None:
    with mock.patch.object(graph.http.app, "build_schema", schema_of_a_server):
        app = create_app(services_of(mesh.store, mesh.writer, feed), costs=CostLimits(burst=100, rate=1))
    async with api_of(app) as api:
        with mock.patch.object(graph.execution.documents, "MOST_READING", 0):
            for _ in range(20):
                refused = await api.post("{ head { revision } shards { cursor } }")
                assert refused.json()["errors"][0]["extensions"]["code"] == "OVERLOADED"


async def test_a_document_that_is_displaced_while_its_operation_waits_is_not_read_again(mesh: Mesh, feed: Feed) -> None:
    read: list[str] = []
    schemas: list[MeshSchema] = []

    def parse(text: str, *arguments: Any, **named: Any) -> DocumentNode:
        read.append(text)
        return parsed(text, *arguments, **named)

    def build(*arguments: Any) -> MeshSchema:
        schemas.append(schema_of_a_server(*arguments))
        return schemas[0]

    async def run(*arguments: Any, **named: Any) -> Any:
        schemas[0].documents._new.documents.clear()  # noqa: SLF001 - as if others had come meanwhile
        await asyncio.sleep(0)
        gc.collect()
        return await admitted(*arguments, **named)

    admitted = AdmissionControl.run
    with mock.patch.object(graph.http.app, "build_schema", build):
        app = create_app(services_of(mesh.store, mesh.writer, feed))
    with mock.patch.object(graph.execution.limits, "parse", parse), mock.patch.object(AdmissionControl, "run", run):
        async with api_of(app) as api:
            for text in ("{ namespaces(first: 1) { nodes { name } } }", "{ nothing }"):
                await api.post(text)
    assert read == ["{ namespaces(first: 1) { nodes { name } } }", "{ nothing }"]


async def test_documents_of_admins_are_read_beside_the_loop_where_others_may_send_none(mesh: Mesh, feed: Feed) -> None:
    read_by: list[threading.Thread] = []

    def parse(*arguments: Any, **named: Any) -> DocumentNode:
        read_by.append(threading.current_thread())
        return parsed(*arguments, **named)

    services = services_of(mesh.store, mesh.writer, feed)
    with mock.patch.object(graph.http.app, "build_schema", schema_of_a_server):
        app = create_app(services, trusted_documents="require", authentication=shared_secret())
    admin = bearer(Scope.ADMIN)
    with mock.patch.object(graph.execution.limits, "parse", parse):
        async with api_of(app) as api:
            for text in ("{ __typename }", "{ __typename __schema { description } }"):
                assert "errors" not in (await api.post(text, authorization=admin)).json()
                answer = await api.http.get("/graphql", params={"query": text + " "}, headers={"authorization": admin})
                assert "errors" not in answer.json()
            refused = await api.post("{ head { revision } }", authorization=admin)
            assert refused.json()["errors"][0]["extensions"]["code"] == "DOCUMENT_NOT_TRUSTED"
        async with serving(app) as address, graphql_socket(address, {"authorization": admin}) as socket:
            await socket.subscribe("{ again: __typename }")
            assert (await socket.receive())["payload"]["data"] == {"again": "Query"}
    assert len(read_by) == 6
    assert threading.main_thread() not in read_by


async def test_a_document_is_searched_for_its_cursor_once_for_all_who_subscribe(app: Starlette) -> None:
    text = "subscription($after: Cursor) { shardDiffs(after: $after) { cursor } }"
    searched = mock.Mock(side_effect=visit)
    async with serving(app) as address:
        with mock.patch.object(graph.subscriptions.operation, "visit", searched):
            for _ in range(3):
                async with graphql_socket(address) as socket:
                    await socket.subscribe(text)
                    assert (await socket.receive())["type"] == "next"
    assert searched.call_count == 1


async def test_what_items_of_a_list_read_is_read_a_few_at_a_time() -> None:
    running = most = 0

    async def read(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        if number < 0:
            raise LookupError
        return number

    assert await gathered(*(read(number) for number in range(20))) == list(range(20))
    assert most == AT_ONCE
    with pytest.raises(ExceptionGroup):
        await gathered(*(read(number) for number in range(-3, 20)))
