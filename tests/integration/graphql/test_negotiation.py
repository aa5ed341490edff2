"""Each client's own Accept header, with each kind of operation: an answer that this client can read.

The headers are those that the clients send by default, read from their released sources; `make clients` runs
urql itself.
"""

from __future__ import annotations

from typing import Final

import httpx2
import pytest

from graph.http.requests import EVENT_STREAM, GRAPHQL_RESPONSE, JSON
from tests.support.graphql_api import Api
from tests.support.mesh import BILLING, Mesh

QUERY: Final = "{ head { revision } }"
MUTATION: Final = """
mutation ($input: CreateShardsInput!) { createShards(input: $input) { ... on ShardsChanged { revision } } }"""
SUBSCRIPTION: Final = 'subscription { shardDiffs(after: "nonsense") { revision } }'

URQL: Final = (
    "application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed"
)
BROWSER: Final = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
REFUSED: Final = "SUBSCRIPTION_TRANSPORT"

# Of @urql/core 6.0, @apollo/client 4.3, graphql-request 7.4, graphql-sse 2, the fetch functions of Relay's examples and
# of browsers, and curl. Accept -> how a query or mutation is answered, and a subscription.
CLIENTS: Final = {
    "urql": (URQL, GRAPHQL_RESPONSE, EVENT_STREAM),
    "urql subscribing": ("text/event-stream, multipart/mixed", EVENT_STREAM, EVENT_STREAM),
    "Apollo": ("application/graphql-response+json,application/json;q=0.9", GRAPHQL_RESPONSE, REFUSED),
    "Apollo with @defer": (
        "multipart/mixed;deferSpec=20220824,application/graphql-response+json,application/json;q=0.9",
        GRAPHQL_RESPONSE,
        REFUSED,
    ),
    "Apollo subscribing": (
        "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/graphql-response+json,application/json;q=0.9",
        GRAPHQL_RESPONSE,
        REFUSED,
    ),
    "Relay": (
        "application/graphql-response+json; charset=utf-8, application/json; charset=utf-8",
        GRAPHQL_RESPONSE,
        REFUSED,
    ),
    "graphql-request": ("application/graphql-response+json, application/json", GRAPHQL_RESPONSE, REFUSED),
    "graphql-sse": ("text/event-stream", EVENT_STREAM, EVENT_STREAM),
    "GraphiQL": ("application/json, multipart/mixed", JSON, REFUSED),
    "curl, fetch": ("*/*", JSON, REFUSED),
    "a browser's page": (BROWSER, JSON, REFUSED),
    "streams as welcome as anything": ("text/event-stream, */*", JSON, EVENT_STREAM),
    "streams if need be": ("application/json, text/event-stream;q=0.1", JSON, EVENT_STREAM),
    "no streams": ("application/json;q=0.1, text/event-stream;q=0", JSON, REFUSED),
    "nothing": ("", JSON, REFUSED),
}


def shape(response: httpx2.Response) -> str:
    media_type = response.headers["content-type"].partition(";")[0]
    if media_type == EVENT_STREAM:
        assert response.text.startswith("event: next\ndata: {")
        assert response.text.endswith("}\n\nevent: complete\ndata:\n\n")
        assert "\r" not in response.text
        return EVENT_STREAM
    codes = {error["extensions"]["code"] for error in response.json().get("errors", ())}
    return REFUSED if REFUSED in codes else str(media_type)


@pytest.mark.parametrize("client", CLIENTS)
async def test_every_client_can_read_what_it_is_answered(api: Api, mesh: Mesh, client: str) -> None:
    accept, one_result, stream = CLIENTS[client]
    assert shape(await api.post(QUERY, accept=accept)) == one_result
    shard = {"namespace": BILLING, "shardId": "s1", "ownerNodeId": "node-a"}
    change = {"actor": "ops", "reason": "a client asks for it"}
    answer = await api.post(MUTATION, {"input": {"shards": [shard], "change": change}}, accept=accept)
    assert shape(answer) == one_result
    assert '{"createShards":{"revision":"1"}}' in answer.text
    assert (await mesh.store.stream.head()).revision == 1
    assert shape(await api.post(SUBSCRIPTION, accept=accept)) == stream


@pytest.mark.parametrize("query", ["{", "{ nothing }", "fragment f on Query { __typename }"])
async def test_an_operation_that_is_none_is_answered_as_a_query_would_be(api: Api, query: str) -> None:
    assert (await api.post(query, accept=URQL)).headers["content-type"] == GRAPHQL_RESPONSE


async def test_a_mutation_by_get_is_refused_in_json_to_whom_it_may(api: Api) -> None:
    for accept in (URQL, EVENT_STREAM):
        answer = await api.http.get("/graphql", params={"query": "mutation { __typename }"}, headers={"accept": accept})
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert answer.json()["errors"][0]["extensions"]["code"] == "METHOD_NOT_ALLOWED"


async def test_several_accept_headers_count_as_one(api: Api) -> None:
    headers = [
        ("content-type", "application/json"),
        ("accept", "text/event-stream;q=0.5"),
        ("accept", "application/json"),
    ]
    api.http.headers.pop("accept", None)
    answer = await api.http.post("/graphql", content='{"query": "{ __typename }"}', headers=headers)
    assert answer.headers["content-type"] == JSON
