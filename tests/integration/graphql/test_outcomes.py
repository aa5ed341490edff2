"""What an operation came to, as metrics count it and the log has it: by each transport, by plans and graphql-core."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from graph.execution.services import Feed
from graph.http.app import create_app
from persistence.model.policy import NamespacePolicy
from tests.support.graphql_api import Api, api_of, services_of
from tests.support.graphql_socket import graphql_socket
from tests.support.mesh import BILLING, Mesh
from tests.support.serving import serving

UPDATE = """mutation Move($input: UpdateShardInput!) {
  updateShard(input: $input) { __typename }
}"""
NOT_PREPARED = """mutation Move($input: UpdateShardInput!, $a: Boolean = false, $b: Boolean = false,
  $c: Boolean = false, $d: Boolean = false, $e: Boolean = false) {
  updateShard(input: $input) {
    a: __typename @skip(if: $a) b: __typename @skip(if: $b) c: __typename @skip(if: $c) d: __typename @skip(if: $d)
    e: __typename @skip(if: $e)
  }
}"""
"""Too many conditions for a plan: graphql-core executes it."""
LOOKUP = 'query Lookup { shard(namespace: "billing", shardId: "s1") { version } }'


def move(version: int, owner: str = "node-b", **change: Any) -> Mapping[str, Any]:
    given = {"namespace": BILLING, "shardId": "s1", "expectedVersion": str(version), "ownerNodeId": owner}
    return {"input": {**given, "change": {"actor": "alice", "reason": "hot\tshard", **change}}}


async def counted(api: Api, name: str) -> dict[str, float]:
    """By the values of its labels."""
    families = text_string_to_metric_families((await api.http.get("/metrics")).text)
    return {
        ",".join(value for _, value in sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


@pytest.fixture
async def api_of_one_shard(api: Api, mesh: Mesh) -> Api:
    await mesh.created("s1")
    return api


def lines(caplog: pytest.LogCaptureFixture, message: str) -> Sequence[Mapping[str, Any]]:
    return [record.fields for record in caplog.records if record.getMessage() == message]  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "graph")


@pytest.mark.parametrize("document", [UPDATE, NOT_PREPARED])
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_a_change_a_conflict_and_a_refusal_have_outcomes_of_their_own(
    api_of_one_shard: Api, mesh: Mesh, caplog: pytest.LogCaptureFixture, document: str, accept: str
) -> None:
    api, headers = api_of_one_shard, {"accept": accept}
    caplog.clear()
    for version in (1, 1):
        assert (await api.post(document, move(version), **headers)).status_code == 200
    current = await mesh.store.namespaces.get(BILLING)
    assert current is not None
    await mesh.configure(expected=current.version, policy=NamespacePolicy(ticket_required=True))
    await api.post(document, move(2, "node-c"), **headers)
    await api.post(document, move(2, "node-c", reason=" "), **headers)
    outcomes = await counted(api, "omnirelay_operations_total")
    assert outcomes == {"ok,mutation": 1, "conflict,mutation": 1, "refused,mutation": 2}
    assert await counted(api, "omnirelay_changes_total") == {"UPDATE_SHARDS": 1}
    assert await counted(api, "omnirelay_conflicts_total") == {"VersionConflict": 1}
    assert await counted(api, "omnirelay_refusals_total") == {"PolicyViolation": 1, "InvalidInput": 1}
    assert await counted(api, "omnirelay_policy_refusals_total") == {"TICKET_REQUIRED": 1}
    (change,) = lines(caplog, "change")
    assert {**change, "request_id": ""} == {
        "id": 3, "kind": "UPDATE_SHARDS", "actor": "alice", "reason": "hot\tshard", "namespaces": 1,
        "first_revision": 2, "last_revision": 2, "request_id": "",
    }  # fmt: skip
    refusals = [(line["code"], line.get("rules"), line["actor"]) for line in lines(caplog, "refusal")]
    assert refusals == [
        ("VersionConflict", None, "alice"),
        ("PolicyViolation", ["TICKET_REQUIRED"], "alice"),
        ("InvalidInput", None, "alice"),
    ]
    assert lines(caplog, "request") == []


async def test_a_repeated_request_is_logged_as_such_and_no_change(
    api_of_one_shard: Api, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        await api_of_one_shard.post(UPDATE, move(1, idempotencyKey="k"))
    assert [line.get("replayed") for line in lines(caplog, "change")] == [None, True]
    assert await counted(api_of_one_shard, "omnirelay_changes_total") == {"UPDATE_SHARDS": 1}


async def test_errors_are_counted_and_logged_by_their_codes(
    api_of_one_shard: Api, caplog: pytest.LogCaptureFixture
) -> None:
    api = api_of_one_shard
    caplog.clear()
    await api.http.post("/graphql", json={"query": "query Broken { nowhere }"}, headers={"x-request-id": "mine"})
    await api.post("{")
    await api.post('query Past { shard(namespace: "billing", shardId: "s1", asOf: {revision: "99"}) { version } }')
    await api.http.post("/graphql", content=b"{", headers={"content-type": "application/json"})
    assert await counted(api, "omnirelay_errors_total") == {
        "GRAPHQL_VALIDATION_FAILED": 1,
        "GRAPHQL_PARSE_FAILED": 1,
        "FUTURE_CURSOR": 1,
        "BAD_REQUEST": 1,
    }
    first, *others = lines(caplog, "request")
    assert {**first, "seconds": 0, "caller": ""} == {
        "operation": "Broken", "type": "query", "outcome": "errors", "codes": ["GRAPHQL_VALIDATION_FAILED"],
        "seconds": 0, "caller": "", "transport": "http", "request_id": "mine",
    }  # fmt: skip
    assert [line["codes"] for line in others] == [["GRAPHQL_PARSE_FAILED"], ["FUTURE_CURSOR"], ["BAD_REQUEST"]]


async def test_requests_that_go_well_have_a_line_at_debug_also_where_an_answer_was_kept(
    api_of_one_shard: Api, caplog: pytest.LogCaptureFixture
) -> None:
    api = api_of_one_shard
    for _ in range(3):
        await api.post(LOOKUP)
    await api.http.get("/graphql", params={"query": LOOKUP})
    assert lines(caplog, "request") == []
    caplog.set_level(logging.DEBUG, "graph")
    for _ in range(3):
        await api.post(LOOKUP)
    await api.http.get("/graphql", params={"query": LOOKUP})
    told = lines(caplog, "request")
    assert [(line["operation"], line["type"], line["outcome"]) for line in told] == [("Lookup", "query", "ok")] * 4


async def test_a_slow_request_has_a_line_at_info(mesh: Mesh, feed: Feed, caplog: pytest.LogCaptureFixture) -> None:
    await mesh.created("s1")
    app = create_app(services_of(mesh.store, mesh.writer, feed), slow_request_seconds=0.0)
    async with api_of(app) as api:
        await api.post(LOOKUP)
        await api.post(UPDATE, move(1))
    assert [line["operation"] for line in lines(caplog, "request")] == ["Lookup", "Move"]


@pytest.fixture
async def address(app: Starlette) -> AsyncIterator[str]:
    async with serving(app) as address:
        yield address


async def test_a_socket_counts_and_logs_the_same(
    address: str, api_of_one_shard: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "graph")
    async with graphql_socket(address) as socket:
        for number, (document, variables) in enumerate(
            ((UPDATE, move(1)), (UPDATE, move(1)), ("query Broken { nowhere }", None), (LOOKUP, None))
        ):
            await socket.subscribe(document, variables, name=str(number))
            while (await socket.receive())["type"] == "next":
                pass
        await socket.subscribe("subscription Follow { shardDiffs { cursor } }", name="f")
        await socket.batch("f")
    told = [(line["operation"], line["outcome"], line["transport"]) for line in lines(caplog, "request")]
    assert told == [
        ("Move", "ok", "websocket"),
        ("Move", "conflict", "websocket"),
        ("Broken", "errors", "websocket"),
        ("Lookup", "ok", "websocket"),
        ("Follow", "ok", "websocket"),
    ]
    outcomes = await counted(api_of_one_shard, "omnirelay_operations_total")
    assert outcomes["conflict,mutation"] == 1
    assert await counted(api_of_one_shard, "omnirelay_conflicts_total") == {"VersionConflict": 1}
    assert await counted(api_of_one_shard, "omnirelay_errors_total") == {"GRAPHQL_VALIDATION_FAILED": 1}
