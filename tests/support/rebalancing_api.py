"""Nodes and plans through the API, by the operations that front ends send."""

from __future__ import annotations

from typing import Any

from graph.operations import operation
from tests.support.graphql_api import Api
from tests.support.graphql_documents import BY_ALICE
from tests.support.mesh import BILLING


async def ask(api: Api, name: str, **variables: Any) -> Any:
    """What a query of frontend-queries answers."""
    return await api.field(operation(name), **variables)


async def change(api: Api, name: str, **given: Any) -> Any:
    """What a mutation of frontend-queries answers; the actor is alice unless `change` names another."""
    return await api.field(operation(name), input={"change": BY_ALICE, **given})


async def registered(api: Api, *node_ids: str, **fields: Any) -> None:
    for node_id in node_ids:
        answer = await change(api, "RegisterNode", nodeId=node_id, **fields)
        assert answer["__typename"] == "NodeChanged", answer


async def marked(api: Api, node_id: str, status: str) -> None:
    """The node gets this status, at whatever version it is."""
    node = await ask(api, "NodeDetails", nodeId=node_id)
    answer = await change(api, "UpdateNode", nodeId=node_id, expectedVersion=node["version"], status=status)
    assert answer["__typename"] == "NodeChanged", answer


async def planned(api: Api, **given: Any) -> Any:
    """A plan, with its proposal."""
    answer = await change(api, "PlanRebalance", **given)
    assert answer["__typename"] == "PlanProposed", answer
    return answer["plan"]


async def applied(api: Api, plan: Any) -> Any:
    answer = await change(api, "ApplyPlan", planId=plan["id"])
    assert answer["__typename"] == "PlanApplied", answer
    return answer


async def pin(api: Api, shard_id: str, *, version: int = 1) -> None:
    """Pin a shard of `billing` for good."""
    given = {"namespace": BILLING, "shardId": shard_id, "expectedVersion": version, "pin": {"reason": "stays"}}
    answer = await change(api, "UpdateShard", **given)
    assert answer["__typename"] == "ShardsChanged", answer
