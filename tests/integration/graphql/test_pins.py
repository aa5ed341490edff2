"""Pinned shards stay where they are, and show their pin."""

from __future__ import annotations

from tests.support.graphql_api import Api
from tests.support.mesh import Mesh, new
from tests.support.rebalancing_api import ask, change, pin, planned, registered


async def test_a_pinned_shard_blocks_draining_its_owner(api: Api, mesh: Mesh) -> None:
    await registered(api, "node-a", "node-b")
    await mesh.create(new("1", "node-a"), new("2", "node-a"))
    await pin(api, "2")
    blocked = await change(api, "DrainNode", nodeId="node-a", expectedVersion=1)
    assert [move["shardId"] for move in blocked["preflight"]["moves"]["nodes"]] == ["1"]
    assert blocked["preflight"]["blockers"] == [
        {
            "code": "PINNED_TO_UNAVAILABLE",
            "namespace": "billing",
            "shardId": "2",
            "nodeId": "node-a",
            "message": "billing/2 is pinned to node-a, which is DRAINING: unpin it to move it",
        }
    ]
    assert blocked["message"].startswith("node node-a cannot be vacated: billing/2 is pinned to node-a")


async def test_a_pinned_shard_is_in_no_plan(api: Api, mesh: Mesh) -> None:
    await registered(api, "node-a", "node-b")
    await mesh.create(*(new(str(number), "node-a") for number in range(8)))
    moving = (await ask(api, "SimulateRebalance", input={}))["moves"]["nodes"][0]["shardId"]
    await pin(api, moving)
    told = await ask(api, "ExplainShard", namespace="billing", shardId=moving)
    assert (told["move"], told["stays"]) == (None, "PINNED")
    assert moving not in [move["shardId"] for move in (await planned(api))["proposal"]["moves"]["nodes"]]


async def test_a_move_of_a_pinned_shard_is_answered_with_who_pinned_it(api: Api, mesh: Mesh) -> None:
    await registered(api, "node-a", "node-b")
    await mesh.create(new("1", "node-a"))
    await pin(api, "1")
    shard = {"namespace": "billing", "shardId": "1", "expectedVersion": 2}
    refused = await change(api, "UpdateShard", **shard, ownerNodeId="node-b")
    assert refused["violations"] == [
        {
            "rule": "PIN",
            "namespace": "billing",
            "shardId": "1",
            "actual": "a move from node-a to node-b",
            "allowed": "staying on node-a until it is unpinned, as alice pinned it (stays)",
            "remedy": "Unpin it first, or force it with a reason.",
        }
    ]
    assert refused["message"] == (
        "PIN of billing/1: a move from node-a to node-b; allowed: staying on node-a until it is unpinned, as alice "
        "pinned it (stays). Unpin it first, or force it with a reason"
    )
    moved = await change(api, "UpdateShard", **shard, ownerNodeId="node-b", pin=None)
    assert (moved["shards"][0]["pinned"], moved["shards"][0]["ownerNodeId"]) == (None, "node-b")


async def test_a_pin_names_the_field_that_is_wrong(api: Api, mesh: Mesh) -> None:
    await registered(api, "node-a")
    await mesh.create(new("1", "node-a"))
    shard = {"namespace": "billing", "shardId": "1", "expectedVersion": 1}
    for pinned, field in (
        ({"reason": " "}, "pin.reason"),
        ({"reason": "stays", "until": "2001-01-01T00:00:00Z"}, "pin.until"),
    ):
        refused = await change(api, "UpdateShard", **shard, pin=pinned)
        assert [error["field"] for error in refused["errors"]] == [field]
    made = {"namespace": "billing", "shardId": "2", "ownerNodeId": "node-x", "pin": {"reason": "stays"}}
    refused = await change(api, "CreateShards", shards=[made])
    assert [error["field"] for error in refused["errors"]] == ["shards[0].pin"]


async def test_two_shards_of_a_group_are_named_where_one_node_would_own_both(api: Api, mesh: Mesh) -> None:
    await mesh.create(new("1", "node-a", anti_affinity_group="g"))
    made = {"namespace": "billing", "shardId": "2", "ownerNodeId": "node-a", "antiAffinityGroup": "g"}
    refused = await change(api, "CreateShards", shards=[made])
    assert refused["message"] == (
        "ANTI_AFFINITY of billing/2: node-a owning 2 beside 1, both of group g; allowed: one shard of group g on a "
        "node. Give it another owner, or move 1 in the same change, or force it with a reason"
    )
    assert [one["rule"] for one in refused["violations"]] == ["ANTI_AFFINITY"]
    shard = {"namespace": "billing", "shardId": "1", "expectedVersion": 1}
    left = await change(api, "UpdateShard", **shard, antiAffinityGroup=None)
    assert left["shards"][0]["antiAffinityGroup"] is None
    assert (await change(api, "CreateShards", shards=[made]))["__typename"] == "ShardsChanged"
    invalid = await change(api, "UpdateShard", **(shard | {"expectedVersion": 2}), antiAffinityGroup="a b")
    assert [error["field"] for error in invalid["errors"]] == ["antiAffinityGroup"]
