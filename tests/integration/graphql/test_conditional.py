"""GET with entity tags, over a replica: unchanged is 304, changed is not, and no caller has another's answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final

import httpx2
import pytest

from graph.auth.principal import Scope
from graph.execution.services import Services
from graph.http.app import create_app
from graph.operations import operation, own_manifest
from graph.schema.build import MeshSchema
from persistence.feed.live import LiveFeed, live_feed
from persistence.replica.reader import ReplicaShards
from persistence.replica.replica import Replica, following
from persistence.service.executor import CommandExecutor
from tests.support.graphql_api import Api, api_of, services_of
from tests.support.graphql_documents import BY_ALICE, UPDATE, one_shard
from tests.support.mesh import Mesh, new
from tests.support.tokens import bearer, shared_secret

ONE: Final = 'query { shard(namespace: "billing", shardId: "a") { shardId ownerNodeId version } }'
LIST: Final = "query { shards { revision nodes { shardId } } }"
HISTORY: Final = "query { shardHistory { nodes { shardId version } } }"


class Served:
    """A server that answers lookups from memory, and counts what it executes."""

    def __init__(self, api: Api, mesh: Mesh, feed: LiveFeed, replica: Replica) -> None:
        self.api = api
        self.mesh = mesh
        self.executed = 0
        self.feed = feed
        self.replica = replica

    async def move(self, shard_id: str, owner: str) -> None:
        shard = await self.mesh.shard(shard_id)
        assert shard is not None
        await self.mesh.updated(shard, owner_node_id=owner)

    async def get(self, query: str, tag: str | None = None, method: str = "GET", **headers: str) -> httpx2.Response:
        """Once what was committed has arrived."""
        await self.feed.wait_for((await self.mesh.store.stream.head()).revision)
        given = headers if tag is None else {"if-none-match": tag, **headers}
        return await self.api.http.request(method, "/graphql", params={"query": query}, headers=given)


@pytest.fixture
async def served(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    await mesh.create(new("a"), new("b"))
    store = mesh.store
    async with live_feed(store.stream, store.signal) as feed, following(store.shards, feed) as replica:
        reading = replace(store, shards=ReplicaShards(replica, store.shards))
        writer = CommandExecutor(store.unit_of_work, note=replica.note)
        services: Services = replace(services_of(reading, writer, feed), lookups_at=replica.settled)
        await replica.ready()
        async with api_of(create_app(services, authentication=None)) as api:
            served = Served(api, mesh, feed, replica)
            execute = MeshSchema.execute

            async def counted(*arguments: Any, **named: Any) -> Any:
                served.executed += 1
                return await execute(*arguments, **named)

            monkeypatch.setattr(MeshSchema, "execute", counted)
            yield served


async def test_what_has_not_changed_is_304_and_a_lookup_is_not_executed(served: Served) -> None:
    for query in (ONE, LIST):
        first = await served.get(query)
        assert (first.status_code, first.headers["cache-control"]) == (200, "private, no-cache")
        assert first.headers["vary"] == "accept, authorization"
        before = served.executed
        again = await served.get(query, f"W/{first.headers['etag']}")
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        assert again.headers["cache-control"] == "private, no-cache"
        assert again.headers["x-request-id"]
        assert served.executed == before
    metrics = (await served.api.http.get("/metrics")).text
    assert "omnirelay_lookups_not_modified_total 2.0" in metrics


async def test_after_a_change_it_is_200_with_another_tag(served: Served) -> None:
    for query in (ONE, LIST, HISTORY):
        first = await served.get(query)
        await served.move("a", "node-b" if query == ONE else "node-c" if query == LIST else "node-d")
        second = await served.get(query, first.headers["etag"])
        assert second.status_code == 200
        assert second.json() != first.json()
        assert second.headers["etag"] != first.headers["etag"]
        assert (await served.get(query, second.headers["etag"])).status_code == 304


async def test_a_change_elsewhere_leaves_the_bytes_and_so_304(served: Served) -> None:
    first = await served.get(ONE)
    await served.move("b", "node-z")
    before = served.executed
    again = await served.get(ONE, first.headers["etag"])
    assert (again.status_code, again.headers["etag"]) == (304, first.headers["etag"])
    assert served.executed == before + 1


async def test_what_this_server_committed_is_not_missed_before_the_feed_brings_it(served: Served) -> None:
    tag = (await served.get(ONE)).headers["etag"]
    await served.api.data(UPDATE, input=one_shard("a", 1, ownerNodeId="node-b", change=BY_ALICE))
    answer = await served.api.http.get("/graphql", params={"query": ONE}, headers={"if-none-match": tag})
    assert answer.json()["data"]["shard"]["ownerNodeId"] == "node-b"


async def test_what_depends_on_more_than_shards_is_executed_and_saves_its_bytes(served: Served) -> None:
    for query in (HISTORY, "{ namespaces { nodes { name } } }", "{ __schema { queryType { name } } }", LIST + "#"):
        first = await served.get(query)
        before = served.executed
        again = await served.get(query, first.headers["etag"])
        assert (again.status_code, again.content) == (304, b"")
        assert served.executed == before + (query != LIST + "#")


async def test_no_caller_is_given_the_answer_of_another(served: Served) -> None:
    mesh = served.mesh
    services = replace(services_of(mesh.store, mesh.writer, served.feed), lookups_at=served.replica.settled)
    async with api_of(create_app(services, authentication=shared_secret())) as api:

        async def get(tag: str, authorization: str | None) -> httpx2.Response:
            headers = {"if-none-match": tag} | ({} if authorization is None else {"authorization": authorization})
            return await api.http.get("/graphql", params={"query": ONE}, headers=headers)

        first = await get("", bearer(Scope.READ))
        tag = first.headers["etag"]
        assert (await get(tag, bearer(Scope.READ))).status_code == 304
        for other in (bearer(Scope.OPERATE), bearer(Scope.READ, sub="bob")):
            answer = await get(tag, other)
            assert answer.status_code == 200
            assert answer.headers["etag"] != tag
        assert (await get(tag, bearer())).json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        for refused in (await get(tag, None), await get("*", "Bearer nonsense")):
            assert refused.status_code == 401
            assert "etag" not in refused.headers


@pytest.mark.parametrize("accept", ["application/json", "application/graphql-response+json"])
@pytest.mark.parametrize(
    "query",
    ["{", "{ nothing }", '{ shards(filter: {namespace: "nowhere"}) { revision } }', "mutation { __typename }"],
)
async def test_an_answer_with_errors_has_no_tag_and_is_not_stored(served: Served, query: str, accept: str) -> None:
    for tag in (None, "*"):
        answer = await served.get(query, tag, accept=accept)
        assert answer.json()["errors"]
        assert answer.status_code != 304
        assert "etag" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"


async def test_star_is_304_wherever_there_is_an_answer(served: Served) -> None:
    tag = (await served.get(ONE)).headers["etag"]
    answer = await served.get(ONE, "*")
    assert (answer.status_code, answer.headers["etag"]) == (304, tag)


async def test_the_media_types_have_tags_of_their_own(served: Served) -> None:
    tags = {
        (await served.get(ONE, accept=accept)).headers["etag"]
        for accept in ("application/json", "application/graphql-response+json")
    }
    assert len(tags) == 2


async def test_head_is_get_without_a_body(served: Served) -> None:
    for query in (ONE, HISTORY, "{ nothing }"):
        got, head = await served.get(query), await served.get(query, method="HEAD")
        assert (head.status_code, head.content) == (got.status_code, b"")
        for name in ("content-length", "content-type", "cache-control", "etag"):
            assert head.headers.get(name) == got.headers.get(name)
    head = await served.get(ONE, (await served.get(ONE)).headers["etag"], method="HEAD")
    assert head.status_code == 304
    assert (await served.get("mutation { __typename }", method="HEAD")).status_code == 405
    page = await served.api.http.head("/graphql", headers={"accept": "text/html"})
    assert (page.status_code, page.content) == (200, b"")


async def test_head_opens_no_stream(served: Served) -> None:
    stream = {"accept": "text/event-stream"}
    answer = await served.get("subscription { shardDiffs { revision } }", method="HEAD", **stream)
    assert answer.status_code == 400


async def test_neither_a_post_nor_an_event_stream_has_a_tag(served: Served) -> None:
    tag = (await served.get(ONE)).headers["etag"]
    posted = await served.api.http.post("/graphql", json={"query": ONE}, headers={"if-none-match": tag})
    streamed = await served.get(ONE, tag, accept="text/event-stream")
    for answer in (posted, streamed):
        assert answer.status_code == 200
        assert "etag" not in answer.headers


async def test_an_id_and_the_text_that_it_names_have_one_tag(served: Served) -> None:
    text = operation("ShardDetails")
    variables = json.dumps({"namespace": "billing", "shardId": "a"})
    (document_id,) = [entry.id for entry in own_manifest() if entry.text == text]
    by_text = await served.api.http.get("/graphql", params={"query": text, "variables": variables})
    by_id = await served.api.http.get(
        "/graphql",
        params={"documentId": document_id, "variables": variables},
        headers={"if-none-match": by_text.headers["etag"]},
    )
    assert by_text.json()["data"]["shard"]["shardId"] == "a"
    assert by_id.status_code == 304
