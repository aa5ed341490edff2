"""Following all changes: those of nodes, rules and plans beside those of shards; on every store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from starlette.applications import Starlette

from graph.operations import operation
from persistence.codec import cursors
from persistence.commands.nodes import RegisterNode, UpdateNode
from persistence.model.records import ChangeMark, StreamPosition
from tests.support.event_stream import event_stream
from tests.support.graphql_api import ON_EVERY_STORE, Api
from tests.support.graphql_socket import Socket, graphql_socket
from tests.support.mesh import SEARCH, Mesh, because, new
from tests.support.serving import serving

pytestmark = ON_EVERY_STORE

FOLLOW: Final = """
subscription($filter: ChangeFilter, $after: Cursor) {
  changes(filter: $filter, after: $after) { cursor caughtUp head { revision } changes { id kind reason } }
}
"""


@pytest.fixture
async def address(app: Starlette) -> AsyncIterator[str]:
    async with serving(app) as address:
        yield address


@pytest.fixture
async def socket(address: str) -> AsyncIterator[Socket]:
    async with graphql_socket(address) as socket:
        yield socket


async def changes(socket: Socket, count: int) -> list[str]:
    """The reasons of the next so many changes."""
    found: list[str] = []
    while len(found) < count:
        found += [change["reason"] for change in (await socket.batch())["changes"]]
    assert len(found) == count
    return found


async def test_a_follower_sees_what_is_done_with_nodes_rules_and_shards_in_order(socket: Socket, mesh: Mesh) -> None:
    await socket.subscribe(FOLLOW)
    first = await socket.batch()
    assert (first["changes"], first["caughtUp"]) == ([], True)
    await mesh.execute(RegisterNode("node-a", because("a node")))
    await mesh.configure(SEARCH, change=because("a namespace"))
    await mesh.create(new("1"), change=because("a shard"))
    assert await changes(socket, 3) == ["a node", "a namespace", "a shard"]


async def test_a_follower_resumes_after_its_cursor_without_a_gap(socket: Socket, mesh: Mesh) -> None:
    await socket.subscribe(FOLLOW)
    cursor = (await socket.batch())["cursor"]
    reasons = [f"node {number}" for number in range(205)]
    for reason in reasons:
        await mesh.execute(RegisterNode(reason.replace(" ", "-"), because(reason)))
    await socket.subscribe(FOLLOW, {"after": cursor}, name="2")
    seen: dict[str, list[str]] = {"1": [], "2": []}
    while min(map(len, seen.values())) < len(reasons):
        message = await socket.receive()
        batch = message["payload"]["data"]["changes"]
        seen[message["id"]] += [change["reason"] for change in batch["changes"]]
    assert seen == {"1": reasons, "2": reasons}


async def test_a_filter_restricts_what_is_followed(socket: Socket, mesh: Mesh) -> None:
    await socket.subscribe(FOLLOW, {"filter": {"nodeId": "node-b"}})
    await socket.batch()
    await mesh.execute(RegisterNode("node-a", because("another")))
    await mesh.execute(RegisterNode("node-b", because("this")))
    await mesh.create(new("1"), change=because("a shard"))
    await mesh.execute(UpdateNode("node-b", 1, because("again"), weight=2))
    assert await changes(socket, 2) == ["this", "again"]


async def test_events_resume_after_the_last_one_that_was_seen(address: str, mesh: Mesh) -> None:
    async with event_stream(address, FOLLOW) as events:
        await events.event()
        first = await events.event()
        assert first is not None
        assert first.id == first.batch["cursor"]
    await mesh.execute(RegisterNode("node-a", because("missed")))
    async with event_stream(address, FOLLOW, last_event_id=first.id or "") as events:
        await events.event()
        resumed = await events.event()
        assert resumed is not None
        assert [change["reason"] for change in resumed.batch["changes"]] == ["missed"]


async def test_a_cursor_of_what_was_lost_is_refused(socket: Socket, mesh: Mesh) -> None:
    epoch = (await mesh.store.stream.head()).epoch
    forged = ChangeMark(1, b"12345678")
    for name, position in (("1", StreamPosition(epoch, 1, forged)), ("2", StreamPosition("other", 1, forged))):
        await socket.subscribe(FOLLOW, {"after": cursors.CHANGE_STREAM.write(position)}, name=name)
        assert (await socket.error())["code"] == "EPOCH_MISMATCH"
    await socket.subscribe(FOLLOW, {"after": cursors.STREAM.write(StreamPosition(epoch, 0, forged))}, name="3")
    assert (await socket.error())["code"] == "BAD_CURSOR"


async def test_followers_of_the_same_share_what_is_read_and_executed(
    socket: Socket, mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Any] = []
    page = mesh.store.changes.page

    async def counted(_: object, *arguments: Any, **options: Any) -> Any:
        reads.append(arguments)
        return await page(*arguments, **options)

    monkeypatch.setattr(type(mesh.store.changes), "page", counted)
    for name in ("1", "2", "3"):
        wanted = {"search": "SHARED"} if name == "3" else None
        await socket.subscribe(operation("WatchChanges"), {"filter": wanted}, name=name)
        await socket.batch(name)
    await mesh.execute(RegisterNode("node-a", because("a shared change")))
    seen: list[str] = []
    while len(seen) < 3:
        message = await socket.receive()
        seen += [message["id"]] * len(message["payload"]["data"]["changes"]["changes"])
    assert sorted(seen) == ["1", "2", "3"]
    assert len(reads) == 1


async def test_changes_are_found_by_node_text_and_force(api: Api, mesh: Mesh) -> None:
    await mesh.execute(RegisterNode("node-a", because("Drain it for INC-7", change_ticket="CHG-1")))
    await mesh.execute(RegisterNode("node-b", because("more room")))

    async def found(where: str) -> list[str]:
        page = await api.field(f"{{ changes(filter: {{ {where} }}) {{ nodes {{ reason }} }} }}")
        return [change["reason"] for change in page["nodes"]]

    assert await found('nodeId: "node-b"') == ["more room"]
    assert await found('search: "inc-7"') == ["Drain it for INC-7"]
    assert await found('search: "chg-1", kinds: [REGISTER_NODE]') == ["Drain it for INC-7"]
    assert await found("forced: true") == []
    assert len(await found('forced: false, namespace: "billing"')) == 1


async def test_one_change_is_read_by_its_id(api: Api, mesh: Mesh) -> None:
    for number in range(3):
        await mesh.execute(RegisterNode(f"node-{number}", because(f"node {number}")))

    async def reason(change_id: str) -> str | None:
        found = await api.field(f'{{ change(id: "{change_id}") {{ id reason }} }}')
        return None if found is None else found["reason"]

    newest = len(await mesh.changes())
    assert [await reason(str(newest - back)) for back in range(3)] == ["node 2", "node 1", "node 0"]
    assert await reason(str(newest + 1)) is None
    assert await reason("0") is None
