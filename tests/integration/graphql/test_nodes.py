"""Nodes: registering, changing, removing, draining them, and every way that is refused; against every store."""

from __future__ import annotations

from typing import Any

import pytest

from graph.operations import operation
from persistence.model.records import Shard
from tests.support.graphql_api import ON_EVERY_STORE, Api
from tests.support.graphql_documents import BY_ALICE, CHANGES
from tests.support.mesh import Mesh, new
from tests.support.rebalancing_api import applied, ask, change, marked, planned, registered
from tests.support.statements import statements

pytestmark = ON_EVERY_STORE


async def test_a_node_is_registered_with_its_defaults(api: Api) -> None:
    answer = await change(api, "RegisterNode", nodeId="node-a")
    assert (answer["__typename"], answer["replayed"]) == ("NodeChanged", False)
    assert answer["change"].items() >= {"id": "2", "kind": "REGISTER_NODE", **BY_ALICE}.items()
    node = answer["node"]
    assert node.pop("createdAt") == node.pop("updatedAt") == answer["change"]["committedAt"]
    assert node == {
        "nodeId": "node-a",
        "region": None,
        "zone": None,
        "labels": {},
        "weight": 1,
        "status": "ACTIVE",
        "changeTicket": "CHG-42",
        "version": "1",
        "shardCount": 0,
        "leaderCount": 0,
    }


async def test_a_node_is_shown_as_it_was_registered_and_with_the_shards_it_owns(api: Api, mesh: Mesh) -> None:
    given = {"region": "eu", "zone": "eu-1", "labels": {"disk": "ssd"}, "weight": 3, "status": "CORDONED"}
    await registered(api, "node-a", **given)
    leads = {"leader_id": "node-a"}
    await mesh.create(new("1", "node-a", **leads), new("2", "node-a"), *(new(n, "node-b", **leads) for n in "345"))
    node = await ask(api, "NodeDetails", nodeId="node-a")
    assert node.items() >= {**given, "shardCount": 2, "leaderCount": 4, "version": "1"}.items()
    assert await ask(api, "NodeDetails", nodeId="node-b") is None


async def test_null_stands_for_the_default_of_a_new_node(api: Api) -> None:
    answer = await change(api, "RegisterNode", nodeId="node-a", weight=None, status=None, labels=None)
    assert answer["node"].items() >= {"weight": 1, "status": "ACTIVE", "labels": {}}.items()


async def test_a_node_is_registered_once(api: Api) -> None:
    await registered(api, "node-a")
    again = await change(api, "RegisterNode", nodeId="node-a")
    assert again.items() >= {"__typename": "NodeVersionConflict", "nodeId": "node-a"}.items()
    assert (again["expectedVersion"], again["actualVersion"], again["lastChange"]["actor"]) == ("0", "1", "alice")
    assert again["message"].startswith("node node-a is registered already, at version 1: alice registered it at ")
    assert again["message"].endswith(" (CHG-42: drain node-1); it is ACTIVE now")


async def test_null_clears_where_a_node_is_and_absence_leaves_it(api: Api) -> None:
    await registered(api, "node-a", region="eu", zone="eu-1", weight=7)
    answer = await change(api, "UpdateNode", nodeId="node-a", expectedVersion=1, zone=None, labels={"disk": "hdd"})
    expected = {"region": "eu", "zone": None, "labels": {"disk": "hdd"}, "weight": 7, "version": "2"}
    assert answer["node"].items() >= expected.items()


async def test_a_stale_version_names_the_node_as_it_is_and_who_changed_it(api: Api) -> None:
    await registered(api, "node-a")
    by_bob = {"actor": "bob", "reason": "it smokes"}
    await change(api, "UpdateNode", nodeId="node-a", expectedVersion=1, status="DOWN", change=by_bob)
    stale = await change(api, "UpdateNode", nodeId="node-a", expectedVersion=1, weight=2)
    assert (stale["__typename"], stale["actualVersion"]) == ("NodeVersionConflict", "2")
    assert stale["current"]["status"] == "DOWN"
    assert stale["message"].startswith("node node-a is at version 2, not 1: bob changed it at ")
    assert stale["message"].endswith(" (it smokes); it is DOWN now")


async def test_a_node_that_is_not_registered_is_not_found(api: Api) -> None:
    for name, more in (("UpdateNode", {"weight": 2}), ("DrainNode", {})):
        lost = await change(api, name, nodeId="nobody", expectedVersion=1, **more)
        assert lost == {
            "__typename": "NotFound",
            "message": "there is no node nobody; registerNode registers one",
            "namespaces": [],
            "shards": [],
            "nodes": ["nobody"],
            "plans": [],
        }


async def test_a_node_is_removed_once_it_owns_nothing_and_its_version_goes_on(api: Api, mesh: Mesh) -> None:
    await registered(api, "node-a")
    shard = await mesh.created("1", "node-a")
    gone = {"nodeId": "node-a", "expectedVersion": 1, "status": "REMOVED"}
    refused = await change(api, "UpdateNode", **gone)
    assert refused["__typename"] == "NodeInUse"
    assert refused["message"] == "node node-a still owns 1 shard; drain it, and apply a plan that vacates it"
    assert refused["node"]["shardCount"] == 1
    await mesh.delete(shard)
    assert (await change(api, "UpdateNode", **gone))["node"]["status"] == "REMOVED"
    assert (await ask(api, "NodeDetails", nodeId="node-a"))["status"] == "REMOVED"
    assert (await ask(api, "ListNodes"))["nodes"] == []
    assert len((await ask(api, "ListNodes", filter={"statuses": ["REMOVED"]}))["nodes"]) == 1
    assert (await change(api, "UpdateNode", nodeId="node-a", expectedVersion=2, weight=2))["__typename"] == "NotFound"
    assert (await change(api, "RegisterNode", nodeId="node-a"))["node"]["version"] == "3"


async def test_nodes_are_listed_by_id_and_by_what_they_are(api: Api) -> None:
    await registered(api, "node-b", "node-a", region="eu", zone="eu-1")
    await registered(api, "node-c", region="us", status="DOWN")
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["node-a", "node-b", "node-c"]),
        ({"regions": ["us", "ap"]}, ["node-c"]),
        ({"zones": ["eu-1"], "statuses": []}, ["node-a", "node-b"]),
        ({"statuses": ["DOWN", "DRAINING"]}, ["node-c"]),
        ({"statuses": ["ACTIVE"], "regions": ["us"]}, []),
    ]
    query = "query ($filter: NodeFilter) { nodes(filter: $filter) { nodes { nodeId } totalCount } }"
    for where, expected in cases:
        page = await api.field(query, filter=where)
        assert ([node["nodeId"] for node in page["nodes"]], page["totalCount"]) == (expected, len(expected)), where


async def test_nodes_are_paged(api: Api) -> None:
    await registered(api, "node-a", "node-b", "node-c")
    first = await ask(api, "ListNodes", first=2)
    assert [node["nodeId"] for node in first["nodes"]] == ["node-a", "node-b"]
    rest = await ask(api, "ListNodes", first=2, after=first["pageInfo"]["endCursor"])
    assert ([node["nodeId"] for node in rest["nodes"]], rest["pageInfo"]["hasNextPage"]) == (["node-c"], False)


async def test_the_log_of_changes_keeps_a_node_before_and_after(api: Api) -> None:
    await registered(api, "node-a", labels={"disk": "ssd"})
    await change(api, "UpdateNode", nodeId="node-a", expectedVersion=1, weight=4)
    query = CHANGES.replace("configuration { namespace ", "configuration { namespace nodeId ")
    newest = (await api.field(query, filter={"kinds": ["UPDATE_NODE"]}))["nodes"][0]
    assert (newest["kind"], newest["namespaces"], newest["shardCount"]) == ("UPDATE_NODE", [], 0)
    configuration = newest["configuration"]
    assert (configuration["namespace"], configuration["nodeId"]) == (None, "node-a")
    before = {"region": None, "zone": None, "labels": {"disk": "ssd"}, "weight": 1, "status": "ACTIVE", "version": 1}
    assert configuration["previous"] == before
    assert configuration["current"] == before | {"weight": 4, "version": 2}


async def test_a_request_repeated_under_its_key_is_answered_again_and_another_refused(api: Api) -> None:
    keyed = {**BY_ALICE, "idempotencyKey": "k-1"}
    first = await change(api, "RegisterNode", nodeId="node-a", change=keyed)
    assert await change(api, "RegisterNode", nodeId="node-a", change=keyed) == {**first, "replayed": True}
    other = await change(api, "RegisterNode", nodeId="node-b", change=keyed)
    assert other["__typename"] == "IdempotencyKeyReused"
    drain = {"nodeId": "node-a", "expectedVersion": 1, "acceptBlockers": True}
    keyed = {**BY_ALICE, "idempotencyKey": "k-2"}
    first = await change(api, "DrainNode", **drain, change=keyed)
    assert await change(api, "DrainNode", **drain, change=keyed) == {**first, "replayed": True}


async def test_draining_says_first_where_the_shards_will_go(api: Api, mesh: Mesh) -> None:
    await registered(api, "node-a", "node-b")
    await mesh.create(*(new(str(number), "node-a") for number in range(5)))
    preflight = await ask(api, "DrainPreflight", nodeId="node-a")
    assert (preflight["shardCount"], preflight["moveCount"], preflight["remainingMoves"]) == (5, 5, 0)
    assert preflight["blockers"] == []
    assert preflight["moves"]["nodes"][0] == {
        "namespace": "billing",
        "shardId": "0",
        "version": "1",
        "fromNodeId": "node-a",
        "toNodeId": "node-b",
        "reason": "OWNER_DRAINING",
        "leader": None,
    }
    drained = await change(api, "DrainNode", nodeId="node-a", expectedVersion=1)
    assert (drained["__typename"], drained["node"]["status"]) == ("NodeDrained", "DRAINING")
    assert drained["change"]["kind"] == "DRAIN_NODE"
    assert drained["preflight"] == preflight


async def test_a_drained_node_is_vacated_by_a_plan_and_can_be_removed(api: Api, mesh: Mesh) -> None:
    await registered(api, "node-a", "node-b")
    await mesh.create(*(new(str(number), "node-a") for number in range(5)))
    await change(api, "DrainNode", nodeId="node-a", expectedVersion=1)
    await applied(api, await planned(api))
    assert {shard.owner_node_id for shard in (await mesh.table()).values()} == {"node-b"}
    await marked(api, "node-a", "REMOVED")


async def test_the_plan_narrowed_to_a_drained_node_moves_what_the_drain_counted(api: Api, mesh: Mesh) -> None:
    await registered(api, "node-a", "node-b", "node-c")
    await mesh.create(*(new(f"{number:02}", "node-a" if number < 5 else "node-b") for number in range(40)))
    counted = await ask(api, "DrainPreflight", nodeId="node-a")
    await change(api, "DrainNode", nodeId="node-a", expectedVersion=1)
    plan = (await change(api, "PlanRebalance", vacate=["node-a"]))["plan"]
    assert plan["moveCount"] == counted["moveCount"] == 5
    assert plan["proposal"]["scope"] == {"vacate": ["node-a"], "onlyReasons": []}
    assert plan["proposal"]["moves"]["nodes"] == [one | {"restore": None} for one in counted["moves"]["nodes"]]
    assert (await planned(api))["moveCount"] > 5


async def test_a_drain_of_several_nodes_or_of_a_zone_is_looked_at_as_one(api: Api, mesh: Mesh) -> None:
    await registered(api, "node-a", "node-b", "node-c")
    for node_id in ("node-a", "node-b"):
        await change(api, "UpdateNode", nodeId=node_id, expectedVersion=1, zone="z1", region="eu")
    await mesh.create(*(new(f"{number:02}", "node-a" if number < 5 else "node-b") for number in range(12)))
    several = await ask(api, "DrainPreflight", nodeIds=["node-b", "node-a"])
    assert (several["nodeIds"], several["nodeId"], several["moveCount"]) == (["node-a", "node-b"], "node-a", 12)
    for place in ({"zone": "z1"}, {"zone": "eu/z1"}, {"region": "eu"}, {"nodeId": "node-a", "nodeIds": ["node-b"]}):
        assert await ask(api, "DrainPreflight", **place) == several
    drain = operation("DrainPreflight")
    assert (await api.error(drain, zone="z9"))["code"] == "INVALID_ARGUMENT"
    assert (await api.error(drain))["code"] == "INVALID_ARGUMENT"
    assert (await api.error(drain, nodeIds=["node-a", "nobody"]))["code"] == "NOT_FOUND"


async def test_plans_are_narrowed_to_reasons_and_places_and_balanced_by_a_threshold(api: Api, mesh: Mesh) -> None:
    await registered(api, "node-a", "node-b", zone="z1")
    await registered(api, "node-c", zone="z2")
    await mesh.create(*(new(f"{number:02}", "node-a" if number < 30 else "node-c") for number in range(40)))
    await marked(api, "node-a", "DOWN")
    down = await planned(api, onlyReasons=["OWNER_DOWN"])
    assert (down["moveCount"], down["proposal"]["scope"]) == (30, {"vacate": [], "onlyReasons": ["OWNER_DOWN"]})
    simulated = await ask(api, "SimulateRebalance", input={"zones": ["z2"]})
    assert (simulated["moveCount"], simulated["scope"]["vacate"]) == (10, ["node-c"])
    refused = await change(api, "PlanRebalance", threshold=10)
    (error,) = refused["errors"]
    assert error["field"] == "threshold"
    assert error["message"] == (
        "is for strategies that keep owners, such as sticky; rendezvous places the shards of billing: name the "
        "namespaces to balance"
    )
    assert (await change(api, "PlanRebalance", vacate=["node-b"]))["errors"][0]["field"] == "vacate"
    assert (await change(api, "PlanRebalance", zones=["z9"]))["errors"][0]["field"] == "zones[0]"
    sticky = {"name": "billing", "strategy": "sticky", "expectedVersion": 1, "change": BY_ALICE}
    await api.field(operation("ConfigureNamespace"), input=sticky)
    await marked(api, "node-a", "ACTIVE")
    assert (await planned(api))["moveCount"] == 0
    balanced = await planned(api, threshold=10)
    assert (balanced["moveCount"], balanced["proposal"]["threshold"], balanced["proposal"]["scope"]) == (15, 10, None)


async def test_a_node_that_only_leads_is_drained_vacated_and_removed_like_an_owner(api: Api, mesh: Mesh) -> None:
    await registered(api, "node-a", "node-b", "node-c")
    await mesh.create(*(new(str(number), "node-b", leader_id="node-a") for number in range(4)))
    in_use = await change(api, "UpdateNode", nodeId="node-a", expectedVersion=1, status="REMOVED")
    assert (in_use["__typename"], in_use["node"]["leaderCount"]) == ("NodeInUse", 4)
    assert in_use["message"] == "node node-a still leads 4 shards; drain it, and apply a plan that vacates it"
    preflight = await ask(api, "DrainPreflight", nodeId="node-a")
    assert (preflight["shardCount"], preflight["leaderCount"], preflight["moveCount"]) == (0, 4, 4)
    assert {one["leader"]["fromNodeId"] for one in preflight["moves"]["nodes"]} == {"node-a"}
    await change(api, "DrainNode", nodeId="node-a", expectedVersion=1)
    explained = await ask(api, "ExplainShard", namespace="billing", shardId="0")
    assert "node-a is DRAINING" in explained["summary"] or explained["move"]["reason"] == "PLACEMENT_CHANGED"
    assert explained["move"]["leader"]["fromNodeId"] == "node-a"
    await applied(api, await planned(api))
    assert all(shard.leader_id == shard.owner_node_id for shard in (await mesh.table()).values())
    await marked(api, "node-a", "REMOVED")


async def test_draining_the_only_node_is_blocked_until_that_is_accepted(api: Api, shard: Shard) -> None:
    preflight = await ask(api, "DrainPreflight", nodeId=shard.owner_node_id)
    (blocker,) = preflight["blockers"]
    assert (blocker["code"], blocker["namespace"], blocker["shardId"]) == ("NO_PLACEMENT", "billing", None)
    blocked = await change(api, "DrainNode", nodeId="node-a", expectedVersion=1)
    assert (blocked["__typename"], blocked["preflight"]) == ("DrainBlocked", preflight)
    assert blocked["message"].startswith(f"node node-a cannot be vacated: billing: {blocker['message']}; to drain it")
    assert (await ask(api, "NodeDetails", nodeId="node-a"))["version"] == "1"
    accepted = await change(api, "DrainNode", nodeId="node-a", expectedVersion=1, acceptBlockers=True)
    assert (accepted["__typename"], accepted["node"]["status"]) == ("NodeDrained", "DRAINING")


async def test_a_drain_of_a_version_that_was_not_seen_is_a_conflict(api: Api) -> None:
    await registered(api, "node-a")
    stale = await change(api, "DrainNode", nodeId="node-a", expectedVersion=7)
    assert (stale["__typename"], stale["expectedVersion"]) == ("NodeVersionConflict", "7")


async def test_there_is_no_preflight_of_a_node_that_is_not_there(api: Api) -> None:
    assert await ask(api, "DrainPreflight", nodeId="nobody") is None


@pytest.fixture
async def shard(api: Api, mesh: Mesh) -> Shard:
    """The only shard, on the only node."""
    await registered(api, "node-a")
    return await mesh.created("1", "node-a")


COUNTING = (
    "{ nodes { nodes { shardCount } } }",
    "{ nodes { nodes { leaderCount } } }",
    "{ nodes { edges { node { ...counted } } } } fragment counted on Node { count: shardCount }",
    '{ node(nodeId: "node-a") { ... { ... on Node { shardCount } } } }',
    'query ($is: Boolean = true) { node(nodeId: "node-a") { shardCount @include(if: $is) } }',
)
NOT_COUNTING = (
    "{ nodes { totalCount nodes { nodeId } edges { node { weight } } } }",
    '{ node(nodeId: "node-a") { shardCount: weight ...rest } } fragment rest on Node { status }',
)


@pytest.mark.parametrize("query", [*COUNTING, *NOT_COUNTING])
async def test_shards_of_nodes_are_counted_where_the_count_is_selected(api: Api, mesh: Mesh, query: str) -> None:
    await registered(api, "node-a")
    await mesh.create(new("1", "node-a", leader_id="node-a"), new("2", "node-a", leader_id="node-a"))
    with statements() as sent:
        answer = await api.data(query)
    assert (": 2}" in str(answer)) is (query in COUNTING)
    assert not sent or any("shards" in statement for statement in sent) is (query in COUNTING)
