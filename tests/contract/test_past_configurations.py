"""Nodes and namespaces as they stood at a point in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from persistence.errors import Compacted, FutureCursor
from persistence.model.paging import Page, PageRequest
from persistence.model.policy import NamespacePolicy
from persistence.model.queries import NodeFilter
from persistence.model.records import AsOf, Namespace, Node, NodeStatus
from tests.contract.conftest import Backend
from tests.support.mesh import ANY_MOVES, BILLING, SEARCH, because, everything, everything_backwards, moment, new
from tests.support.planned_mesh import PlannedMesh

ALL = NodeFilter(statuses=list(NodeStatus))


def configured(namespaces: Sequence[Namespace]) -> list[tuple[Any, ...]]:
    """What of namespaces follows from their configuration."""
    return [
        (one.name, one.configuration, one.parameters_digest, one.version, one.created_at, one.policy)
        for one in namespaces
    ]


async def nodes_then(mesh: PlannedMesh, as_of: AsOf, where: NodeFilter = ALL, size: int = 500) -> Sequence[Node]:
    async def fetch(request: PageRequest[str]) -> Page[Node]:
        return await mesh.store.nodes.page_as_of(where, request, as_of)

    found = await everything(fetch, lambda node: node.node_id, size=size)
    assert await everything_backwards(fetch, lambda node: node.node_id, size=size) == found
    return found


async def namespaces_then(mesh: PlannedMesh, as_of: AsOf, size: int = 500) -> Sequence[Namespace]:
    async def fetch(request: PageRequest[str]) -> Page[Namespace]:
        return await mesh.store.namespaces.page_as_of(request, as_of)

    found = await everything(fetch, lambda one: one.name, size=size)
    assert await everything_backwards(fetch, lambda one: one.name, size=size) == found
    return found


async def namespaces_now(mesh: PlannedMesh) -> Sequence[Namespace]:
    return await everything(mesh.store.namespaces.page, lambda one: one.name)


async def test_at_each_commit_they_are_as_they_were_read_then(mesh: PlannedMesh) -> None:
    seen: list[tuple[AsOf, Sequence[Node], Sequence[Namespace]]] = []

    async def see() -> None:
        nodes = [replace(node, shard_count=0, leader_count=0) for node in await mesh.nodes(ALL)]
        seen.append((moment((await mesh.changes())[-1]), nodes, await namespaces_now(mesh)))

    await see()
    await mesh.register("node-a", region="eu", zone="eu-1", labels={"disk": "ssd"}, weight=4)
    await see()
    await mesh.create(new("s1"))
    await see()
    await mesh.mark("node-a", status=NodeStatus.DRAINING, change=because("its disk fails", change_ticket="CHG-1"))
    await see()
    await mesh.register("node-b")
    await see()
    await mesh.configure(SEARCH, strategy="ring", parameters={"virtualNodes": 7})
    await see()
    await mesh.configure(BILLING, policy=replace(ANY_MOVES, ticket_required=True), expected=1)
    await see()
    await mesh.mark("node-b", status=NodeStatus.REMOVED)
    await see()
    await mesh.register("node-b", region="us")
    await see()
    await mesh.configure(BILLING, policy=NamespacePolicy(), expected=2)
    await see()
    for as_of, nodes, namespaces in seen:
        assert await nodes_then(mesh, as_of) == nodes
        assert await nodes_then(mesh, as_of, size=1) == nodes
        assert configured(await namespaces_then(mesh, as_of, size=1)) == configured(namespaces)


async def test_a_microsecond_before_a_commit_it_was_not_there(mesh: PlannedMesh) -> None:
    node = (await mesh.register("node-a")).change
    before = AsOf(time=node.committed_at - timedelta(microseconds=1))
    assert await nodes_then(mesh, before) == []
    changed = (await mesh.mark("node-a", weight=7)).change
    (then,) = await nodes_then(mesh, AsOf(time=changed.committed_at - timedelta(microseconds=1)))
    assert (then.weight, then.version, then.updated_at) == (1, 1, node.committed_at)
    created = (await mesh.configure(SEARCH)).change
    before = AsOf(time=created.committed_at - timedelta(microseconds=1))
    assert [one.name for one in await namespaces_then(mesh, before)] == [BILLING]


async def test_a_revision_is_until_the_next_one_is_made(mesh: PlannedMesh) -> None:
    await mesh.register("node-a")
    (first,) = (await mesh.create(new("s1"))).shards
    await mesh.mark("node-a", weight=2)
    await mesh.configure(SEARCH)
    await mesh.create(new("s2"))
    await mesh.mark("node-a", weight=3)
    at = [AsOf(revision=revision) for revision in range(first.revision + 2)]
    assert [node.weight for as_of in at for node in await nodes_then(mesh, as_of)] == [1, 2, 3]
    assert [len(await namespaces_then(mesh, as_of)) for as_of in at] == [1, 2, 2]


async def test_the_filter_is_about_how_they_were(mesh: PlannedMesh) -> None:
    await mesh.register("node-a", region="eu", zone="eu-1")
    await mesh.register("node-b", region="us")
    then = moment((await mesh.mark("node-b", status=NodeStatus.DRAINING)).change)
    await mesh.mark("node-a", region="ap", zone=None)
    await mesh.mark("node-b", status=NodeStatus.REMOVED)

    async def ids(**where: Any) -> list[str]:
        return [node.node_id for node in await nodes_then(mesh, then, NodeFilter(**where))]

    assert await ids() == ["node-a", "node-b"]
    assert await ids(statuses=[NodeStatus.DRAINING]) == ["node-b"]
    assert await ids(statuses=[NodeStatus.REMOVED]) == []
    assert await ids(regions=["eu"]) == ["node-a"]
    assert await ids(regions=["ap"]) == []
    assert await ids(zones=["eu-1"]) == ["node-a"]
    now = moment((await mesh.changes())[-1])
    assert [node.node_id for node in await nodes_then(mesh, now, NodeFilter())] == ["node-a"]


async def test_a_time_that_shards_are_not_served_of_is_refused(mesh: PlannedMesh, backend: Backend) -> None:
    await mesh.register("node-a")
    first = (await mesh.create(new("s1"))).change
    await mesh.create(new("s2"))
    await mesh.create(new("s3"))
    await backend.compact(2)
    page: PageRequest[str] = PageRequest(10)
    for as_of in (AsOf(revision=1), moment(first)):
        with pytest.raises(Compacted):
            await mesh.store.nodes.page_as_of(ALL, page, as_of)
        with pytest.raises(Compacted):
            await mesh.store.namespaces.page_as_of(page, as_of)
    with pytest.raises(FutureCursor):
        await mesh.store.nodes.page_as_of(ALL, page, AsOf(revision=4))
    with pytest.raises(FutureCursor):
        await mesh.store.namespaces.page_as_of(page, AsOf(revision=4))
    assert [node.node_id for node in await nodes_then(mesh, AsOf(revision=2))] == ["node-a"]
