"""Answers that are kept whole: sent again while what they were read from stands, and never after."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from graph.auth.principal import Scope as Allowed
from graph.http.admission import AdmissionQueue
from graph.http.app import create_app
from graph.http.entry import Entry
from persistence.commands.nodes import RegisterNode
from persistence.commands.shards import PinRequest
from persistence.feed.live import LiveFeed, live_feed
from persistence.model.paging import PageRequest
from persistence.model.queries import EVERY_SHARD
from persistence.model.records import AsOf, ShardKey, StreamPosition
from persistence.replica.observed_reads import ObservedReads
from persistence.replica.reader import ReplicaShards
from persistence.replica.replica import Replica, following
from persistence.service.executor import CommandExecutor
from tests.support.graphql_api import Api, api_of, services_of
from tests.support.graphql_documents import BY_ALICE, UPDATE, one_shard
from tests.support.mesh import BILLING, CHANGE, SEARCH, Mesh, new
from tests.support.tokens import bearer, shared_secret

FIELDS: Final = "shardId ownerNodeId version revision updatedAt"
ONE: Final = f'query($k: String!) {{ shard(namespace: "billing", shardId: $k) {{ {FIELDS} }} }}'
PAGE: Final = f"""
{{ shards(filter: {{namespace: "billing"}}, first: 2) {{ nodes {{ {FIELDS} }} totalCount pageInfo {{ endCursor }} }} }}
"""
EVERY: Final = "{ shards { edges { cursor node { namespace shardId version } } } }"
STAMPED: Final = "{ shards(first: 1) { nodes { shardId } at: revision } }"
BY_KEY: Final = """
query($keys: [ShardKeyInput!]!) { shardsByKey(keys: $keys) { shards { shardId version } } }
"""
KEYS: Final = {"keys": [{"namespace": BILLING, "shardId": "a"}, {"namespace": BILLING, "shardId": "absent"}]}


class Served:
    """An application that answers lookups from memory."""

    def __init__(self, api: Api, mesh: Mesh, feed: LiveFeed, replica: Replica, entry: Entry | None = None) -> None:
        self.api = api
        self.mesh = mesh
        self.feed = feed
        self.replica = replica
        self.entry = entry

    async def arrived(self) -> None:
        """Everything that was committed is in memory."""
        await self.feed.wait_for((await self.mesh.store.stream.head()).revision)

    async def move(self, shard_id: str, owner: str, namespace: str = BILLING) -> None:
        shard = await self.mesh.shard(shard_id, namespace)
        assert shard is not None
        await self.mesh.updated(shard, owner_node_id=owner)
        await self.arrived()

    async def again(self) -> int:
        """How many lookups were answered by what was kept."""
        families = text_string_to_metric_families((await self.api.http.get("/metrics")).text)
        samples = (sample for family in families for sample in family.samples)
        return next(int(one.value) for one in samples if one.name == "omnirelay_lookups_answered_again_total")

    async def kept(self, query: str, variables: Any = None) -> bool:
        """Whether this is answered by what was kept; the answer is what executing it answers, in any case."""
        before = await self.again()
        answer = await self.api.post(query, variables, accept="application/json")
        assert answer.json() == (await self.api.post(query + " ", variables)).json()
        return await self.again() > before


@pytest.fixture
async def served(mesh: Mesh) -> AsyncIterator[Served]:
    await mesh.configure(SEARCH)
    await mesh.create(new("a"), new("b"), new("c"), new("a", namespace=SEARCH))
    store = mesh.store
    async with live_feed(store.stream, store.signal) as feed, following(store.shards, feed) as replica:
        await replica.ready()
        async with api_of(application(mesh, feed, replica)) as api:
            yield Served(api, mesh, feed, replica)


def application(
    mesh: Mesh,
    feed: LiveFeed,
    replica: Replica,
    lookups_at: Callable[[], StreamPosition | None] = lambda: None,
    **options: Any,
) -> Starlette:
    memory = ReplicaShards(replica, mesh.store.shards)
    writer = CommandExecutor(mesh.store.unit_of_work, note=replica.note, group=mesh.store.change_group)
    services = services_of(replace(mesh.store, shards=memory), writer, feed)
    return create_app(replace(services, memory=memory, lookups_at=lookups_at), **options)


async def executed(served: Served, query: str, variables: Any = None) -> None:
    """Its answer is kept from now on."""
    await served.kept(query, variables)
    assert await served.kept(query, variables)


async def test_a_lookup_is_kept_while_its_shard_stands(served: Served) -> None:
    await executed(served, ONE, {"k": "a"})
    await served.move("b", "node-z")
    assert await served.kept(ONE, {"k": "a"})
    await served.move("a", "node-z")
    assert not await served.kept(ONE, {"k": "a"})
    assert await served.kept(ONE, {"k": "a"})
    shard = await served.mesh.shard("a")
    assert shard is not None
    await served.mesh.delete(shard)
    await served.arrived()
    assert not await served.kept(ONE, {"k": "a"})


async def test_that_a_shard_is_absent_is_kept_until_there_is_one(served: Served) -> None:
    await executed(served, ONE, {"k": "absent"})
    await served.move("b", "node-z")
    assert await served.kept(ONE, {"k": "absent"})
    await served.mesh.create(new("absent"))
    await served.arrived()
    assert not await served.kept(ONE, {"k": "absent"})


async def test_a_page_is_kept_while_nothing_of_its_namespace_changes(served: Served) -> None:
    await executed(served, PAGE)
    await served.move("a", "node-z", SEARCH)
    assert await served.kept(PAGE)
    for change in (new("0"), new("d")):
        await served.mesh.create(change)
        await served.arrived()
        assert not await served.kept(PAGE)
        assert await served.kept(PAGE)
    await served.move("a", "node-z")
    assert not await served.kept(PAGE)


async def test_a_page_of_all_namespaces_changes_with_each(served: Served) -> None:
    await executed(served, EVERY)
    await served.move("a", "node-z", SEARCH)
    assert not await served.kept(EVERY)


async def test_what_shows_a_position_is_kept_until_anything_changes(served: Served) -> None:
    await executed(served, STAMPED)
    await served.mesh.configure("elsewhere")
    await served.mesh.create(new("x", namespace="elsewhere"))
    await served.arrived()
    assert not await served.kept(STAMPED)


async def test_shards_by_their_keys_are_kept_while_each_stands(served: Served) -> None:
    await executed(served, BY_KEY, KEYS)
    await served.move("b", "node-z")
    assert await served.kept(BY_KEY, KEYS)
    await served.move("a", "node-z")
    assert not await served.kept(BY_KEY, KEYS)
    await served.mesh.create(new("absent"))
    await served.arrived()
    assert not await served.kept(BY_KEY, KEYS)


async def test_what_this_server_committed_is_in_the_next_answer(served: Served) -> None:
    """Before the feed has brought it."""
    for query, variables in ((ONE, {"k": "a"}), (PAGE, None)):
        await executed(served, query, variables)
        version = (await served.api.field(ONE, k="a"))["version"]
        await served.api.data(
            UPDATE, input=one_shard("a", int(version), ownerNodeId=f"node-{version}", change=BY_ALICE)
        )
        answer = (await served.api.post(query, variables)).json()
        assert f"node-{version}" in str(answer)
        await served.arrived()


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("{ shardHistory(first: 1) { nodes { revision } } }", None),
        ("{ namespaces { nodes { name } } }", None),
        ('{ shard(namespace: "billing", shardId: "a", asOf: {revision: "1"}) { shardId } }', None),
        ('{ shard(namespace: "billing", shardId: "not an id") { shardId } }', None),
        ('{ shards(filter: {namespace: "absent"}) { nodes { shardId } } }', None),
        ("{ head { revision } }", None),
    ],
)
async def test_what_is_no_lookup_from_memory_or_has_errors_is_not_kept(
    served: Served, query: str, variables: Any
) -> None:
    for _ in range(3):
        assert not await served.kept(query, variables)


async def test_a_replica_that_is_loaded_anew_keeps_nothing_of_before(served: Served) -> None:
    await executed(served, PAGE)
    await executed(served, ONE, {"k": "a"})
    served.replica.replaced(served.replica.position)
    for query, variables in ((PAGE, None), (ONE, {"k": "a"})):
        assert not await served.kept(query, variables)
    await served.replica.ready()
    for query, variables in ((PAGE, None), (ONE, {"k": "a"})):
        await executed(served, query, variables)


async def test_nothing_is_answered_for_a_caller_with_other_scopes(served: Served) -> None:
    app = application(served.mesh, served.feed, served.replica, authentication=shared_secret())
    async with api_of(app) as api:
        allowed = {"authorization": bearer(Allowed.READ)}
        other = {"authorization": bearer()}
        for _ in range(3):
            assert (await api.post(ONE, {"k": "a"}, **allowed)).json()["data"]["shard"]["shardId"] == "a"
        refused = await api.post(ONE, {"k": "a"}, **other)
        assert refused.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        assert (await api.post(ONE, {"k": "a"})).status_code == 401
        assert (await api.post(ONE, {"k": "a"}, authorization="Bearer forged")).status_code == 401


async def test_reads_that_others_have_observed_meanwhile_are_not_relied_on(served: Served) -> None:
    memory = ReplicaShards(served.replica, served.mesh.store.shards)
    first = memory.observe()
    await memory.get(ShardKey(BILLING, "a"))
    second = memory.observe()
    await memory.get(ShardKey(BILLING, "b"))
    assert not memory.observed(first)
    assert not memory.observed(second)  # its end was the end of the first
    third = memory.observe()
    await memory.get(ShardKey(BILLING, "b"))
    assert memory.observed(third)
    await served.move("a", "node-z")
    assert third.stand()
    await served.move("b", "node-z")
    assert not third.stand()


async def test_nothing_is_observed_any_more_once_a_lookup_has_failed(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    monkeypatch.setattr(ObservedReads, "add_shard", lambda _, *read: seen.append(read))
    failed = await served.api.post("{ shards(first: 1001) { totalCount } }")
    assert "errors" in failed.json()
    # Every read of any client would be remembered until the next lookup comes this way.
    found = await served.api.http.get("/graphql", params={"query": ONE, "variables": '{"k": "a"}'})
    assert found.json()["data"]["shard"]["shardId"] == "a"
    assert seen == []


async def test_an_answer_whose_position_passed_while_it_was_made_does_not_stand(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ReplicaShards.page

    async def overtaken(*arguments: Any) -> Any:
        found = await page(*arguments)
        await served.move("a", "node-z", SEARCH)
        return found

    monkeypatch.setattr(ReplicaShards, "page", overtaken)
    query = '{ shards(filter: {namespace: "billing"}) { revision } }'
    before = (await served.api.post(query)).json()["data"]["shards"]["revision"]
    monkeypatch.undo()
    after = (await served.api.post(query)).json()["data"]["shards"]["revision"]
    assert int(after) == int(before) + 1


async def test_what_was_not_read_from_memory_does_not_stand(served: Served) -> None:
    memory = ReplicaShards(served.replica, served.mesh.store.shards)
    reads = memory.observe()
    await memory.get(ShardKey(BILLING, "a"))
    await memory.get(ShardKey(BILLING, "a"), AsOf(revision=1))
    assert memory.observed(reads)
    assert not reads.stand()


async def test_whatever_happens_an_answer_is_the_one_that_executing_gives(served: Served) -> None:
    randomness = random.Random(7)
    app = application(served.mesh, served.feed, served.replica)
    entry = app.middleware_stack
    assert isinstance(entry, Entry)
    plain = Starlette()
    plain.middleware_stack = _behind(entry.behind)
    queries: list[tuple[str, Any]] = [(ONE, {"k": k}) for k in ("a", "b", "c", "x", "y")]
    queries += [(PAGE, None), (EVERY, None), (STAMPED, None), (BY_KEY, KEYS)]
    again = 0
    async with api_of(app) as short, api_of(plain) as behind:
        for step in range(400):
            query, variables = randomness.choice(queries)
            given = (await short.post(query, variables)).content
            assert given == (await behind.post(query, variables)).content
            if randomness.random() < 0.15:
                name = randomness.choice("abcxy")
                shard = await served.mesh.shard(name)
                if shard is None:
                    await served.mesh.create(new(name, f"node-{step}"))
                elif randomness.random() < 0.3:
                    await served.mesh.delete(shard)
                else:
                    await served.mesh.updated(shard, owner_node_id=f"node-{step}")
            if randomness.random() < 0.5:
                await served.arrived()
        families = text_string_to_metric_families((await short.http.get("/metrics")).text)
        samples = {sample.name: sample.value for family in families for sample in family.samples}
        again = int(samples["omnirelay_lookups_answered_again_total"])
    assert again > 50


def _behind(app: ASGIApp) -> ASGIApp:
    async def entered(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return entered


HEADERS: Final = {b"host": b"mesh", b"content-type": b"application/json", b"accept": b"application/json"}


def body_of(query: str, variables: Any = None) -> bytes:
    return json.dumps({"query": query, "variables": variables}).encode()


@pytest.fixture
async def settled(served: Served) -> AsyncIterator[Served]:
    """Where lookups are answered from memory, and are known to be."""
    app = application(served.mesh, served.feed, served.replica, lookups_at=served.replica.settled)
    async with api_of(app) as api:
        yield Served(api, served.mesh, served.feed, served.replica, app.state.kept_answers)


def at_once(served: Served, body: bytes) -> Any:
    """What is answered without an ASGI call."""
    assert served.entry is not None
    head = served.entry.known_head(HEADERS)
    assert head is not None
    given = served.entry.answer_again(head, body)
    return None if given is None else json.loads(given.partition(b"\r\n\r\n")[2])


async def test_a_lookup_that_memory_has_is_answered_at_once(settled: Served) -> None:
    body = body_of(ONE, {"k": "a"})
    await settled.api.post(ONE, {"k": "b"})
    for owner in ("node-z", "node-y"):
        await settled.move("a", owner)
        before = await settled.again()
        answer = at_once(settled, body)
        assert await settled.again() == before
        assert answer["data"]["shard"]["ownerNodeId"] == owner
        assert at_once(settled, body) == answer
        assert await settled.again() == before + 1, "it is kept by then"
        assert answer == (await settled.api.post(ONE + " ", {"k": "a"})).json()
    for several, variables in ((BY_KEY, KEYS), (PAGE, None)):
        answered = (await settled.api.post(several, variables)).json()
        assert at_once(settled, body_of(several, variables) + b" ") == answered


async def test_whatever_else_is_not_answered_at_once(settled: Served) -> None:
    requests = [
        ("{ shardHistory(first: 1) { nodes { revision } } }", None),
        (ONE, {"k": 1}),
        ('{ shards(first: 1, after: "of nothing") { totalCount } }', None),
        (UPDATE, one_shard("a", 1, ownerNodeId="node-z")),
    ]
    for query, variables in requests:
        await settled.api.post(query, variables)
        before = (await settled.mesh.store.stream.head()).revision
        assert at_once(settled, body_of(query, variables) + b" ") is None
        assert (await settled.mesh.store.stream.head()).revision == before


async def test_nothing_is_answered_at_once_before_its_turn_or_while_memory_is_behind(
    settled: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = body_of(ONE, {"k": "b"})
    await settled.api.post(ONE, {"k": "a"})
    with monkeypatch.context() as busy:
        busy.setattr(AdmissionQueue, "is_free", False)
        assert at_once(settled, body) is None
    position = settled.feed.position
    settled.replica.expect_counts(position._replace(revision=position.revision + 1), BILLING, [])
    assert at_once(settled, body) is None


async def test_after_a_list_from_the_database_lookups_of_what_is_the_same_in_memory_are_answered_from_there(
    settled: Served,
) -> None:
    """Of what came by the feed, too: every field of it is equal."""
    await settled.mesh.execute(RegisterNode("node-y", CHANGE))
    shard = await settled.mesh.created("rich", "node-y", capacity_hint=0.1, locality_hint="eu", leader_id="node-z")
    pin = PinRequest("kept", datetime(2030, 1, 1, 12, 30, 0, 123456, UTC))
    await settled.mesh.updated(shard, pin=pin, anti_affinity_group="rich")
    await settled.move("a", "node-z")
    store = settled.mesh.store
    request: PageRequest[ShardKey] = PageRequest(500)
    page, counts = await store.shards.page(EVERY_SHARD, request), await store.totals.counts()
    assert page.position == settled.replica.position
    later = page.position._replace(revision=page.position.revision + 1)
    settled.replica.expect_page(later, EVERY_SHARD, request, page.value)
    settled.replica.expect_counts(later, None, counts.value)
    assert settled.replica.table_of(None) is None
    assert len(page.value.items) > 2
    for shown in page.value.items:
        assert settled.replica.table_with(shown.key) is not None, shown


async def test_a_lookup_that_waits_after_all_is_finished_and_answered_by_an_asgi_call(
    settled: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = body_of(ONE, {"k": "a"})
    await settled.api.post(ONE, {"k": "b"})
    asked, go_on = asyncio.Semaphore(0), asyncio.Event()
    get = ReplicaShards.get

    async def wait(self: ReplicaShards, key: ShardKey, as_of: AsOf | None = None) -> Any:
        asked.release()
        await go_on.wait()
        return await get(self, key, as_of)

    monkeypatch.setattr(ReplicaShards, "get", wait)
    assert at_once(settled, body) is None
    answering = asyncio.create_task(settled.api.post(ONE, {"k": "a"}))
    for _ in range(2):
        await asked.acquire()
    go_on.set()
    assert (await answering).json()["data"]["shard"]["shardId"] == "a"


async def test_what_is_answered_without_an_asgi_call_is_what_is_answered_by_one(served: Served) -> None:
    """And only for the caller that may, and while it stands."""
    app = application(served.mesh, served.feed, served.replica, authentication=shared_secret())
    entry = app.state.kept_answers
    headers = {b"host": b"mesh", b"content-type": b"application/json", b"accept": b"application/json"}
    allowed = {**headers, b"authorization": bearer(Allowed.READ).encode()}
    async with api_of(app) as api:

        async def answered() -> bytes:
            found = await api.post(ONE, {"k": "a"}, accept="application/json", authorization=bearer(Allowed.READ))
            return found.content

        body = json.dumps({"query": ONE, "variables": {"k": "a"}}, separators=(",", ":")).encode()
        sent = await api.http.post(
            "/graphql", content=body, headers={name.decode(): value.decode() for name, value in allowed.items()}
        )
        head = entry.known_head(allowed)
        given = entry.answer_again(head, body)
        lines, content = given.split(b"\r\n\r\n", 1)
        assert content == sent.content == await answered()
        names = [line.split(b": ")[0] for line in lines.split(b"\r\n")]
        assert names == [name for name, _ in sent.headers.raw if name != b"date"]
        assert b"content-type: application/json" in lines
        assert entry.answer_again(entry.known_head(headers), body) is None
        refused = {**headers, b"authorization": bearer().encode()}
        assert entry.answer_again(entry.known_head(refused), body) is None
        assert entry.answer_again(head, body + b" ") is None
        logging.getLogger("graph.http.request_log").setLevel(logging.DEBUG)
        try:
            assert entry.answer_again(head, body) is None
        finally:
            logging.getLogger("graph.http.request_log").setLevel(logging.NOTSET)
        await served.move("a", "node-z")
        assert entry.answer_again(head, body) is None
        assert entry.known_head({**headers, b"content-encoding": b"gzip"}) is None
        assert entry.known_head({**headers, b"content-type": b"text/plain"}) is None
        assert entry.known_head({**headers, b"accept": b"text/event-stream"}) is None


async def test_nothing_is_answered_past_what_is_around_the_application(served: Served) -> None:
    app = application(served.mesh, served.feed, served.replica, allowed_origins=["https://ops.example"])
    assert app.state.kept_answers is None
