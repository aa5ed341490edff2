"""Whose changes brought shards and nodes to where they are; who asks; and how new the newest is. On every store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette

from persistence.commands.nodes import RegisterNode, UpdateNode
from persistence.model.records import ShardStatus
from persistence.ports.readers import OWNER_SEARCHED
from tests.support.graphql_api import ON_EVERY_STORE, Api
from tests.support.graphql_socket import graphql_socket
from tests.support.mesh import Mesh, because, new, patch
from tests.support.serving import serving

pytestmark = ON_EVERY_STORE

WHOSE = "lastChange { reason } ownerChange { reason } ownerSince"
LIST = f"{{ shards(first: 500) {{ nodes {{ shardId createdAt {WHOSE} }} }} }}"


def whose(shard: dict[str, Any]) -> tuple[str | None, ...]:
    changes = (shard["lastChange"], shard["ownerChange"])
    return tuple(None if change is None else change["reason"] for change in changes)


async def test_shards_name_their_last_changes_and_those_of_their_owners(api: Api, mesh: Mesh) -> None:
    await mesh.create(new("1"), new("2"), change=because("created"))
    stays, moves = [await mesh.shard(shard_id) for shard_id in "12"]
    assert stays is not None
    assert moves is not None
    await mesh.update(patch(stays, status=ShardStatus.PAUSED), change=because("paused"))
    moved = (await mesh.update(patch(moves, owner_node_id="node-b"), change=because("moved"))).change
    for _ in range(2):  # as it is executed the first time, and by its plan
        one, two = (await api.field(LIST))["nodes"]
        assert (whose(one), whose(two)) == (("paused", "created"), ("moved", "moved"))
        assert one["ownerSince"] == one["createdAt"]
        assert datetime.fromisoformat(two["ownerSince"]) == moved.committed_at
    alone = await api.field(f'{{ shard(namespace: "billing", shardId: "2") {{ {WHOSE} }} }}')
    assert whose(alone) == ("moved", "moved")
    keys = '[{namespace: "billing", shardId: "1"}, {namespace: "billing", shardId: "absent"}]'
    found, absent = (await api.field(f"{{ shardsByKey(keys: {keys}) {{ shards {{ {WHOSE} }} }} }}"))["shards"]
    assert (whose(found), absent) == (("paused", "created"), None)


async def test_shards_of_the_past_name_the_changes_of_then(api: Api, mesh: Mesh) -> None:
    await mesh.create(new("1"), change=because("created"))
    shard = await mesh.shard("1")
    assert shard is not None
    await mesh.update(patch(shard, owner_node_id="node-b"), change=because("moved"))
    past = await api.field(f"{{ shards(asOf: {{ revision: 1 }}) {{ nodes {{ {WHOSE} }} }} }}")
    assert whose(past["nodes"][0]) == ("created", "created")
    rows = await api.field(f"{{ shardHistory {{ nodes {{ previous {{ {WHOSE} }} current {{ {WHOSE} }} }} }} }}")
    newest, oldest = rows["nodes"]
    assert (whose(newest["previous"]), whose(newest["current"])) == (("created", "created"), ("moved", "moved"))
    assert (oldest["previous"], whose(oldest["current"])) == (None, ("created", "created"))


async def test_an_owner_of_long_ago_is_not_looked_for_for_ever(api: Api, mesh: Mesh) -> None:
    shard = await mesh.created("1")
    shard = await mesh.updated(shard, owner_node_id="node-b")
    for _ in range(OWNER_SEARCHED):
        paused = shard.status is ShardStatus.PAUSED
        shard = await mesh.updated(shard, status=ShardStatus.ACTIVE if paused else ShardStatus.PAUSED)
    ((node,),) = (await api.field(LIST)).values()
    assert (node["lastChange"] is None, node["ownerChange"], node["ownerSince"]) == (False, None, None)


async def test_changes_of_a_page_are_read_at_once(api: Api, mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    await mesh.create(*(new(str(number)) for number in range(20)))
    reads: list[int] = []
    changes, of_revisions = type(mesh.store.changes), mesh.store.changes.of_revisions

    async def counted(_: object, revisions: Any) -> Any:
        reads.append(len(revisions))
        return await of_revisions(revisions)

    monkeypatch.setattr(changes, "of_revisions", counted)
    for _ in range(2):
        await api.field(LIST)
    assert reads == [20, 20]
    await api.field("{ shardHistory { nodes { current { lastChange { id } } } } }")
    assert reads[2:] == [20]


async def test_nodes_name_their_last_changes(api: Api, mesh: Mesh) -> None:
    for node_id in ("node-a", "node-b"):
        await mesh.execute(RegisterNode(node_id, because(f"registered {node_id}")))
    await mesh.execute(UpdateNode("node-b", 1, because("heavier"), weight=2))
    for _ in range(2):
        found = (await api.field("{ nodes { nodes { nodeId lastChange { reason kind } } } }"))["nodes"]
        assert [node["lastChange"]["reason"] for node in found] == ["registered node-a", "heavier"]
    alone = await api.field('{ node(nodeId: "node-b") { lastChange { reason } } }')
    assert alone["lastChange"]["reason"] == "heavier"


async def test_without_tokens_the_viewer_may_do_everything(api: Api) -> None:
    viewer = await api.field("{ viewer { subject scopes expiresAt authRequired } }")
    scopes = ["mesh.admin", "mesh.approve", "mesh.audit", "mesh.operate", "mesh.read"]
    assert viewer == {"subject": None, "scopes": scopes, "expiresAt": None, "authRequired": False}


async def test_the_head_has_the_times_of_the_newest_and_of_the_oldest(api: Api, mesh: Mesh) -> None:
    head = "{ head { oldestAt committedAt serverTime revision } }"
    before = datetime.now(UTC)
    (configured,) = await mesh.changes()
    found = await api.field(head)
    assert datetime.fromisoformat(found["committedAt"]) == configured.committed_at
    assert before <= datetime.fromisoformat(found["serverTime"]) <= datetime.now(UTC)
    await mesh.created("1")
    newest = (await mesh.changes())[-1]
    found = await api.field(head)
    assert datetime.fromisoformat(found["committedAt"]) == newest.committed_at
    assert datetime.fromisoformat(found["oldestAt"]) == configured.committed_at


async def test_batches_show_how_new_the_newest_is(app: Starlette, mesh: Mesh) -> None:
    async with serving(app) as address, graphql_socket(address) as socket:
        await socket.subscribe(
            "subscription { shardDiffs { revision head { revision committedAt serverTime } diffs { shardId current "
            f"{{ {WHOSE} }} }} }} }}"
        )
        first = await socket.batch()
        assert first["head"]["revision"] == "0"
        committed = (await mesh.create(new("1"), change=because("created"))).change
        batch = await socket.batch()
        while not batch["diffs"]:
            batch = await socket.batch()
        assert datetime.fromisoformat(batch["head"]["committedAt"]) == committed.committed_at
        assert batch["head"]["revision"] == batch["revision"] == "1"
        assert whose(batch["diffs"][0]["current"]) == ("created", "created")
        bookmark = await socket.batch()
        assert bookmark["head"]["serverTime"] > batch["head"]["serverTime"]
