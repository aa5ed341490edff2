"""Following the change stream over a socket and over an event stream, on every store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx2
import pytest
from starlette.applications import Starlette

from persistence.codec import cursors
from persistence.model.records import UNMARKED, ChangeMark
from tests.support.graphql_api import ON_EVERY_STORE, Api
from tests.support.graphql_documents import FOLLOW
from tests.support.graphql_socket import Socket, graphql_socket
from tests.support.mesh import Mesh, because, new
from tests.support.serving import serving

pytestmark = ON_EVERY_STORE


@pytest.fixture
async def address(app: Starlette) -> AsyncIterator[str]:
    async with serving(app) as address:
        yield address


@pytest.fixture
async def socket(address: str) -> AsyncIterator[Socket]:
    async with graphql_socket(address) as socket:
        yield socket


async def diffs(socket: Socket, count: int) -> list[dict[str, Any]]:
    """The next so many diffs, bookmarks left out."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        found += (await socket.batch())["diffs"]
    assert len(found) == count
    return found


async def test_a_follower_holds_a_cursor_at_once_and_receives_every_change(socket: Socket, mesh: Mesh) -> None:
    await mesh.created("before")
    await socket.subscribe(FOLLOW)
    first = await socket.batch()
    assert (first["diffs"], first["revision"], first["caughtUp"]) == ([], "1", True)
    shard = await mesh.created("1", "node-a")
    shard = await mesh.updated(shard, owner_node_id="node-b")
    await mesh.delete(shard)
    created, updated, deleted = await diffs(socket, 3)
    assert created == {
        "revision": "2",
        "kind": "CREATED",
        "shardId": "1",
        "changedFields": [],
        "previous": None,
        "current": {"ownerNodeId": "node-a"},
        "change": {"actor": "ops"},
    }
    assert (updated["kind"], updated["changedFields"]) == ("UPDATED", ["ownerNodeId"])
    assert (deleted["kind"], deleted["previous"], deleted["current"]) == ("DELETED", {"ownerNodeId": "node-b"}, None)


async def test_listing_and_following_after_the_lists_cursor_misses_nothing(
    socket: Socket, api: Api, mesh: Mesh
) -> None:
    await mesh.created("1")
    listed = await api.field("{ shards { nodes { shardId } cursor } }")
    await mesh.created("2")
    await socket.subscribe(FOLLOW, {"after": listed["cursor"]})
    assert [diff["shardId"] for diff in await diffs(socket, 1)] == ["2"]


async def test_a_follower_resumes_where_it_was(address: str, mesh: Mesh) -> None:
    async with graphql_socket(address) as socket:
        await socket.subscribe(FOLLOW)
        cursor = (await socket.batch())["cursor"]
    await mesh.create(*(new(name) for name in "abc"))
    async with graphql_socket(address) as socket:
        await socket.subscribe(FOLLOW, {"after": cursor})
        assert [diff["revision"] for diff in await diffs(socket, 3)] == ["1", "2", "3"]


LONG: Final = """subscription ($after: Cursor) {
  shardDiffs(after: $after) {
    cursor revision caughtUp
    diffs { revision shardId current { changeTicket } change { reason changeTicket metadata } }
  }
}"""
BATCH_BYTES: Final = 256 * 1024


async def test_what_is_long_comes_in_several_batches_each_with_its_own_cursor(address: str, mesh: Mesh) -> None:
    """As one frame the 600 would be 7 MB, which no client takes that has a usual limit."""
    start = cursors.STREAM.write((await mesh.store.stream.head()).position)
    why = because("理" * 1_024, change_ticket="票" * 1_024, metadata={"訳": "注" * 900})
    async with graphql_socket(address) as keeping_up, graphql_socket(address) as behind:
        await keeping_up.subscribe(LONG)
        await keeping_up.batch()
        await mesh.create(*(new(f"s{number:03}") for number in range(600)), change=why)
        live = await _until_caught_up(keeping_up, 600)
        await behind.subscribe(LONG, {"after": start})
        late = await _until_caught_up(behind, 600)
        assert max(keeping_up.largest, behind.largest) <= BATCH_BYTES
    for batches in (live, late):
        received = [int(diff["revision"]) for batch in batches for diff in batch["diffs"]]
        assert received == list(range(1, 601))
        assert all(int(batch["revision"]) == int(batch["diffs"][-1]["revision"]) for batch in batches)
    for batch in late[:2]:
        async with graphql_socket(address) as resuming:
            await resuming.subscribe(LONG, {"after": batch["cursor"]})
            assert int((await resuming.batch())["diffs"][0]["revision"]) == int(batch["revision"]) + 1


async def _until_caught_up(socket: Socket, last: int) -> list[Any]:
    """The batches with diffs, up to a revision; only the last of them says that nothing newer is known."""
    batches: list[Any] = []
    while not batches or int(batches[-1]["revision"]) < last:
        batch = await socket.batch()
        batches += [batch] if batch["diffs"] else []
    assert [batch["caughtUp"] for batch in batches] == [False] * (len(batches) - 1) + [True]
    return batches


async def test_a_filter_lets_a_shard_through_that_enters_or_leaves(socket: Socket, mesh: Mesh) -> None:
    await mesh.configure("search")
    shard = await mesh.created("1", "node-a")
    await socket.subscribe(FOLLOW, {"namespace": "billing", "filter": {"ownerNodeIds": ["node-a"]}})
    await socket.batch()
    await mesh.create(new("2", "node-a", namespace="search"), new("3", "node-b"))
    shard = await mesh.updated(shard, owner_node_id="node-b")
    await mesh.updated(shard, owner_node_id="node-c")
    await mesh.created("4", "node-a")
    left, entered = await diffs(socket, 2)
    assert (left["shardId"], left["current"]) == ("1", {"ownerNodeId": "node-b"})
    assert entered["shardId"] == "4"


async def test_an_idle_follower_is_sent_bookmarks(socket: Socket) -> None:
    await socket.subscribe(FOLLOW)
    first, second = await socket.batch(), await socket.batch()
    assert (second["diffs"], second["cursor"]) == ([], first["cursor"])


async def test_one_socket_carries_many_operations(socket: Socket, mesh: Mesh) -> None:
    await socket.subscribe(FOLLOW, name="all")
    await socket.batch("all")
    await socket.subscribe("{ head { revision } }", name="query")
    messages = [await socket.receive(), await socket.receive()]
    answers = [message for message in messages if message["id"] == "query"]
    assert answers[0]["payload"] == {"data": {"head": {"revision": "0"}}}
    await socket.send({"id": "all", "type": "complete"})
    await mesh.created("1")
    await socket.send({"type": "ping"})
    while (message := await socket.receive())["type"] != "pong":
        assert message["type"] in ("next", "complete")


async def test_a_position_that_cannot_be_served_refuses_the_subscription(socket: Socket, mesh: Mesh) -> None:
    head = (await mesh.store.stream.head()).position
    await socket.subscribe(FOLLOW, {"after": cursors.STREAM.write(head._replace(revision=99))})
    error = await socket.error()
    assert (error["code"], error["requested"], error["head"]) == ("FUTURE_CURSOR", "99", "0")
    await socket.subscribe(FOLLOW, {"after": cursors.STREAM.write(head._replace(epoch="another"))})
    error = await socket.error()
    assert (error["code"], error["requested"], error["epoch"]) == ("EPOCH_MISMATCH", "another", head.epoch)
    for mark in (ChangeMark(99, b"the hash"), UNMARKED):
        await socket.subscribe(FOLLOW, {"after": cursors.STREAM.write(head._replace(mark=mark))})
        error = await socket.error()
        assert (error["code"], error["requested"], error["epoch"]) == ("EPOCH_MISMATCH", head.epoch, head.epoch)
        assert "the change that the cursor names is not in stream" in error["message"]
    for cursor in ("", "x", "\ud800"):
        await socket.subscribe(FOLLOW, {"after": cursor})
        error = await socket.error()
        assert (error["code"], error["fields"][0]["field"]) == ("BAD_CURSOR", "after")
    await socket.subscribe(FOLLOW, {"namespace": "-", "filter": None})
    assert (await socket.error())["fields"][0]["field"] == "namespace"
    await socket.subscribe(FOLLOW)
    assert (await socket.batch())["diffs"] == []


async def test_an_event_stream_carries_the_same(address: str, mesh: Mesh) -> None:
    request = {"query": FOLLOW, "variables": {}}
    headers = {"accept": "text/event-stream"}
    async with (
        httpx2.AsyncClient(timeout=10) as http,
        http.stream("POST", f"http://{address}/graphql", json=request, headers=headers) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-request-id"]
        results = _events(response)
        assert (await anext(results))["diffs"] == []
        await mesh.created("1")
        found: list[str] = []
        while not found:
            found = [diff["shardId"] for diff in (await anext(results))["diffs"]]
        assert found == ["1"]


async def test_followers_that_leave_are_not_counted_any_more(address: str, api: Api) -> None:
    async with graphql_socket(address) as socket:
        await socket.subscribe(FOLLOW)
        await socket.batch()
        assert "omnirelay_subscriptions_open 1.0" in (await api.http.get("/metrics")).text
    # The server learns of it in its own time; each request lets it run.
    async with asyncio.timeout(5):
        while "omnirelay_subscriptions_open 0.0" not in (await api.http.get("/metrics")).text:
            pass


async def _events(response: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        if line.startswith("data: {"):
            payload = json.loads(line.removeprefix("data: "))
            assert "errors" not in payload, payload
            yield payload["data"]["shardDiffs"]
