"""What operations cost: told on every transport, refused beyond a bound, and taken from a budget of their caller."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from graphql import get_introspection_query
from starlette.applications import Starlette

from graph.auth.principal import Scope as Allowed
from graph.execution.budgets import CostLimits
from graph.execution.services import Feed
from graph.http.app import create_app
from tests.integration.graphql.test_costly_documents import posted
from tests.support.graphql_api import GRAPHQL_RESPONSE, Api, api_of, services_of
from tests.support.graphql_socket import graphql_socket
from tests.support.loop_watchdog import ATTEMPTS, LIMIT_SECONDS, longest_turn
from tests.support.mesh import Mesh, new
from tests.support.serving import serving
from tests.support.tokens import bearer, shared_secret

HISTORY: Final = "query($n: Int) { shardHistory(first: $n) { nodes { shardId } } }"
LOOKUP: Final = "{ shards(first: 500) { nodes { shardId } } }"
ASKED: Final = {"cost": True}
"""As `extensions` of a request."""


def limited(mesh: Mesh, feed: Feed, **limits: int) -> Starlette:
    return create_app(services_of(mesh.store, mesh.writer, feed), costs=CostLimits(**limits))


async def test_an_answer_says_what_it_cost_in_headers_and_as_an_extension_to_whoever_asks(api: Api) -> None:
    for _ in range(2):  # by graphql-core, then by its plan
        answer = await api.post(HISTORY, {"n": 100})
        assert answer.headers["x-ratelimit-used"] == "125"
        assert answer.headers["x-ratelimit-limit"] == "6000000"
        assert int(answer.headers["x-ratelimit-remaining"]) <= 6_000_000 - 125
        assert "extensions" not in answer.json()
    body = {"query": HISTORY, "variables": {"n": 100}, "extensions": ASKED}
    asked = await api.http.post("/graphql", json=body)
    assert asked.json()["extensions"]["cost"] == {
        "requested": 125,
        "taken": 125,
        "limit": 10_000,
        "budget": {
            "limit": 6_000_000,
            "remaining": int(asked.headers["x-ratelimit-remaining"]),
            "reset": int(asked.headers["x-ratelimit-reset"]),
        },
    }


async def test_lookups_cost_nothing_and_say_so_only_when_asked(api: Api) -> None:
    for _ in range(3):
        answer = await api.post(LOOKUP)
        assert not [name for name in answer.headers if name.startswith("x-ratelimit")]
    asked = await api.http.post("/graphql", json={"query": LOOKUP, "extensions": ASKED})
    assert asked.json()["extensions"]["cost"]["taken"] == 0
    assert asked.json()["extensions"]["cost"]["requested"] == 501
    assert asked.headers["x-ratelimit-used"] == "0"


@pytest.mark.parametrize("asked", [None, {}, {"cost": False}, {"cost": 1}, {"cost": "true"}])
async def test_nothing_but_true_asks_for_it(api: Api, asked: Any) -> None:
    answer = await api.http.post("/graphql", json={"query": HISTORY, "extensions": asked})
    assert "extensions" not in answer.json()


async def test_a_socket_and_an_event_stream_are_told_as_well(mesh: Mesh, feed: Feed) -> None:
    async with serving(limited(mesh, feed)) as address, graphql_socket(address) as socket:
        payload = {"query": HISTORY, "variables": {"n": 100}, "extensions": ASKED}
        for identity in ("1", "1", "2"):
            await socket.send({"id": identity, "type": "subscribe", "payload": payload})
            message = await socket.receive()
            assert message["type"] == "next"
            assert message["payload"]["extensions"]["cost"]["taken"] == 125
            assert (await socket.receive())["type"] == "complete"
        await socket.send({"id": "1", "type": "subscribe", "payload": {**payload, "extensions": None}})
        assert "extensions" not in (await socket.receive())["payload"]
    async with api_of(limited(mesh, feed)) as api:
        body = {"query": HISTORY, "variables": {"n": 100}, "extensions": ASKED}
        answer = await api.http.post("/graphql", json=body, headers={"accept": "text/event-stream"})
        assert answer.headers["x-ratelimit-used"] == "125"
        data = next(line for line in answer.text.splitlines() if line.startswith("data: "))
        assert json.loads(data.removeprefix("data: "))["extensions"]["cost"]["taken"] == 125


@pytest.mark.parametrize("is_prepared", [False, True])
async def test_an_operation_that_asks_for_too_much_is_refused_before_it_is_executed(
    mesh: Mesh, feed: Feed, *, is_prepared: bool
) -> None:
    async with api_of(limited(mesh, feed, operation=100)) as api:
        if is_prepared:
            await api.data(HISTORY, n=10)
            await api.data(HISTORY, n=10)
        assert await api.data(HISTORY, n=75) == {"shardHistory": {"nodes": []}}
        refused = await api.post(HISTORY, {"n": 76})
        assert refused.status_code == 400
        (error,) = refused.json()["errors"]
        assert error["message"].startswith("The operation asks for 101 records; at most 100 are allowed at once.")
        assert error["extensions"]["code"] == "COST_EXCEEDED"
        assert error["extensions"]["cost"]["fields"] == [{"field": "shardHistory", "requested": 101}]
        older = await api.post(HISTORY, {"n": 76}, accept="application/json")
        assert (older.status_code, older.json()["errors"][0]["message"]) == (200, error["message"])
        assert 'omnirelay_operations_over_cost_total{limit="operation"} 2.0' in (await api.http.get("/metrics")).text


@pytest.mark.parametrize("is_prepared", [False, True])
async def test_a_caller_whose_budget_is_used_up_is_told_when_to_come_back(
    mesh: Mesh, feed: Feed, *, is_prepared: bool
) -> None:
    limits = CostLimits(burst=300, rate=1)
    services = services_of(mesh.store, mesh.writer, feed)
    app = create_app(services, costs=limits, authentication=shared_secret())
    async with api_of(app) as api:
        if is_prepared:
            for _ in range(2):
                await api.post(HISTORY, {"n": 1}, authorization=bearer(Allowed.READ, sub="preparing"))
        ops = bearer(Allowed.READ, sub="ops")
        for _ in range(2):
            assert (await api.post(HISTORY, {"n": 100}, authorization=ops)).status_code == 200
        refused = await api.post(HISTORY, {"n": 100}, authorization=ops)
        assert refused.status_code == 429
        assert 70 <= int(refused.headers["retry-after"]) <= 125
        assert refused.headers["x-ratelimit-limit"] == "300"
        (error,) = refused.json()["errors"]
        assert error["extensions"]["code"] == "COST_EXCEEDED"
        assert error["extensions"]["retryAfter"] == int(refused.headers["retry-after"])
        assert "of the budget of this subject. Nothing was executed." in error["message"]
        assert "errors" not in (await api.post("{ shards { revision } }", authorization=ops)).json()
        others = await api.post(HISTORY, {"n": 100}, authorization=bearer(Allowed.READ, sub="other"))
        assert others.status_code == 200


async def test_a_socket_is_told_when_to_come_back_and_stays_open(mesh: Mesh, feed: Feed) -> None:
    async with serving(limited(mesh, feed, burst=1_000, rate=1)) as address, graphql_socket(address) as socket:
        simulation = "{ simulateRebalance(input: {}) { moveCount } }"
        await socket.subscribe(simulation)
        await socket.receive()
        await socket.subscribe(simulation, name="2")
        codes = [await socket.receive()]
        while codes[-1]["type"] != "error" or codes[-1]["id"] != "2":
            codes.append(await socket.receive())
        error = codes[-1]["payload"][0]
        assert error["extensions"]["code"] == "COST_EXCEEDED"
        assert error["extensions"]["retryAfter"] > 0


async def test_what_is_not_valid_or_not_allowed_is_refused_for_that_and_costs_nothing(mesh: Mesh, feed: Feed) -> None:
    services = services_of(mesh.store, mesh.writer, feed)
    app = create_app(services, costs=CostLimits(operation=1), authentication=shared_secret())
    async with api_of(app) as api:
        mutation = (
            'mutation { drainNode(input: {nodeId: "a", expectedVersion: "1", change: {reason: "r"}}) { __typename } }'
        )
        for query, code in ((mutation, "FORBIDDEN"), ("{ nothing }", "GRAPHQL_VALIDATION_FAILED")):
            answer = await api.post(query, authorization=bearer(Allowed.READ))
            assert answer.json()["errors"][0]["extensions"]["code"] == code


async def test_the_schema_is_shown_without_holding_the_loop_up(mesh: Mesh, feed: Feed) -> None:
    await mesh.create(new("a"))
    app = limited(mesh, feed)
    text, sent = get_introspection_query(), list[Any]()
    again = [posted(app, text, GRAPHQL_RESPONSE, sent) for _ in range(ATTEMPTS)]
    await again[0]()
    assert await longest_turn(lambda number: again[number]()) < LIMIT_SECONDS
    shown = json.loads(sent[-1][1]["body"])["data"]["__schema"]
    assert len(shown["types"]) > 100
    async with serving(app) as address, graphql_socket(address) as socket:
        await socket.subscribe(text)
        message = await socket.receive()
        assert message["payload"]["data"]["__schema"] == shown
        assert (await socket.receive())["type"] == "complete"
        await socket.subscribe("query($n: String!) { __type(name: $n) { name } }", name="2")
        (error,) = (await socket.receive())["payload"]["errors"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
