"""Pinned shards stay where they are, and say so."""

from __future__ import annotations

from tests.support.graphql_api import Api
from tests.support.mesh import Mesh, new
from tests.support.rebalancing_api import ask, change, pin, planned, registered


async def test_a_pinned_shard_blocks_draining_its_owner(api: Api, mesh: Mesh) -> None:
    await registered(api, "node-a", "node-b")
    await mesh.create(new("1", "node-a"), new("2", "node-a"))
    pin(mesh.store, "2")
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
    pin(mesh.store, moving)
    told = await ask(api, "ExplainShard", namespace="billing", shardId=moving)
    assert (told["move"], told["stays"]) == (None, "PINNED")
    assert moving not in [move["shardId"] for move in (await planned(api))["proposal"]["moves"]["nodes"]]
