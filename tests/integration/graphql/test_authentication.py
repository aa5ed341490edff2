"""Bearer tokens on every transport: who gets in, as whom, until when, and what becomes of forgeries."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from graph.auth.keys import KeyFile, public_keys
from graph.auth.principal import Principal, Scope
from graph.auth.tokens import Authentication, BearerTokens, Rules
from graph.execution.context import Context
from graph.execution.services import Feed
from graph.http.app import create_app
from graph.schema.build import build_schema
from graph.subscriptions.operation import SharingKey, SubscriptionOperation, open_operation
from persistence.model.paging import PageRequest
from persistence.model.queries import RefusalFilter
from persistence.model.records import ChangeKind
from tests.support.event_stream import event_stream
from tests.support.graphql_api import GRAPHQL_RESPONSE, Api, api_of, services_of
from tests.support.graphql_socket import graphql_socket, raw_socket
from tests.support.mesh import BILLING, COUNTED, Mesh, new
from tests.support.serving import serving
from tests.support.tokens import (
    OTHER_SECRET,
    bearer,
    key_set,
    private_key,
    public_member,
    shared_secret,
    signed,
    soon,
    token,
)

HEAD = "{ head { revision } }"
FOLLOW = "subscription { shardDiffs { revision diffs { shardId change { actor } } } }"
CREATE = """
mutation($input: CreateShardsInput!) {
  createShards(input: $input) {
    __typename
    ... on ShardsChanged { change { actor } }
    ... on InvalidInput { errors { field message } }
  }
}
"""


def app_of(mesh: Mesh, feed: Feed, authentication: Authentication | None = None) -> Starlette:
    return create_app(services_of(mesh.store, mesh.writer, feed), authentication=authentication or shared_secret())


@pytest.fixture
async def guarded(mesh: Mesh, feed: Feed) -> AsyncIterator[Api]:
    """A server that shares the secret of the tests."""
    async with api_of(app_of(mesh, feed)) as api:
        yield api


@pytest.fixture
async def address(mesh: Mesh, feed: Feed) -> AsyncIterator[str]:
    """The same, on a socket."""
    async with serving(app_of(mesh, feed)) as address:
        yield address


def one_shard(**change: Any) -> dict[str, Any]:
    shard = {"namespace": BILLING, "shardId": "s1", "ownerNodeId": "node-a"}
    return {"input": {"shards": [shard], "change": {"reason": "more room", **change}}}


async def test_without_a_token_nothing_is_answered_and_a_token_is_asked_for(guarded: Api) -> None:
    for accept in ("application/json", GRAPHQL_RESPONSE, "text/event-stream"):
        answer = await guarded.post(HEAD, accept=accept)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="omnirelay"'
        (error,) = answer.json()["errors"]
        assert error["extensions"] == {"code": "UNAUTHENTICATED"}
        assert error["message"] == "this server requires a token (Authorization: Bearer ...)"


async def test_a_bad_token_is_refused_with_the_reason_and_without_the_token(guarded: Api) -> None:
    expired = bearer(Scope.READ, exp=int(time.time()) - 60)
    answer = await guarded.post(HEAD, authorization=expired)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == (
        'Bearer realm="omnirelay", error="invalid_token", error_description="the token has expired"'
    )
    assert expired.removeprefix("Bearer ") not in answer.text


async def test_refused_callers_are_counted(guarded: Api) -> None:
    for authorization in (bearer(Scope.READ, exp=1), bearer(), bearer(Scope.READ)):
        await guarded.post(HEAD, authorization=authorization)
    assert "\nomnirelay_callers_refused_total 1.0\n" in (await guarded.http.get("/metrics")).text


async def test_a_token_in_the_address_is_none(guarded: Api) -> None:
    for name in ("access_token", "token", "authorization"):
        answer = await guarded.http.get("/graphql", params={"query": HEAD, name: token(Scope.READ)})
        assert answer.status_code == 401


async def test_a_token_too_long_to_be_one_is_refused(guarded: Api) -> None:
    answer = await guarded.post(HEAD, authorization=bearer(Scope.READ, padding="x" * 20_000))
    assert answer.status_code == 401
    assert "longer than 8,192 characters" in answer.text


async def test_a_body_without_a_token_is_refused(guarded: Api) -> None:
    answer = await guarded.http.post("/graphql", content=b"\xff" * 1_000)
    assert answer.status_code == 401


async def test_with_a_token_all_is_as_ever(guarded: Api) -> None:
    answer = await guarded.post(HEAD, authorization=bearer(Scope.READ))
    assert (answer.status_code, answer.json()["data"]["head"]["revision"]) == (200, "0")


async def test_probes_and_the_page_need_no_token(guarded: Api) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await guarded.http.get(path)).status_code == 200
    page = await guarded.http.get("/graphql", headers={"accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")


async def test_the_actor_is_the_subject_of_the_token(guarded: Api) -> None:
    answer = await guarded.post(CREATE, one_shard(), authorization=bearer(Scope.OPERATE, sub="carol"))
    assert answer.json()["data"]["createShards"] == {"__typename": "ShardsChanged", "change": {"actor": "carol"}}


async def test_the_actor_may_be_repeated_and_is_no_other(guarded: Api, mesh: Mesh) -> None:
    answer = await guarded.post(CREATE, one_shard(actor="mallory"), authorization=bearer(Scope.OPERATE, sub="carol"))
    assert answer.json()["data"]["createShards"] == {
        "__typename": "InvalidInput",
        "errors": [{"field": "change.actor", "message": "must be the token's subject or left out, not 'mallory'"}],
    }
    assert [change.actor for change in await mesh.changes()] == ["ops"]  # who configured the namespace
    answer = await guarded.post(CREATE, one_shard(actor="carol"), authorization=bearer(Scope.OPERATE, sub="carol"))
    assert answer.json()["data"]["createShards"]["__typename"] == "ShardsChanged"


async def test_what_a_token_does_not_allow_is_forbidden_and_names_the_scope(guarded: Api) -> None:
    answer = await guarded.post(CREATE, one_shard(), authorization=bearer(Scope.READ))
    assert answer.status_code == 403
    (error,) = answer.json()["errors"]
    assert "data" not in answer.json()
    assert error["message"] == "createShards needs a token with the scope mesh.operate"
    assert error["extensions"] == {"code": "FORBIDDEN", "scope": "mesh.operate"}
    answer = await guarded.post(CREATE, one_shard(), authorization=bearer(Scope.READ), accept="application/json")
    assert answer.status_code == 200


async def test_who_tries_to_force_without_the_scope_changes_nothing_and_is_on_record(guarded: Api, mesh: Mesh) -> None:
    before = await mesh.changes()
    forced = one_shard(changeTicket="CHG-7", force={"reason": "I know better"})
    answer = await guarded.post(CREATE, forced, authorization=bearer(Scope.OPERATE, sub="mallory"))
    assert answer.json()["errors"][0]["extensions"] == {"code": "FORBIDDEN", "scope": "mesh.admin"}
    assert await mesh.changes() == before
    (kept,) = (await mesh.store.refusals.page(RefusalFilter(), PageRequest(10), newest_first=False)).items
    assert (kept.outcome, kept.details) == ("Forbidden", {"scope": "mesh.admin"})
    assert (kept.kind, kept.actor, kept.change_ticket) == (ChangeKind.CREATE_SHARDS, "mallory", "CHG-7")
    assert kept.namespaces == (BILLING,)


async def test_a_malformed_attempt_to_force_is_forbidden_and_not_kept(guarded: Api, mesh: Mesh) -> None:
    forced = one_shard(changeTicket="", force={"reason": "I know better"})
    answer = await guarded.post(CREATE, forced, authorization=bearer(Scope.OPERATE))
    assert answer.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert (await mesh.store.refusals.page(RefusalFilter(), COUNTED, newest_first=True)).total == 0


@pytest.mark.parametrize(
    "selection",
    [
        "createShards(input: $input) { __typename } configureNamespace(input: $other) { __typename }",
        "createShards(input: $input) { __typename } ...Rest",
        "... on Mutation { createShards(input: $input) { __typename } ...Rest }",
        "createShards(input: $input) { __typename } configureNamespace(input: $other) @skip(if: true) { __typename }",
    ],
)
async def test_a_document_is_refused_as_a_whole(guarded: Api, mesh: Mesh, selection: str) -> None:
    document = f"mutation($input: CreateShardsInput!, $other: ConfigureNamespaceInput!) {{ {selection} }}"
    if "...Rest" in selection:
        document += "fragment Rest on Mutation { configureNamespace(input: $other) { __typename } }"
    other = {"name": "new", "strategy": "ring", "change": {"reason": "why not"}}
    before = await mesh.changes()
    answer = await guarded.post(document, {**one_shard(), "other": other}, authorization=bearer(Scope.OPERATE))
    assert answer.json()["errors"][0]["extensions"] == {"code": "FORBIDDEN", "scope": "mesh.admin"}
    assert await mesh.changes() == before


async def test_only_the_operation_that_is_asked_for_counts(guarded: Api) -> None:
    document = "query Reads { head { revision } } " + CREATE.replace("mutation(", "mutation Writes(")
    body = json.dumps({"query": document, "operationName": "Reads"})
    headers = {"content-type": "application/json", "authorization": bearer(Scope.READ)}
    assert (await guarded.http.post("/graphql", content=body, headers=headers)).json() == {
        "data": {"head": {"revision": "0"}}
    }


@pytest.mark.parametrize("name", ["authorization", "Authorization"])
async def test_a_socket_is_introduced_with_a_token(address: str, mesh: Mesh, name: str) -> None:
    async with graphql_socket(address, {name: bearer(Scope.OPERATE, sub="carol")}) as socket:
        await socket.subscribe(FOLLOW, name="follow")
        await socket.batch("follow")
        await socket.subscribe(CREATE, one_shard(), name="write")
        seen = {(message := await socket.receive())["id"]: message for _ in range(3)}
        assert seen["write"]["type"] in ("next", "complete")
    assert "carol" in [change.actor for change in await mesh.changes()]


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        (None, 4401, "Unauthorized: this server requires a token (Authorization: Bearer ...)"),
        ({"token": bearer(Scope.READ)}, 4401, "Unauthorized: this server requires a token (Authorization: Bearer ...)"),
        ({"authorization": token(Scope.READ)}, 4401, "Unauthorized: the authorization must be `Bearer` and a token"),
        ({"authorization": [7]}, 4401, "Unauthorized: the authorization must be a string: `Bearer` and a token"),
        ({"authorization": f"Bearer {signed(OTHER_SECRET)}"}, 4401, "Unauthorized: the token's signature is wrong"),
        ({"authorization": bearer(exp=None)}, 4401, "Unauthorized: the token has no `exp`"),
        ({"authorization": bearer(Scope.READ, exp=1)}, 4403, "Forbidden: the token has expired"),
        (
            {"authorization": bearer(nbf=2**33)},
            4403,
            "Forbidden: the token is not valid yet; are the clocks right?",
        ),
    ],
)
async def test_a_socket_without_a_good_token_is_closed_for_good_unless_the_next_one_may_be_taken(
    address: str, payload: dict[str, Any] | None, code: int, reason: str
) -> None:
    async with raw_socket(address) as socket:
        await socket.send({"type": "connection_init", "payload": payload})
        assert await socket.closed() == (code, reason)


async def test_a_key_that_is_not_known_yet_is_to_be_shown_again(mesh: Mesh, feed: Feed, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(key_set(*(public_member("EdDSA", name) for name in ("old", "older"))))
    new_key = f"Bearer {signed(private_key('EdDSA', 'new'), 'EdDSA', header={'kid': 'new'})}"
    app = app_of(mesh, feed, BearerTokens(KeyFile(file, public_keys, is_secret=False), Rules()))
    async with serving(app) as address, raw_socket(address) as socket:
        await socket.send({"type": "connection_init", "payload": {"authorization": new_key}})
        code, reason = await socket.closed()
    assert (code, "that this server does not know (kid)" in reason) == (4403, True)


async def test_a_socket_that_was_not_introduced_is_closed_when_it_asks(address: str) -> None:
    async with raw_socket(address) as socket:
        await socket.subscribe(HEAD)
        assert await socket.closed() == (4401, "Unauthorized")


async def test_a_forbidden_operation_ends_and_the_socket_lives_on(address: str) -> None:
    async with graphql_socket(address, {"authorization": bearer(Scope.READ)}) as socket:
        await socket.subscribe(CREATE, one_shard())
        error = await socket.error()
        assert (error["code"], error["scope"]) == ("FORBIDDEN", "mesh.operate")
        await socket.subscribe(FOLLOW, name="2")
        await socket.batch("2")
    async with graphql_socket(address, {"authorization": bearer()}) as socket:
        await socket.subscribe(FOLLOW)
        assert (await socket.error())["code"] == "FORBIDDEN"


async def test_a_socket_is_closed_when_its_token_expires(mesh: Mesh, feed: Feed) -> None:
    async with serving(app_of(mesh, feed, shared_secret())) as address:
        expires = soon()
        async with graphql_socket(address, {"authorization": bearer(Scope.READ, exp=expires)}) as socket:
            await socket.subscribe(FOLLOW)
            await socket.batch()
            assert await socket.closed() == (4403, "Forbidden: the token has expired")
        assert time.time() >= expires


async def test_an_event_stream_ends_when_its_token_expires(mesh: Mesh, feed: Feed) -> None:
    async with serving(app_of(mesh, feed, shared_secret())) as address:
        expires = soon()
        async with event_stream(address, FOLLOW, authorization=bearer(Scope.READ, exp=expires)) as stream:
            begun = await stream.begun()
            while "errors" not in (event := await stream.next()).payload:
                pass
            assert event.error == {"message": "the token has expired", "code": "UNAUTHENTICATED"}
            assert (await stream.next()).type == "complete"
            assert await stream.event() is None
        assert time.time() >= expires
        await mesh.create(new("s1"))
        resumed = event_stream(address, FOLLOW, authorization=bearer(Scope.READ), last_event_id=str(begun.id))
        async with resumed as stream:
            assert [diff["shardId"] for diff in (await stream.begun()).batch["diffs"]] == ["s1"]


async def test_keys_are_rotated_while_the_server_runs(mesh: Mesh, feed: Feed, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    by = {
        name: f"Bearer {signed(private_key('EdDSA', name), 'EdDSA', header={'kid': name}, scope='mesh.read')}"
        for name in ("old", "new")
    }

    def publish(*names: str) -> None:
        fresh = file.with_suffix(".new")
        fresh.write_bytes(key_set(*(public_member("EdDSA", name) for name in names)))
        fresh.replace(file)

    publish("old")
    async with api_of(app_of(mesh, feed, BearerTokens(KeyFile(file, public_keys, is_secret=False), Rules()))) as api:

        async def asked() -> list[int]:
            return [(await api.post(HEAD, authorization=by[name])).status_code for name in ("old", "new")]

        assert await asked() == [200, 401]
        publish("old", "new")
        assert await asked() == [200, 200]
        publish("new")
        assert await asked() == [401, 200]
        file.write_text("broken")
        assert await asked() == [401, 200]


async def test_only_subscribers_with_the_same_scopes_share_what_is_sent(mesh: Mesh, feed: Feed) -> None:
    schema, services = build_schema(), services_of(mesh.store, mesh.writer, feed)

    async def key(subject: str, *scopes: Scope) -> SharingKey:
        context = Context(services, Principal(subject, frozenset(scopes)), "request")
        opened = await open_operation(schema, FOLLOW, {}, None, context)
        assert isinstance(opened, SubscriptionOperation)
        return opened.key

    assert await key("alice", Scope.READ) == await key("bob", Scope.READ)
    assert await key("alice", Scope.READ) != await key("alice", Scope.READ, Scope.ADMIN)
