"""What is carried out and is likely a mistake: owners and leaders that may not own shards."""

from __future__ import annotations

from typing import Any

from graph.operations import operation
from persistence.commands.nodes import UpdateNode
from persistence.errors import StoreUnavailable
from persistence.model.policy import NamespacePolicy
from persistence.model.records import NodeStatus
from tests.support.graphql_api import ON_EVERY_STORE, Api
from tests.support.graphql_documents import BY_ALICE, one_shard
from tests.support.mesh import CHANGE, Mesh
from tests.support.planned_mesh import PlannedMesh

pytestmark = ON_EVERY_STORE


async def created(api: Api, *shards: dict[str, Any]) -> list[dict[str, Any]]:
    given = [{"namespace": "billing", "shardId": f"s{number}", **shard} for number, shard in enumerate(shards)]
    answer = await api.field(operation("CreateShards"), input={"shards": given, "change": BY_ALICE})
    assert answer["__typename"] == "ShardsChanged"
    warnings: list[dict[str, Any]] = answer["warnings"]
    return warnings


async def registered(mesh: Mesh, **statuses: NodeStatus) -> None:
    nodes = PlannedMesh(mesh.store)
    for name, status in statuses.items():
        node = (await nodes.register(name.replace("_", "-"))).node
        if status is not NodeStatus.ACTIVE:
            await mesh.execute(UpdateNode(node.node_id, node.version, CHANGE, status=status))


async def test_a_node_that_is_not_registered_is_warned_of_once_with_the_one_that_may_have_been_meant(
    api: Api, mesh: Mesh
) -> None:
    await registered(mesh, node_eu_1=NodeStatus.ACTIVE)
    given = {"ownerNodeId": "node-eu-1", "leaderId": "node-ue-1"}
    assert await created(api, given, {"ownerNodeId": "node-ue-1"}, {"ownerNodeId": "elsewhere"}) == [
        {
            "code": "NODE_NOT_REGISTERED",
            "field": "shards[0].leaderId",
            "message": "node-ue-1 is not registered; did you mean node-eu-1?",
            "suggestion": "node-eu-1",
            "namespace": None,
        },
        {
            "code": "NODE_NOT_REGISTERED",
            "field": "shards[2].ownerNodeId",
            "message": "elsewhere is not registered",
            "suggestion": None,
            "namespace": None,
        },
    ]


async def test_a_node_that_may_not_own_shards_is_warned_of(api: Api, mesh: Mesh) -> None:
    statuses = {"gone": NodeStatus.REMOVED, "dead": NodeStatus.DOWN, "leaving": NodeStatus.DRAINING}
    await registered(mesh, **statuses, fine=NodeStatus.ACTIVE, cordoned=NodeStatus.CORDONED)
    warnings = await created(api, *({"ownerNodeId": name} for name in (*statuses, "fine", "cordoned")))
    assert [(one["code"], one["field"], one["message"]) for one in warnings] == [
        ("NODE_UNAVAILABLE", f"shards[{index}].ownerNodeId", f"{name} is {status}: the next plan moves its shards away")
        for index, (name, status) in enumerate(statuses.items())
    ]


async def test_only_what_the_request_names_is_warned_of(api: Api, mesh: Mesh) -> None:
    await mesh.created("s1", "elsewhere", leader_id="elsewhere")
    await registered(mesh, node_a=NodeStatus.ACTIVE)
    patches: list[dict[str, Any]] = [{"capacityHint": 2}, {"leaderId": None}, {"ownerNodeId": "node-b"}]
    for version, fields in enumerate(patches, 1):
        answer = await api.field(operation("UpdateShard"), input=one_shard("s1", version, change=BY_ALICE, **fields))
        named = [(one["field"], one["suggestion"]) for one in answer["warnings"]]
        assert named == ([("ownerNodeId", "node-a")] if "ownerNodeId" in fields else [])


async def test_a_mesh_that_registers_no_nodes_is_not_warned(api: Api) -> None:
    assert await created(api, {"ownerNodeId": "node-a"}) == []


async def test_a_change_that_is_made_is_answered_where_the_nodes_cannot_be_read(
    api: Api, mesh: Mesh, monkeypatch: Any
) -> None:
    async def statuses(_: object, __: object) -> object:
        raise StoreUnavailable("gone away")

    monkeypatch.setattr(type(mesh.store.nodes), "statuses", statuses)
    assert await created(api, {"ownerNodeId": "node-a"}) == []
    assert await mesh.shard("s0") is not None


async def test_where_it_is_required_the_refusal_names_what_may_have_been_meant(api: Api, mesh: Mesh) -> None:
    await registered(mesh, node_eu_1=NodeStatus.ACTIVE)
    await mesh.configure(expected=1, policy=NamespacePolicy(owners_must_be_registered=True))
    shard = {"namespace": "billing", "shardId": "s1", "ownerNodeId": "node-ue-1", "leaderId": "elsewhere"}
    answer = await api.field(operation("CreateShards"), input={"shards": [shard], "change": BY_ALICE})
    assert answer["__typename"] == "PolicyViolation"
    assert [(one["rule"], one["actual"], one["remedy"]) for one in answer["violations"]] == [
        (
            "REGISTRATION_REQUIRED",
            "node-ue-1 as owner, which is not registered",
            "Did you mean node-eu-1? Name one, or register it first.",
        ),
        ("REGISTRATION_REQUIRED", "elsewhere as leader, which is not registered", "Name one, or register it first."),
    ]
