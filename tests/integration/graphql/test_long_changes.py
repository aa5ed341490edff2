"""Lookups while a change of many shards is read from history: no server of a mesh asks its database for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pytest

from graph.http.app import create_app
from persistence.commands.shards import UpdateShards
from persistence.feed.live import LiveFeed, live_feed
from persistence.feed.tailer import FeedLimits
from persistence.model.paging import Page, PageRequest
from persistence.model.queries import DiffFilter, ShardFilter
from persistence.model.records import AsOf, Shard, ShardDiff, ShardKey
from persistence.model.stream import OmittedRange
from persistence.ports.readers import ShardReader, Stamped
from persistence.replica.reader import ReplicaShards
from persistence.replica.replica import Replica, following
from persistence.service.executor import CommandExecutor
from tests.support.graphql_api import Api, api_of, services_of
from tests.support.graphql_documents import BY_ALICE, UPDATE_MANY
from tests.support.mesh import BILLING, CHANGE, SEARCH, Mesh, new, patch

COUNT: Final = 300
IDS: Final = [f"s{number:03}" for number in range(COUNT)]

ONE: Final = """
query($k: String!, $r: Revision) { shard(namespace: "billing", shardId: $k, atLeast: $r) { ownerNodeId version } }
"""
LIST: Final = """
query($r: Revision, $c: Cursor) {
    shards(filter: {namespace: "billing"}, first: 500, atLeast: $r, atLeastCursor: $c) {
        nodes { ownerNodeId } totalCount revision
    }
}
"""
BY_KEY: Final = """
{ shardsByKey(keys: [{namespace: "billing", shardId: "s000"}, {namespace: "search", shardId: "x"}]) {
    shards { ownerNodeId } revision
} }
"""


@dataclass
class Counted:
    """A ShardReader that counts what is read of the present."""

    stored: ShardReader
    reads: int = 0

    async def get(self, key: ShardKey, as_of: AsOf | None = None) -> Stamped[Shard | None]:
        self.reads += as_of is None
        return await self.stored.get(key, as_of)

    async def get_many(self, keys: Any, as_of: AsOf | None = None) -> Any:
        self.reads += as_of is None
        return await self.stored.get_many(keys, as_of)

    async def page(
        self, where: ShardFilter, page: PageRequest[ShardKey], as_of: AsOf | None = None
    ) -> Stamped[Page[Shard]]:
        self.reads += as_of is None
        return await self.stored.page(where, page, as_of)

    def scan(self) -> Any:
        return self.stored.scan()

    def holder(self) -> Any:
        return self.stored.holder()


@dataclass
class HeldBack:
    """A feed for the replica that reads what was left in history when the test lets it."""

    feed: LiveFeed
    reading: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.feed, name)

    async def read_omitted(self, omitted: OmittedRange) -> AsyncGenerator[Any, None]:
        self.reading.set()
        await self.let_go.wait()
        async with aclosing(self.feed.read_omitted(omitted)) as slices:
            async for rows in slices:
                yield rows


@dataclass
class Server:
    api: Api
    mesh: Mesh
    feed: LiveFeed
    held: HeldBack
    replica: Replica
    stored: Counted
    began: int
    """The revision before the long change."""

    async def move_all(self, owner: str) -> dict[str, Any]:
        """Through this server."""
        moves = [{"namespace": BILLING, "shardId": each, "expectedVersion": "1", "ownerNodeId": owner} for each in IDS]
        answer: dict[str, Any] = await self.api.field(UPDATE_MANY, input={"shards": moves, "change": BY_ALICE})
        return answer

    async def moved_elsewhere(self, owner: str) -> int:
        """Through another one: its revision."""
        table = await self.mesh.table(where=ShardFilter(BILLING))
        await self.mesh.execute(UpdateShards([patch(each, owner_node_id=owner) for each in table.values()], CHANGE))
        await self.held.reading.wait()
        return (await self.mesh.store.stream.head()).revision

    async def owner(self, shard_id: str = IDS[-1], **variables: Any) -> str:
        shard = await self.api.field(ONE, k=shard_id, **variables)
        return str(shard["ownerNodeId"])


@pytest.fixture
async def server(mesh: Mesh) -> AsyncIterator[Server]:
    await mesh.configure(SEARCH)
    await mesh.create(*(new(each) for each in IDS))
    await mesh.create(new("x", namespace=SEARCH))
    store = mesh.store
    async with live_feed(store.stream, store.signal, FeedLimits(fresh_seconds=600.0)) as feed:
        held: Any = HeldBack(feed)
        async with following(store.shards, held) as replica:
            await replica.ready()
            stored = Counted(store.shards)
            memory = ReplicaShards(replica, stored)
            writer = CommandExecutor(
                store.unit_of_work, note=replica.note, arrived=replica.arrived, group=store.change_group
            )
            services = services_of(replace(store, shards=memory), writer, feed)
            async with api_of(create_app(replace(services, memory=memory))) as api:
                yield Server(api, mesh, feed, held, replica, stored, feed.position.revision)
                held.let_go.set()


async def test_while_it_is_read_the_shards_are_answered_from_memory_as_they_were(server: Server) -> None:
    await server.moved_elsewhere("node-z")
    for _ in range(2):
        assert {await server.owner(each) for each in IDS[:3] + IDS[-3:]} == {"node-a"}
    found = await server.api.field(LIST)
    assert {each["ownerNodeId"] for each in found["nodes"]} == {"node-a"}
    assert (found["totalCount"], found["revision"]) == (COUNT, str(server.began))
    by_key = await server.api.field(BY_KEY)
    assert [each["ownerNodeId"] for each in by_key["shards"]] == ["node-a", "node-a"]
    assert by_key["revision"] == str(server.began)
    assert server.stored.reads == 0
    server.held.let_go.set()
    await server.replica.ready()
    assert {await server.owner(each) for each in IDS[:3] + IDS[-3:]} == {"node-z"}
    found = await server.api.field(LIST)
    assert {each["ownerNodeId"] for each in found["nodes"]} == {"node-z"}
    assert found["revision"] == str(server.began + COUNT)
    assert server.stored.reads == 0


async def test_its_writer_is_answered_when_it_is_read_and_reads_it_next(server: Server) -> None:
    writing = asyncio.create_task(server.move_all("node-z"))
    await server.held.reading.wait()
    assert await server.owner() == "node-a"
    assert not writing.done()
    server.held.let_go.set()
    assert (await writing)["__typename"] == "ShardsChanged"
    assert {await server.owner(each) for each in IDS} == {"node-z"}
    assert server.stored.reads == 0


async def test_a_read_at_least_at_its_revision_holds_it_and_so_does_what_is_read_next(server: Server) -> None:
    revision = await server.moved_elsewhere("node-z")
    assert (await server.api.field(LIST, r=str(server.began)))["revision"] == str(server.began)
    assert await server.owner(r=str(revision)) == "node-z"
    assert await server.owner() == "node-z"  # no server goes back
    assert await server.owner(IDS[0]) == "node-a"
    listing = asyncio.create_task(server.api.field(LIST, r=str(revision)))
    server.held.let_go.set()
    found = await listing
    assert {each["ownerNodeId"] for each in found["nodes"]} == {"node-z"}
    assert int(found["revision"]) >= revision


async def test_what_is_written_meanwhile_is_read_next(server: Server) -> None:
    await server.moved_elsewhere("node-z")
    shard = await server.mesh.shard(IDS[5])
    assert shard is not None
    moves = [{"namespace": BILLING, "shardId": IDS[5], "expectedVersion": str(shard.version), "ownerNodeId": "node-y"}]
    await server.api.field(UPDATE_MANY, input={"shards": moves, "change": BY_ALICE})
    assert await server.owner(IDS[5]) == "node-y"
    assert await server.owner(IDS[6]) == "node-a"
    server.held.let_go.set()
    await server.replica.ready()
    assert [await server.owner(each) for each in IDS[5:7]] == ["node-y", "node-z"]


async def test_a_writer_that_is_refused_reads_what_it_was_refused_for(server: Server) -> None:
    await server.moved_elsewhere("node-z")
    moves = [{"namespace": BILLING, "shardId": IDS[5], "expectedVersion": "1", "ownerNodeId": "node-y"}]
    answer = await server.api.field(UPDATE_MANY, input={"shards": moves, "change": BY_ALICE})
    assert answer["__typename"] == "VersionConflict"
    assert await server.owner(IDS[5]) == "node-z"
    assert await server.owner(IDS[6]) == "node-a"


async def test_subscribers_are_sent_each_of_its_diffs_once_and_none_before_lookups_show_it(server: Server) -> None:
    begin = server.feed.position
    received: list[ShardDiff] = []

    async def follow(where: DiffFilter) -> None:
        async with aclosing(server.feed.follow(begin, where)) as batches:
            async for batch in batches:
                received.extend(batch.diffs)
                if batch.diffs:
                    assert await server.owner(batch.diffs[0].shard_id) == "node-z"
                if batch.position.revision >= server.began + COUNT:
                    return

    for where in (DiffFilter(), DiffFilter(namespace=BILLING)):
        received.clear()
        if not server.held.let_go.is_set():
            await server.moved_elsewhere("node-z")
            following = asyncio.create_task(follow(where))
            assert await server.owner() == "node-a"
            assert received == []
            server.held.let_go.set()
            await following
        else:
            await follow(where)
        assert [diff.revision for diff in received] == list(range(server.began + 1, server.began + COUNT + 1))
