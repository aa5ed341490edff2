"""Nodes and plans through the API, by the operations that front ends send."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from graph.operations import operation
from persistence.memory import Memory
from persistence.ports import Store
from persistence.records import Pin, ShardKey
from tests.support.graphql_api import Api
from tests.support.graphql_documents import BY_ALICE
from tests.support.mesh import BILLING


async def ask(api: Api, name: str, **variables: Any) -> Any:
    """What a query of frontend-queries answers."""
    return await api.field(operation(name), **variables)


async def change(api: Api, name: str, **given: Any) -> Any:
    """What a mutation of frontend-queries answers; alice asks for it unless `change` says otherwise."""
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


def pin(store: Store, shard_id: str) -> None:
    """Pin a shard of `billing`, behind the API's back: it has no mutation for that yet. For the store in memory."""
    memory = store.signal
    assert isinstance(memory, Memory)
    key = ShardKey(BILLING, shard_id)
    shard = replace(memory.tables.shards[key], pinned=Pin("ops", "stays", None))
    memory.tables = replace(memory.tables, shards={**memory.tables.shards, key: shard})
