"""GraphQL over HTTP: what is answered to requests of every shape."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from graph.execution.services import Feed
from graph.http.app import create_app
from tests.support.graphql_api import GRAPHQL_RESPONSE, Api, api_of, services_of
from tests.support.mesh import Mesh

JSON = "application/json"
CHAIN_OF_FRAGMENTS = "{ ...f0 } " + " ".join(f"fragment f{n} on Query {{ ...f{n + 1} }}" for n in range(450))


@pytest.fixture(autouse=True)
async def the_server_stays_alive(api: Api) -> AsyncIterator[None]:
    yield
    assert await api.field("{ __typename }") == "Query"


async def send(api: Api, body: bytes | str, content_type: str | None = JSON, accept: str = JSON) -> httpx2.Response:
    headers = {"accept": accept} if content_type is None else {"accept": accept, "content-type": content_type}
    return await api.http.post("/graphql", content=body, headers=headers)


def code(response: httpx2.Response) -> str:
    (error,) = response.json()["errors"]
    assert error["message"]
    return str(error["extensions"]["code"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"query": "{ __typename }"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"query": "{ __typename }", "variables": {"n": ' + b"9" * 5_000 + b"}}",
        b'"{ __typename }"',
        b"null",
        b"17",
        b"[]",
        b'[{"query": "{ __typename }"}]',
        b"{}",
        b'{"query": null}',
        b'{"query": ""}',
        b'{"query": ["{ __typename }"]}',
        b'{"query": "{ __typename }", "variables": []}',
        b'{"query": "{ __typename }", "variables": "{}"}',
        b'{"query": "{ __typename }", "operationName": 7}',
        b'{"query": "{ __typename }", "extensions": 7}',
        b'{"query": "\xff\xfe"}',
        '{"query": "{ __typename }"}'.encode("utf-16"),
        b"\xef\xbb\xbf{}",
    ],
)
async def test_a_body_that_is_no_request_is_a_bad_request(api: Api, body: bytes) -> None:
    response = await send(api, body)
    assert (response.status_code, code(response)) == (400, "BAD_REQUEST")
    assert response.headers["content-type"] == JSON


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/graphql",
        "multipart/form-data; boundary=x",
        "application/json; charset*=a; charset*0=b",
        "application/json; charset=latin1",
        "nonsense",
        ";;;",
    ],
)
async def test_another_content_type_is_not_supported(api: Api, content_type: str | None) -> None:
    response = await send(api, '{"query": "{ __typename }"}', content_type)
    assert (response.status_code, code(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity, gzip", "br"])
async def test_a_compressed_body_is_not_supported(api: Api, encoding: str) -> None:
    headers = {"content-type": "application/json", "content-encoding": encoding}
    response = await api.http.post("/graphql", content=b'{"query": "{ __typename }"}', headers=headers)
    assert (response.status_code, code(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert response.headers["accept-encoding"] == "identity"
    response = await api.http.post(
        "/graphql", content=b'{"query": "{ __typename }"}', headers={**headers, "content-encoding": "identity"}
    )
    assert response.status_code == 200


async def test_a_body_beyond_the_limit_is_refused(mesh: Mesh, feed: Feed) -> None:
    async with api_of(create_app(services_of(mesh.store, mesh.writer, feed), max_body_bytes=2_000)) as api:
        fits = json.dumps({"query": "{ __typename }", "variables": {"x": "x" * 1_900}})
        assert (await send(api, fits)).status_code == 200
        response = await send(api, fits + " " * 2_000)
        assert (response.status_code, code(response)) == (413, "PAYLOAD_TOO_LARGE")

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(10):
                yield b" " * 500

        streamed = await api.http.post("/graphql", content=chunks(), headers={"content-type": JSON})
        assert streamed.status_code == 413


async def test_of_a_query_no_more_is_read_than_a_query_may_have(mesh: Mesh, feed: Feed) -> None:
    """Callers that may write may send more, of a mutation: what is none shows before that has come."""
    app = create_app(services_of(mesh.store, mesh.writer, feed), max_body_bytes=2_000, max_mutation_bytes=1_000_000)
    for way_in in ({}, {"accept": "text/event-stream"}):  # the short one, and the one behind it
        async with api_of(app) as api:
            sent = 0

            async def chunks() -> AsyncIterator[bytes]:
                nonlocal sent
                yield b'{"query": "{ __typename }", "variables": {"x": "'
                for _ in range(1_000):
                    sent += 1
                    yield b"x" * 500
                yield b'"}}'

            response = await api.http.post("/graphql", content=chunks(), headers={"content-type": JSON, **way_in})
            assert (response.status_code, code(response)) == (413, "PAYLOAD_TOO_LARGE")
            assert sent <= 5


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_not_allowed(api: Api, method: str) -> None:
    response = await api.http.request(method, "/graphql")
    assert response.status_code == 405
    assert {"GET", "POST"} <= set(response.headers["allow"].replace(" ", "").split(","))
    assert code(response) == "METHOD_NOT_ALLOWED"


async def test_a_query_may_come_by_get_and_a_mutation_may_not(api: Api) -> None:
    query = "query Named($first: Int) { shards(first: $first) { totalCount } }"
    parameters = {"query": query, "variables": '{"first": 1}', "operationName": "Named", "extensions": "{}"}
    response = await api.http.get("/graphql", params=parameters)
    assert response.json() == {"data": {"shards": {"totalCount": 0}}}
    response = await api.http.get("/graphql", params={"query": "mutation { __typename }"})
    assert (response.status_code, response.headers["allow"], code(response)) == (405, "POST", "METHOD_NOT_ALLOWED")
    for bad in ("{", "7", '"x"'):
        response = await api.http.get("/graphql", params={"query": "{ __typename }", "variables": bad})
        assert (response.status_code, code(response)) == (400, "BAD_REQUEST")


async def test_a_browser_gets_graphiql_and_a_program_without_a_query_an_error(api: Api) -> None:
    page = await api.http.get("/graphql", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert page.headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert (await api.http.get("/graphql", headers={"accept": "*/*"})).status_code == 400
    answer = await api.http.get("/graphql", params={"query": "{ __typename }"}, headers={"accept": "text/html"})
    assert answer.json() == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize(
    ("query", "variables", "expected"),
    [
        ("{", None, "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", None, "GRAPHQL_VALIDATION_FAILED"),
        ("query ($first: Int!) { shards(first: $first) { totalCount } }", {}, "BAD_USER_INPUT"),
        ("{" + "a{" * 50_000, None, "GRAPHQL_PARSE_FAILED"),
        ("{" + "a{" * 2_000, None, "GRAPHQL_PARSE_FAILED"),
        ("query ($x: JSON = " + "[" * 3_000 + ") { __typename }", None, "GRAPHQL_PARSE_FAILED"),
        ("{ a " * 40 + "}" * 40, None, "GRAPHQL_VALIDATION_FAILED"),
        (CHAIN_OF_FRAGMENTS, None, "GRAPHQL_VALIDATION_FAILED"),
        ("\ud800", None, "GRAPHQL_PARSE_FAILED"),
        ('{ shard(namespace: "\ud800") { version } }', None, "GRAPHQL_PARSE_FAILED"),
        ("{ x\0 }", None, "GRAPHQL_PARSE_FAILED"),
    ],
)
async def test_a_document_that_cannot_be_executed_has_no_data_and_says_why(
    api: Api, query: str, variables: Any, expected: str
) -> None:
    body = json.dumps({"query": query, "variables": variables})
    strict = await send(api, body, accept=GRAPHQL_RESPONSE)
    assert (strict.status_code, strict.headers["content-type"]) == (400, GRAPHQL_RESPONSE)
    lenient = await send(api, body, accept=JSON)
    assert (lenient.status_code, lenient.headers["content-type"]) == (200, JSON)
    for response in (strict, lenient):
        answer = response.json()
        assert "data" not in answer
        assert answer["errors"][0]["extensions"]["code"] == expected


async def test_an_answer_with_errors_of_its_fields_has_data(api: Api) -> None:
    response = await api.post('{ head { revision } shard(namespace: "-", shardId: "1") { version } }')
    assert response.status_code == 200
    answer = response.json()
    assert answer["data"] == {"head": {"revision": "0"}, "shard": None}
    assert answer["errors"][0]["path"] == ["shard"]


async def test_an_operation_is_found_by_its_name(api: Api) -> None:
    document = "query A { __typename } query B { head { revision } }"
    body = {"query": document, "operationName": "B"}
    response = await api.http.post("/graphql", json=body)
    assert response.json() == {"data": {"head": {"revision": "0"}}}
    response = await api.http.post("/graphql", json=body | {"operationName": "C"})
    assert (response.status_code, code(response)) == (400, "OPERATION_NOT_FOUND")


async def test_a_subscription_is_told_which_transports_there_are(api: Api) -> None:
    response = await api.post("subscription { shardDiffs { revision } }")
    assert (response.status_code, code(response)) == (400, "SUBSCRIPTION_TRANSPORT")


async def test_every_answer_carries_the_request_id(api: Api) -> None:
    for path in ("/graphql", "/healthz", "/readyz", "/metrics", "/nowhere"):
        own = await api.http.get(path, headers={"x-request-id": "deploy-7:a"})
        assert own.headers["x-request-id"] == "deploy-7:a"
        made = {
            (await api.http.get(path, headers={"x-request-id": "x" * 65})).headers["x-request-id"] for _ in range(2)
        }
        assert len(made) == 2


async def test_a_path_that_is_not_there_is_answered_in_json(api: Api) -> None:
    response = await api.http.get("/nowhere")
    assert (response.status_code, code(response)) == (404, "NOT_FOUND")
