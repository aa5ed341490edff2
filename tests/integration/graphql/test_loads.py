"""Counts of shards, loads of nodes, and the filters `pinned`, `orphaned` and `ownerChanged`; on every store."""

from __future__ import annotations

from typing import Any

import pytest

from persistence.commands.nodes import RegisterNode, UpdateNode
from persistence.commands.shards import PinRequest
from persistence.model.records import NodeStatus, ShardStatus
from tests.support.graphql_api import ON_EVERY_STORE, Api
from tests.support.mesh import BILLING, CHANGE, SEARCH, Mesh, new, patch

pytestmark = ON_EVERY_STORE

COUNTS = """
query($by: [ShardCountKey!], $namespace: String, $owners: [String!]) {
  shardCounts(by: $by, namespace: $namespace, ownerNodeIds: $owners) {
    total
    revision
    counts { namespace ownerNodeId status shards capacity }
  }
}
"""
LOADS = "loads { namespace shards capacity share bound capacityBound }"


@pytest.fixture
async def filled(mesh: Mesh) -> Mesh:
    """Four shards in two namespaces, of two nodes that are registered and one that is not."""
    await mesh.configure(SEARCH, strategy="ring", parameters={"maxLoadPercent": 150, "maxShardsPerNode": 1})
    await mesh.execute(RegisterNode("node-a", CHANGE, weight=3))
    await mesh.execute(RegisterNode("node-b", CHANGE))
    await mesh.create(
        new("1", "node-a", capacity_hint=0.1),
        new("2", "node-a", capacity_hint=0.2),
        new("3", "node-x"),
        new("4", "node-b", namespace=SEARCH, capacity_hint=2.5),
    )
    return mesh


def rows(counts: Any) -> list[tuple[Any, ...]]:
    return [tuple(each.values()) for each in counts["counts"]]


@pytest.mark.usefixtures("filled")
async def test_shards_are_counted_by_node_namespace_and_status(api: Api, filled: Mesh) -> None:
    shard = await filled.shard("1")
    assert shard is not None
    await filled.update(patch(shard, status=ShardStatus.PAUSED))
    counts = await api.field(COUNTS)
    assert (counts["total"], counts["revision"]) == (4, "5")
    assert rows(counts) == [
        (BILLING, "node-a", "ACTIVE", 1, 0.2),
        (BILLING, "node-a", "PAUSED", 1, 0.1),
        (BILLING, "node-x", "ACTIVE", 1, 1.0),
        (SEARCH, "node-b", "ACTIVE", 1, 2.5),
    ]
    assert rows(await api.field(COUNTS, by=["NODE"])) == [
        (None, "node-a", None, 2, 0.3),
        (None, "node-b", None, 1, 2.5),
        (None, "node-x", None, 1, 1.0),
    ]
    assert rows(await api.field(COUNTS, by=[], namespace=BILLING)) == [(None, None, None, 3, 1.3)]
    assert rows(await api.field(COUNTS, by=["NAMESPACE"], owners=["node-b", "absent"])) == [
        (SEARCH, None, None, 1, 2.5)
    ]


async def test_counts_name_what_is_wrong(api: Api) -> None:
    assert (await api.error(COUNTS, namespace="absent"))["code"] == "NOT_FOUND"
    wrong = await api.error(COUNTS, owners=["node-a", ""])
    assert wrong["message"].startswith("ownerNodeIds[1]: ")
    assert "at most 1,000" in (await api.error(COUNTS, owners=["a"] * 1_001))["message"]


async def test_the_loads_of_a_node_stand_beside_its_share_and_its_bounds(api: Api, filled: Mesh) -> None:
    for _ in range(2):
        found = (await api.field(f"{{ nodes {{ nodes {{ nodeId {LOADS} }} }} }}"))["nodes"]
        loads = {node["nodeId"]: [tuple(load.values()) for load in node["loads"]] for node in found}
        assert loads == {
            "node-a": [(BILLING, 2, 0.3, 2.25, None, None), (SEARCH, 0, 0.0, 0.75, 1, None)],
            "node-b": [(SEARCH, 1, 2.5, 0.25, 1, None), (BILLING, 0, 0.0, 0.75, None, None)],
        }
    await filled.configure(SEARCH, parameters={"maxLoadPercent": 200, "loadBy": "capacity"}, expected=1)
    await filled.execute(UpdateNode("node-a", 1, CHANGE, status=NodeStatus.CORDONED))
    selected = 'loads(namespaces: ["search", "absent"]) { namespace share bound capacityBound }'
    query = f"query($id: String!) {{ node(nodeId: $id) {{ {selected} }} }}"
    cordoned, active = [(await api.field(query, id=node_id))["loads"] for node_id in ("node-a", "node-b")]
    assert cordoned == [{"namespace": SEARCH, "share": 0.0, "bound": None, "capacityBound": None}]
    assert active == [{"namespace": SEARCH, "share": 1.0, "bound": None, "capacityBound": 5.0}]


async def ids(api: Api, where: str) -> list[str]:
    found = await api.field(f"{{ shards(filter: {{ {where} }}) {{ nodes {{ shardId }} }} }}")
    return [shard["shardId"] for shard in found["nodes"]]


async def test_shards_are_found_by_whether_they_are_pinned_or_orphaned(api: Api, filled: Mesh) -> None:
    shard = await filled.shard("2")
    assert shard is not None
    await filled.update(patch(shard, pin=PinRequest("it is hot")))
    assert await ids(api, "pinned: true") == ["2"]
    assert await ids(api, "pinned: false") == ["1", "3", "4"]
    past = await api.field("{ shards(filter: { pinned: true }, asOf: { revision: 4 }) { nodes { shardId } } }")
    assert past["nodes"] == []
    assert await ids(api, "orphaned: true") == ["3"]
    assert await ids(api, "orphaned: false") == ["1", "2", "4"]
    assert await ids(api, 'orphaned: true, ownerNodeIds: ["node-a"]') == []
    await filled.execute(RegisterNode("node-x", CHANGE))
    assert await ids(api, "orphaned: true") == []
    error = await api.error("{ shards(filter: { orphaned: true }, asOf: { revision: 1 }) { revision } }")
    assert error["message"] == "filter.orphaned: can be given in lists of the present only"


async def test_history_is_found_by_whether_the_owner_changed(api: Api, filled: Mesh) -> None:
    shard = await filled.shard("1")
    assert shard is not None
    shard = await filled.updated(shard, owner_node_id="node-b")
    await filled.updated(shard, status=ShardStatus.PAUSED)
    filter_ = '{ namespace: "billing", shardId: "1", ownerChanged: $changed }'
    query = f"query($changed: Boolean) {{ shardHistory(filter: {filter_}) {{ nodes {{ version }} }} }}"
    moved, others = [(await api.field(query, changed=value))["nodes"] for value in (True, False)]
    assert (moved, others) == ([{"version": "2"}], [{"version": "3"}, {"version": "1"}])
