"""One answer is read in one snapshot: a count beside its page, a plan beside what was done with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import fields, replace
from itertools import count
from random import Random
from typing import Any, Final

import pytest

from graph.execution.services import Feed
from graph.http.app import create_app
from persistence.commands.shards import CreateShards
from persistence.feed.live import live_feed
from persistence.model.outcomes import VersionConflict
from persistence.model.records import AsOf, NodeStatus, ShardKey
from persistence.ports.store import Store
from persistence.postgres.store import open_store
from persistence.replica.reader import ReplicaShards
from persistence.replica.replica import following
from tests.support.graphql_api import ON_EVERY_STORE, Api, api_of, services_of
from tests.support.mesh import BILLING, SEARCH, Mesh, because, new
from tests.support.model import replay
from tests.support.planned_mesh import PlannedMesh
from tests.support.statements import statements

Write = Callable[[], Awaitable[object]]


class _Overtaken:
    """A reader that never reads twice of the same: after each answer it gives, something is committed."""

    def __init__(self, reader: Any, write: Write) -> None:
        self._reader = reader
        self._write = write

    def __getattr__(self, name: str) -> Any:
        read = getattr(self._reader, name)

        async def then_write(*given: Any, **named: Any) -> Any:
            answer = await read(*given, **named)
            await self._write()
            return answer

        return then_write


def overtaken(store: Store, write: Write) -> Store:
    readers = {"shards", "namespaces", "nodes", "plans", "history", "changes", "refusals"}
    wrapped: dict[str, Any] = {
        field.name: _Overtaken(getattr(store, field.name), write) for field in fields(store) if field.name in readers
    }
    return replace(store, **wrapped)


LISTS: Final = (
    "shards",
    'shards(filter: {namespace: "billing"})',
    'shards(filter: {ownerNodeIds: ["node-a"]})',
    'shards(asOf: {time: "2200-01-01T00:00:00Z"})',
    'shards(asOf: {time: "2200-01-01T00:00:00Z"}, filter: {search: "s"})',
    "shardHistory(orderBy: REVISION_ASC)",
    'shardHistory(filter: {namespace: "billing"})',
    'shardDiff(from: "0")',
    'shardDiff(from: "0", namespace: "billing", toTime: "2200-01-01T00:00:00Z")',
    "changes",
    'changes(filter: {namespace: "billing"})',
    "refusals",
    'refusals(filter: {namespace: "billing"})',
    "namespaces",
    "nodes",
    "rebalancePlans",
    'rebalancePlans(filter: {namespace: "billing"})',
)


class Writes:
    """Each makes every list one longer."""

    def __init__(self, mesh: PlannedMesh) -> None:
        self.mesh = mesh
        self.made = 0
        self._numbers = count(1)

    async def __call__(self) -> None:
        number = next(self._numbers)
        await self.mesh.configure(f"n{number}")
        await self.mesh.register(f"node-{number}")
        await self.mesh.mark(f"node-{number}", status=NodeStatus.CORDONED)
        await self.mesh.created(f"s{number}")
        await self.mesh.plan(max_moves=number)
        refused = await self.mesh.execute(CreateShards([new(f"s{number}")], because("once more")))
        assert isinstance(refused, VersionConflict), refused
        self.made = number


@pytest.fixture
async def busy(store: Store) -> PlannedMesh:
    mesh = PlannedMesh(store)
    await mesh.configure()
    await mesh.register("node-a")
    await mesh.create(*(new(f"z{number}", "gone") for number in range(40)))
    return mesh


@ON_EVERY_STORE
async def test_a_list_counts_what_it_lists_whatever_is_written_meanwhile(
    store: Store, feed: Feed, busy: PlannedMesh
) -> None:
    writes = Writes(busy)
    await writes()
    app = create_app(services_of(overtaken(store, writes), busy.writer, feed))
    async with api_of(app) as api:
        for listed in LISTS:
            before, (name, _, arguments) = writes.made, listed.rstrip(")").partition("(")
            page = await api.field(f"{{ {name}(first: 500 {arguments}) {{ nodes {{ __typename }} totalCount }} }}")
            assert len(page["nodes"]) == page["totalCount"] > 0, listed
            assert writes.made > before, listed


@ON_EVERY_STORE
async def test_what_was_done_with_a_plan_is_shown_up_to_the_revision_of_the_plan(
    store: Store, feed: Feed, busy: PlannedMesh
) -> None:
    plan = (await busy.plan()).plan
    steps = iter([busy.approve, busy.reject])

    async def go_on() -> None:
        for step in steps:
            await step(plan)
            return

    app = create_app(services_of(overtaken(store, go_on), busy.writer, feed))
    story = "{ id status latest { id } changes { nodes { id } totalCount } }"
    async with api_of(app) as api:
        one = await api.field(f'{{ rebalancePlan(id: "{plan.id}") {story} }}')
        (listed,) = (await api.field(f"{{ rebalancePlans {{ nodes {story} }} }}"))["nodes"]
    for shown in (one, listed):
        told = [change["id"] for change in shown["changes"]["nodes"]]
        assert (told[0], len(told)) == (shown["latest"]["id"], shown["changes"]["totalCount"]), shown


SELECTIONS: Final[Mapping[str, bool]] = {
    "{ shards { totalCount } }": True,
    "{ shards { nodes { shardId } } }": False,
    "{ shards { n: totalCount } }": True,
    "{ shards { ...f } } fragment f on ShardConnection { ...g } fragment g on ShardConnection { totalCount }": True,
    "{ shards { ... { totalCount } } }": True,
    "query ($on: Boolean = true) { shards { ... @include(if: $on) { totalCount @skip(if: false) } } }": True,
    "query ($on: Boolean = true) { shards { revision totalCount @skip(if: $on) } }": False,
    "{ shards { revision ...f @include(if: false) } } fragment f on ShardConnection { totalCount }": False,
    "{ shards { revision nodes { shardId } } namespaces { totalCount } }": False,
    "{ shards { revision } ... on Query { shards { totalCount } } }": True,
    "{ shards { revision totalCount: revision } }": False,
}


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_shards_are_counted_exactly_where_the_document_selects_the_count(api: Api, mesh: Mesh) -> None:
    await mesh.create(*(new(f"s{number}") for number in range(3)))
    for document, counts in SELECTIONS.items():
        with statements() as sent:
            page = (await api.data(document))["shards"]
        (statement,) = (one for one in sent if "FROM shards" in one)
        assert ("count(*)" in statement) is counts, document
        assert (3 in page.values()) is counts, document


@pytest.fixture
async def served(database_url: str) -> AsyncIterator[tuple[PlannedMesh, Api]]:
    """As a server does it: lists from a replica, and from PostgreSQL what that cannot answer."""
    async with (
        open_store(database_url) as store,
        live_feed(store.stream, store.signal) as feed,
        following(store.shards, feed) as replica,
    ):
        await replica.ready()
        mesh = PlannedMesh(replace(store, shards=ReplicaShards(replica, store.shards)), replica.note)
        async with api_of(create_app(services_of(mesh.store, mesh.writer, feed))) as api:
            yield mesh, api


READS: Final = """
query ($owner: [String!], $keys: [ShardKeyInput!]!) {
  byKey: shardsByKey(keys: $keys) { shards { namespace shardId version } revision }
  all: shards(first: 500) { nodes { shardId } totalCount revision }
  filtered: shards(first: 500, filter: {namespace: "billing", ownerNodeIds: $owner}) {
    nodes { shardId } totalCount revision
  }
  past: shards(first: 500, asOf: {time: "2200-01-01T00:00:00Z"}) { nodes { shardId } totalCount revision }
  shardDiff(from: "0", first: 500) { nodes { shardId } totalCount revision }
  namespace(name: "billing") { shardCount digest revision }
  shardHistory(last: 500, orderBy: REVISION_ASC) { nodes { revision } totalCount }
  changes(first: 1) { nodes { id } totalCount }
}"""
WRITERS: Final = 3
ANSWERS: Final = 60


async def test_every_answer_under_writers_is_what_history_says_of_its_revision(
    served: tuple[PlannedMesh, Api],
) -> None:
    mesh, api = served
    await mesh.configure()
    await mesh.configure(SEARCH)
    done = asyncio.Event()
    keys = [
        {"namespace": (BILLING, SEARCH)[number % 2], "shardId": f"w{number}-{shard}"}
        for number in range(WRITERS)
        for shard in range(6)
    ]

    async def write(number: int) -> None:
        chance, namespace = Random(number), (BILLING, SEARCH)[number % 2]
        while not done.is_set():
            names = [f"w{number}-{shard}" for shard in range(chance.randint(1, 6))]
            owner = chance.choice(["node-a", "node-b"])
            made = await mesh.create(*(new(name, owner, namespace=namespace) for name in names))
            await mesh.delete(*made.shards)

    async def read() -> list[dict[str, Any]]:
        return [await api.data(READS, owner=["node-a"], keys=keys) for _ in range(ANSWERS // 2)]

    async with asyncio.TaskGroup() as tasks:
        writers = [tasks.create_task(write(number)) for number in range(WRITERS)]
        answers = [*await read(), *await read()]
        done.set()
    assert all(writer.done() for writer in writers)
    history = await mesh.history()
    moments = set()
    for answer in answers:
        for name in ("all", "filtered", "past", "shardDiff"):
            page = answer[name]
            table = replay(history[: int(page["revision"])])
            expected = sorted(
                key.shard_id
                for key, shard in table.items()
                if name != "filtered" or (key.namespace == BILLING and shard.owner_node_id == "node-a")
            )
            listed = sorted(node["shardId"] for node in page["nodes"])
            assert (listed, page["totalCount"]) == (expected, len(expected)), (name, page["revision"])
            moments.add(page["revision"])
        table = replay(history[: int(answer["byKey"]["revision"])])
        found = [table.get(ShardKey(key["namespace"], key["shardId"])) for key in keys]
        assert answer["byKey"]["shards"] == [
            shard and {"namespace": shard.namespace, "shardId": shard.shard_id, "version": str(shard.version)}
            for shard in found
        ]
        space = answer["namespace"]
        table = await mesh.table(AsOf(revision=int(space["revision"])))
        assert space["shardCount"] == sum(key.namespace == BILLING for key in table)
        newest = max((int(row["revision"]) for row in answer["shardHistory"]["nodes"]), default=0)
        assert answer["shardHistory"]["totalCount"] == newest
        assert [str(answer["changes"]["totalCount"])] == [one["id"] for one in answer["changes"]["nodes"]]
    assert len(moments) > ANSWERS / 2, "writers and readers never met"
