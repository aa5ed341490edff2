"""Documents by their ids over HTTP, WebSockets and event streams, in each mode; automatic persisted queries as their
clients send them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
import pytest
from graphql import get_introspection_query
from starlette.applications import Starlette

from graph.auth.principal import Scope
from graph.auth.tokens import Authentication
from graph.execution.services import Feed
from graph.http.app import create_app
from graph.http.graphiql import TABS
from graph.operations import ManifestEntry, Trust, operation, own_manifest
from tests.support.event_stream import EventStream
from tests.support.graphql_api import GRAPHQL_RESPONSE, Api, api_of, services_of
from tests.support.graphql_socket import graphql_socket, raw_socket
from tests.support.mesh import Mesh, new
from tests.support.serving import serving
from tests.support.tokens import bearer, shared_secret

IDS: Final = {entry.text: entry.id for entry in own_manifest()}
LOOKUP: Final = operation("ShardDetails")
FOLLOW: Final = operation("WatchShards")
VARIABLES: Final = {"namespace": "billing", "shardId": "a"}
OTHER: Final = "query Other { head { revision } }"
LIVE: Final = "subscription { shardDiffs { revision } }"
JSON: Final = "application/json"

AppOf = Callable[..., Starlette]


@pytest.fixture
async def app_of(mesh: Mesh, feed: Feed) -> AppOf:
    """Of a mode, with one shard."""
    await mesh.create(new("a"))

    def app(trust: Trust, *added: ManifestEntry, authentication: Authentication | None = None) -> Starlette:
        services = services_of(mesh.store, mesh.writer, feed)
        return create_app(services, trusted_documents=trust, added_documents=added, authentication=authentication)

    return app


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def persisted(text: str) -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": sha256(text)}}


async def send(api: Api, method: str = "POST", accept: str = GRAPHQL_RESPONSE, **given: Any) -> httpx2.Response:
    headers = {"accept": accept}
    if method == "POST":
        return await api.http.post("/graphql", json=given, headers=headers)
    in_url = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
    return await api.http.get("/graphql", params=in_url, headers=headers)


def code(answer: httpx2.Response) -> str:
    (error,) = answer.json()["errors"]
    assert "data" not in answer.json()
    return str(error["extensions"]["code"])


def owner(answer: httpx2.Response) -> Any:
    return answer.json()["data"]["shard"]["ownerNodeId"]


@pytest.mark.parametrize("trust", ["prefer", "require"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_document_is_named_by_its_id(app_of: AppOf, trust: Trust, method: str) -> None:
    async with api_of(app_of(trust)) as api:
        for _ in range(2):
            for identity in (IDS[LOOKUP], IDS[LOOKUP].removeprefix("sha256:")):
                assert owner(await send(api, method, documentId=identity, variables=VARIABLES)) == "node-a"
        named = await send(
            api, method, documentId=IDS[LOOKUP], variables=VARIABLES, operationName="ShardDetails", extensions={}
        )
        assert owner(named) == "node-a"
        assert owner(await send(api, method, query=LOOKUP, variables=VARIABLES)) == "node-a"
        unknown = await send(api, method, documentId=IDS[LOOKUP], variables=VARIABLES, operationName="Other")
        assert code(unknown) == "OPERATION_NOT_FOUND"


async def test_by_default_the_ids_of_the_program_are_known_and_every_text_is_taken(api: Api) -> None:
    assert (await send(api, documentId=IDS[operation("StreamHead")])).json()["data"]["head"]["revision"] == "0"
    assert (await send(api, query=OTHER)).json() == {"data": {"head": {"revision": "0"}}}


async def test_a_mutation_named_by_its_id_is_not_executed_by_get(app_of: AppOf, mesh: Mesh) -> None:
    async with api_of(app_of("prefer")) as api:
        identity = IDS[operation("DeleteShards")]
        answer = await send(api, "GET", documentId=identity, variables={"input": {}})
        assert (answer.status_code, code(answer)) == (405, "METHOD_NOT_ALLOWED")
    assert await mesh.shard("a") is not None


@pytest.mark.parametrize(("accept", "not_found", "not_trusted"), [(JSON, 200, 200), (GRAPHQL_RESPONSE, 400, 403)])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_is_refused_has_a_status_that_clients_of_the_media_type_read(
    app_of: AppOf, accept: str, not_found: int, not_trusted: int, method: str
) -> None:
    given: dict[str, Any]
    async with api_of(app_of("prefer")) as api:
        for given in ({"documentId": sha256(OTHER)}, {"extensions": persisted(OTHER)}):
            answer = await send(api, method, accept, **given)
            assert (answer.status_code, code(answer)) == (not_found, "PERSISTED_QUERY_NOT_FOUND")
            assert answer.headers["content-type"] == accept
            assert answer.headers.get("cache-control") == ("no-store" if method == "GET" else None)
        mismatch = await send(api, method, accept, query=LOOKUP, extensions=persisted(OTHER))
        assert (mismatch.status_code, code(mismatch)) == (400, "BAD_REQUEST")
    async with api_of(app_of("off")) as api:
        for given in ({"documentId": IDS[LOOKUP]}, {"extensions": persisted(LOOKUP)}):
            answer = await send(api, method, accept, **given)
            assert (answer.status_code, code(answer)) == (not_found, "PERSISTED_QUERY_NOT_SUPPORTED")
        assert (await send(api, method, accept, query=OTHER)).json()["data"]
    async with api_of(app_of("require")) as api:
        for given in (
            {"query": OTHER},
            {"documentId": sha256(OTHER)},
            {"query": OTHER, "extensions": persisted(OTHER)},
        ):
            answer = await send(api, method, accept, **given)
            assert (answer.status_code, code(answer)) == (not_trusted, "DOCUMENT_NOT_TRUSTED")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_automatic_persisted_queries_as_their_clients_send_them(app_of: AppOf, method: str) -> None:
    """The hash alone; on PersistedQueryNotFound the document with it, once; from then on the hash alone."""
    async with api_of(app_of("prefer")) as api:
        text = operation("ListShards") + "# another"
        hash_alone: dict[str, Any] = {"operationName": "ListShards", "variables": {}, "extensions": persisted(text)}
        first = await send(api, method, **hash_alone)
        (error,) = first.json()["errors"]
        assert error["message"] == "PersistedQueryNotFound"
        assert error["extensions"] == {"code": "PERSISTED_QUERY_NOT_FOUND"}
        registered = await send(api, "POST", query=text, **hash_alone)
        assert registered.json()["data"]["shards"]
        assert (await send(api, method, **hash_alone)).json() == registered.json()
        known = await send(api, method, variables=VARIABLES, extensions=persisted(LOOKUP))
        assert owner(known) == "node-a", "the program's own need no registration"


async def test_a_client_of_a_server_without_them_goes_on_with_text(app_of: AppOf) -> None:
    async with api_of(app_of("off")) as api:
        (error,) = (await send(api, extensions=persisted(OTHER))).json()["errors"]
        assert error["message"] == "PersistedQueryNotSupported"
        assert (await send(api, query=OTHER, extensions=persisted(OTHER))).json()["data"]["head"]


async def test_where_trust_is_required_a_text_that_others_sent_before_is_refused_too(app_of: AppOf) -> None:
    async with api_of(app_of("prefer")) as api:
        for _ in range(3):
            assert "errors" not in (await send(api, query=OTHER)).json()
    async with api_of(app_of("require")) as api:
        for _ in range(3):
            assert code(await send(api, query=OTHER)) == "DOCUMENT_NOT_TRUSTED"


async def test_where_trust_is_required_introspection_takes_a_scope(app_of: AppOf) -> None:
    app = app_of("require", authentication=shared_secret())
    introspection = get_introspection_query()
    async with api_of(app) as api:
        for text in (introspection, "{ __typename }"):
            for _ in range(2):
                assert (await api.post(text, authorization=bearer(Scope.ADMIN))).json()["data"]
                for scopes in ((), (Scope.READ,), (Scope.OPERATE, Scope.APPROVE)):
                    refused = await api.post(text, authorization=bearer(*scopes))
                    assert (refused.status_code, code(refused)) == (403, "DOCUMENT_NOT_TRUSTED")
        by_id = await api.http.post(
            "/graphql",
            json={"documentId": IDS[LOOKUP], "variables": VARIABLES},
            headers={"authorization": bearer(), "accept": GRAPHQL_RESPONSE},
        )
        assert (by_id.status_code, code(by_id)) == (403, "FORBIDDEN"), "to be trusted is not to be allowed"
        assert code(await send(api, documentId=IDS[LOOKUP])) == "UNAUTHENTICATED"


async def test_graphiql_works_where_trust_is_required_and_callers_are_not(app_of: AppOf) -> None:
    async with api_of(app_of("require")) as api:
        page = await api.http.get("/graphql", headers={"accept": "text/html"})
        assert page.headers["content-type"].startswith("text/html")
        assert await api.data(get_introspection_query())
        for tab in TABS:
            answer = (await api.post(operation(tab.operation))).json()
            assert "errors" not in answer or "DOCUMENT" not in str(answer), tab


async def test_the_page_of_graphiql_is_not_sent_where_a_document_is_named(api: Api) -> None:
    for given in ({"documentId": IDS[operation("StreamHead")]}, {"extensions": persisted(OTHER)}):
        answer = await send(api, "GET", f"text/html, {JSON}", **given)
        assert answer.headers["content-type"] == JSON


async def test_documents_of_other_programs_are_known_by_their_ids(app_of: AppOf) -> None:
    async with api_of(app_of("require", ManifestEntry("web-5", OTHER, "web.json: operations[0]"))) as api:
        for given in ({"documentId": "web-5"}, {"query": OTHER}, {"extensions": persisted(OTHER)}):
            assert (await send(api, **given)).json()["data"]["head"]
        by_manifest_id = {"persistedQuery": {"version": 1, "sha256Hash": "web-5"}}
        assert (await send(api, extensions=by_manifest_id)).json()["data"]["head"], "as Apollo's link sends it"


async def test_a_socket_is_subscribed_to_by_an_id(app_of: AppOf, mesh: Mesh) -> None:
    for trust in ("prefer", "require"):
        async with serving(app_of(trust)) as address, graphql_socket(address) as socket:
            payloads: list[dict[str, Any]] = [
                {"documentId": IDS[FOLLOW]},
                {"extensions": persisted(FOLLOW), "query": None},
                {"query": FOLLOW},
            ]
            for number, payload in enumerate(payloads):
                await socket.send({"id": f"{number}", "type": "subscribe", "payload": payload})
                assert await socket.batch(f"{number}")
            await mesh.create(new(f"more-{trust}"))
            received = [await socket.receive() for _ in payloads]
            assert {message["id"] for message in received} == {"0", "1", "2"}
            shards = {message["payload"]["data"]["shardDiffs"]["diffs"][0]["shardId"] for message in received}
            assert shards == {f"more-{trust}"}


@pytest.mark.parametrize(
    ("trust", "payload", "expected"),
    [
        ("prefer", {"documentId": sha256(LIVE)}, "PERSISTED_QUERY_NOT_FOUND"),
        ("prefer", {"extensions": persisted(LIVE)}, "PERSISTED_QUERY_NOT_FOUND"),
        ("prefer", {"extensions": persisted(LIVE), "query": FOLLOW}, "BAD_REQUEST"),
        ("prefer", {"extensions": {"persistedQuery": 7}}, "BAD_REQUEST"),
        ("prefer", {"documentId": 7}, "BAD_REQUEST"),
        ("off", {"documentId": IDS[FOLLOW]}, "PERSISTED_QUERY_NOT_SUPPORTED"),
        ("require", {"query": LIVE}, "DOCUMENT_NOT_TRUSTED"),
        ("require", {"query": OTHER}, "DOCUMENT_NOT_TRUSTED"),
    ],
)
async def test_a_document_that_is_refused_ends_its_operation_alone(
    app_of: AppOf, trust: Trust, payload: dict[str, Any], expected: str
) -> None:
    async with serving(app_of(trust)) as address, graphql_socket(address) as socket:
        await socket.send({"id": "1", "type": "subscribe", "payload": payload})
        assert (await socket.error())["code"] == expected
        await socket.subscribe(FOLLOW)
        assert await socket.batch()


async def test_a_socket_registers_what_http_then_knows(app_of: AppOf) -> None:
    async with serving(app_of("prefer")) as address, graphql_socket(address) as socket:
        await socket.send({"id": "1", "type": "subscribe", "payload": {"query": OTHER, "extensions": persisted(OTHER)}})
        assert (await socket.batch())["revision"]
        async with httpx2.AsyncClient(timeout=60) as http:
            answer = await http.post(f"http://{address}/graphql", json={"extensions": persisted(OTHER)})
        assert answer.json()["data"]["head"]


async def test_before_it_is_introduced_a_socket_is_closed_whatever_it_names(app_of: AppOf) -> None:
    async with serving(app_of("prefer", authentication=shared_secret())) as address, raw_socket(address) as socket:
        await socket.send({"id": "1", "type": "subscribe", "payload": {"documentId": IDS[FOLLOW]}})
        assert (await socket.closed())[0] == 4401


@asynccontextmanager
async def streamed(address: str, method: str = "POST", **given: Any) -> AsyncIterator[EventStream]:
    sent: dict[str, Any] = {"json": given}
    if method == "GET":
        sent = {"params": {name: each if isinstance(each, str) else json.dumps(each) for name, each in given.items()}}
    async with (
        httpx2.AsyncClient(timeout=10) as http,
        http.stream(method, f"http://{address}/graphql", headers={"accept": "text/event-stream"}, **sent) as response,
    ):
        yield EventStream(response)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_event_stream_is_opened_by_an_id(app_of: AppOf, mesh: Mesh, method: str) -> None:
    async with serving(app_of("require")) as address:
        for given in ({"documentId": IDS[FOLLOW]}, {"extensions": persisted(FOLLOW)}):
            async with streamed(address, method, **given) as events:
                await events.begun()
                await mesh.create(new(f"of-{len(given)}-{next(iter(given))}"))
                assert (await events.next()).batch["diffs"]


async def test_a_document_that_is_refused_ends_its_stream(app_of: AppOf) -> None:
    async with serving(app_of("require")) as address, streamed(address, query=LIVE) as events:
        assert (await events.next()).error["code"] == "DOCUMENT_NOT_TRUSTED"
        assert (await events.next()).type == "complete"
        assert await events.event() is None
    async with serving(app_of("prefer")) as address, streamed(address, documentId=sha256(LIVE)) as events:
        assert (await events.next()).error["code"] == "PERSISTED_QUERY_NOT_FOUND"
