"""The short way in: what it answers itself, in which bytes, and what it hands on to the application behind."""

from __future__ import annotations

import hashlib
import json
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import pytest
from starlette.applications import Starlette
from starlette.types import Message, Receive, Scope, Send

from graph.auth.principal import Scope as Allowed
from graph.execution.services import Feed
from graph.http.app import create_app
from graph.http.entry import Entry
from graph.operations import operation, own_manifest
from persistence.model.outcomes import NotFound
from tests.support.graphql_api import services_of
from tests.support.mesh import BILLING, Mesh, new
from tests.support.tokens import bearer, shared_secret

LOOKUP = "query Look($n: String!, $k: String!) { shard(namespace: $n, shardId: $k) { shardId version updatedAt } }"
LIST = "{ shards(first: 2) { edges { cursor node { shardId } } pageInfo { hasNextPage } totalCount } }"
HISTORY = "{ shardHistory(first: 5) { nodes { shardId revision } } }"
REFUSED = "{ shardHistory(first: 501) { nodes { shardId } } }"
NULL_SPREADS = '{ good: __typename namespace(name: "absent") { name } shards(first: 0) { totalCount } }'
MUTATION = """
mutation($change: ChangeInput!) {
  removeShards: deleteShards(input: { shards: [], change: $change }) { __typename ... on InvalidInput { message } }
}
"""
CHANGED = """
mutation {
  deleteShards(input: {
    shards: [{ namespace: "billing", shardId: "s1", expectedVersion: 1 }], change: { actor: "ops", reason: "none" }
  }) { __typename }
}
"""
FOUND = {"n": BILLING, "k": "s1"}
HEADERS = {"host": "mesh.example:8080", "content-type": "application/json", "accept": "application/json"}


class Server:
    """An application, asked without a client's own notions of HTTP; and what passed its short way in."""

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self.handed_on = 0
        entry = app.middleware_stack
        assert isinstance(entry, Entry)
        self._behind = entry.behind
        entry.behind = self._counted

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.handed_on += 1
        await self._behind(scope, receive, send)

    async def send(
        self,
        pieces: Iterable[Message],
        headers: Sequence[tuple[str, str]],
        *,
        short: bool = True,
        into: Send | None = None,
        **scope: Any,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer, unless it is sent `into` something else."""
        waiting = iter(pieces)
        sent: list[Message] = []

        async def receive() -> Message:
            return next(waiting)

        async def send(message: Message) -> None:
            sent.append(message)

        full: Scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/graphql",
            "raw_path": b"/graphql",
            "root_path": "",
            "query_string": b"",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 8080),
            **scope,
        }
        await (self._app if short else self._behind)(full, receive, into or send)
        if not sent:
            return 0, {}, b""
        start, *rest = sent
        given = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
        return start["status"], given, b"".join(message["body"] for message in rest)

    async def post(
        self, body: Any, headers: Mapping[str, str] | None = None, *, short: bool = True
    ) -> tuple[int, dict[str, str], bytes]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {**HEADERS, "x-request-id": "find-me", **(headers or {})}
        return await self.send([whole(content)], list(given.items()), short=short)


def whole(body: bytes) -> Message:
    return {"type": "http.request", "body": body, "more_body": False}


@pytest.fixture
async def server(mesh: Mesh, feed: Feed) -> Server:
    await mesh.create(new("s1"), new("s2"), new("s3"))
    services = services_of(mesh.store, mesh.writer, feed)
    return Server(create_app(services, allowed_hosts=["mesh.example"], max_body_bytes=5_000, max_mutation_bytes=5_000))


@pytest.mark.parametrize("accept", ["application/json", "application/graphql-response+json", "*/*", ""])
@pytest.mark.parametrize(
    ("query", "variables"),
    [
        (LOOKUP, FOUND),
        (LOOKUP, {"n": BILLING, "k": "absent"}),
        (LOOKUP, {"n": BILLING, "k": "not an id"}),
        (LOOKUP, {"n": BILLING, "k": "\ud800"}),
        (LIST, None),
        (HISTORY, {}),
        (REFUSED, None),
        (NULL_SPREADS, None),
        (MUTATION, {"change": {"actor": "ops", "reason": "none"}}),
        (MUTATION, {"change": {"actor": "", "reason": "none"}}),
    ],
)
async def test_what_is_answered_on_the_short_way_is_answered_in_the_same_bytes_behind_it(
    server: Server, query: str, variables: Any, accept: str
) -> None:
    body = {"query": query, "variables": variables}
    short = await server.post(body, {"accept": accept})
    assert server.handed_on == 0
    behind = await server.post(body, {"accept": accept}, short=False)
    for _, headers, _ in (short, behind):
        for name in ("x-ratelimit-remaining", "x-ratelimit-reset"):
            headers.pop(name, None)  # of a budget that both have taken from
    assert short == behind
    assert short[1]["x-request-id"] == "find-me"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"query": LIST}, {"host": "elsewhere.example"}),
        ({"query": LIST}, {"content-type": "text/plain"}),
        ({"query": LIST}, {"content-type": "application/json; charset=latin-1"}),
        ({"query": LIST}, {"content-type": "application/json; charset*=a; charset*0=b"}),
        ({"query": LIST}, {"accept": "text/event-stream"}),
        ({"query": LIST}, {"accept": f"application/json, {'a' * 2_000}/b"}),
        ({"query": "{ nothing }"}, {}),
        ({"query": "{"}, {}),
        ({"query": LOOKUP, "variables": {"n": 1, "k": "s1"}}, {}),
        ({"query": LOOKUP, "variables": []}, {}),
        ({"query": LIST, "operationName": "Absent"}, {}),
        ({"query": LIST, "operationName": 1}, {}),
        ({"query": LIST, "extensions": {"a": 1}}, {}),
        ({"query": LIST, "extensions": {"persistedQuery": {"version": 1, "sha256Hash": "00"}}}, {}),
        ({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "00" * 32}}}, {}),
        ({"query": "subscription { shardDiffs { revision } }"}, {}),
        ([{"query": LIST}], {}),
        (b"", {}),
        (b"\xff", {}),
        (b'{"query":', {}),
        (json.dumps({"query": "{ __typename } #" + "x" * 5_000}).encode(), {}),
    ],
)
async def test_what_is_not_regular_is_decided_behind_and_nothing_of_it_is_lost(
    server: Server, body: Any, headers: dict[str, str]
) -> None:
    short = await server.post(body, headers)
    assert server.handed_on == 1
    assert short == await server.post(body, headers, short=False)


async def test_an_id_and_a_hash_of_different_documents_are_refused_behind(server: Server) -> None:
    identity = "sha256:" + hashlib.sha256(operation("ListShards").encode()).hexdigest()
    registered = {"persistedQuery": {"version": 1, "sha256Hash": hashlib.sha256(LIST.encode()).hexdigest()}}
    await server.post({"query": LIST, "extensions": registered})
    for extensions in (registered, {"persistedQuery": {"version": 1, "sha256Hash": "no hash"}}):
        body = {"documentId": identity, "extensions": extensions}
        handed_on = server.handed_on
        short = await server.post(body)
        assert server.handed_on == handed_on + 1
        assert short == await server.post(body, short=False)
        assert short[0] == 400


async def test_a_document_that_was_registered_is_executed_by_its_hash(server: Server) -> None:
    digest = hashlib.sha256(LIST.encode()).hexdigest()
    persisted = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": digest}}}
    registering = await server.post({"query": LIST, **persisted})
    again = await server.post({**persisted, "variables": {}})
    assert server.handed_on == 0
    assert registering == again == await server.post({"query": LIST}, short=False)


@pytest.mark.parametrize("name", ["host", "content-type", "accept", "authorization"])
async def test_a_header_that_is_given_twice_is_read_behind(server: Server, name: str) -> None:
    headers = [*HEADERS.items(), ("x-request-id", "find-me"), (name, HEADERS.get(name, "Bearer a"))]
    headers += [("authorization", "Bearer b")] if name == "authorization" else []
    pieces = [whole(json.dumps({"query": LIST}).encode())]
    short = await server.send(pieces, headers)
    assert server.handed_on == 1
    assert short == await server.send(pieces, headers, short=False)


async def test_a_body_that_comes_in_pieces_is_read_to_its_end(server: Server) -> None:
    content = json.dumps({"query": LOOKUP, "variables": FOUND}).encode()
    pieces = [
        {"type": "http.request", "body": content[i : i + 9], "more_body": True} for i in range(0, len(content), 9)
    ]
    pieces.append({"type": "http.request", "body": b"", "more_body": False})
    status, _, body = await server.send(pieces, list(HEADERS.items()))
    assert (status, server.handed_on) == (200, 0)
    assert json.loads(body)["data"]["shard"]["shardId"] == "s1"


async def test_a_body_is_not_kept_while_its_operation_is_under_way(
    server: Server, mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Piece(dict[str, Any]):
        def __init__(self, body: bytes, *, more: bool) -> None:
            super().__init__(whole(body), more_body=more)
            received.append(weakref.ref(self))

    class Body(bytes):
        def __del__(self) -> None:
            released.append(None)

    received: list[weakref.ref[Piece]] = []
    released: list[None] = []
    left: list[Piece | None] = []
    content = json.dumps({"query": CHANGED}).encode()

    def in_two() -> Iterator[Piece]:
        yield Piece(content[:9], more=True)
        yield Piece(content[9:], more=False)

    def in_one() -> Iterator[Message]:
        yield whole(Body(content))

    async def execute(_: object) -> NotFound:
        left.extend(each() for each in received)
        executed_after.append(len(released))
        return NotFound(namespaces=("none",))

    executed_after: list[int] = []
    monkeypatch.setattr(mesh.writer, "execute", execute)
    await server.send(in_two(), list(HEADERS.items()))
    assert left == [None, None]
    await server.send(in_one(), list(HEADERS.items()))
    assert (executed_after, server.handed_on) == ([0, 1], 0)


async def test_a_body_that_grows_too_large_in_pieces_is_refused_before_its_end(server: Server) -> None:
    pieces = [{"type": "http.request", "body": b" " * 1_000, "more_body": True}] * 7
    status, _, body = await server.send(pieces, list(HEADERS.items()))
    assert (status, server.handed_on) == (413, 1)
    assert json.loads(body)["errors"][0]["extensions"]["code"] == "PAYLOAD_TOO_LARGE"


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_not_answered(server: Server) -> None:
    pieces: list[Message] = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    assert await server.send(pieces, list(HEADERS.items())) == (0, {}, b"")


@pytest.mark.parametrize(
    "scope", [{"path": "/graphql/"}, {"path": "/readyz", "method": "GET"}, {"method": "PUT"}, {"method": "GET"}]
)
async def test_other_paths_and_methods_pass(server: Server, scope: dict[str, Any]) -> None:
    await server.send([whole(b"")], list(HEADERS.items()), **scope)
    assert server.handed_on == 1


async def test_without_a_good_token_the_body_is_not_read(mesh: Mesh, feed: Feed) -> None:
    app = create_app(services_of(mesh.store, mesh.writer, feed), authentication=shared_secret())
    server = Server(app)
    for authorization in ({}, {"authorization": "Bearer forged"}):
        headers: list[tuple[str, str]] = [*HEADERS.items(), *authorization.items()]
        status, _, _ = await server.send([], headers)  # to receive anything would raise StopIteration
        assert status == 401
    assert server.handed_on == 2
    status, _, _ = await server.post({"query": LIST}, {"authorization": bearer(Allowed.READ)})
    assert (status, server.handed_on) == (200, 2)


class Failing:
    def caller(self, authorization: object) -> NoReturn:  # noqa: ARG002 - of the protocol
        raise ZeroDivisionError("a secret")


async def test_a_token_that_cannot_be_read_is_answered_behind(mesh: Mesh, feed: Feed) -> None:
    server = Server(create_app(services_of(mesh.store, mesh.writer, feed), authentication=Failing()))
    short = await server.post({"query": LIST})
    assert (short[0], server.handed_on) == (500, 1)
    assert short == await server.post({"query": LIST}, short=False)


async def test_a_new_id_is_given_to_a_request_whose_own_is_not_fit(server: Server) -> None:
    ids = set()
    for _ in range(3):
        _, headers, _ = await server.post({"query": LIST}, {"x-request-id": "not fit\x7f"})
        ids.add(headers["x-request-id"])
    assert server.handed_on == 0
    assert [len(each) for each in ids] == [32] * 3


@pytest.mark.parametrize("short", [True, False])
async def test_what_the_server_raises_while_it_sends_is_not_answered_again(
    server: Server, caplog: pytest.LogCaptureFixture, *, short: bool
) -> None:
    sent: list[str] = []

    async def broken(message: Message) -> None:
        sent.append(message["type"])
        raise ZeroDivisionError

    body = whole(json.dumps({"query": LIST}).encode())
    with pytest.raises(ZeroDivisionError):
        await server.send([body], list(HEADERS.items()), short=short, into=broken)
    assert (sent, caplog.records) == (["http.response.start"], [])


async def test_a_defect_is_masked_and_logged(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> NoReturn:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr("graph.http.entry.encode_json", fail)
    status, headers, body = await server.post({"query": LIST})
    assert (status, server.handed_on, headers["x-request-id"]) == (500, 0, "find-me")
    assert json.loads(body)["errors"] == [
        {"message": "Internal error; report request id find-me.", "extensions": {"code": "INTERNAL"}}
    ]
    assert ["find-me" in record.getMessage() for record in caplog.records] == [True]


async def test_a_document_named_by_its_id_is_answered_at_once(server: Server) -> None:
    (identity,) = [entry.id for entry in own_manifest() if entry.text == operation("ShardDetails")]
    variables = {"namespace": BILLING, "shardId": "s1"}
    for each in (identity, identity.removeprefix("sha256:")):
        body = {"documentId": each, "variables": variables}
        assert await server.post(body) == await server.post(body, short=False)
        assert await server.post(body) == await server.post(
            {"query": operation("ShardDetails"), "variables": variables}
        )
    assert server.handed_on == 0
    handed_on: list[dict[str, Any]] = [
        {"documentId": "unknown"},
        {"documentId": [identity]},
        {"documentId": None, "query": "{ __typename }"},
        {"documentId": identity, "query": "{ __typename }"},
        {"documentId": identity, "query": operation("ShardDetails")},
    ]
    for number, given in enumerate(handed_on, 1):
        await server.post({**given, "variables": variables})
        assert server.handed_on == number
