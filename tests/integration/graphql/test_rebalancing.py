"""Plans: made, reviewed, applied, and every way that is refused; against every store."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import pytest

from persistence.model.records import ShardKey
from tests.support.graphql_api import ON_EVERY_STORE, Api
from tests.support.graphql_documents import BY_ALICE, CONFIGURE, HISTORY, UPDATE, one_shard
from tests.support.mesh import Mesh, new, patch
from tests.support.rebalancing_api import applied, ask, change, marked, planned, registered

pytestmark = ON_EVERY_STORE


@pytest.fixture
async def crowded(api: Api, mesh: Mesh) -> Mesh:
    """Three nodes, and one of them owns all of twelve shards."""
    await registered(api, "node-a", "node-b", "node-c")
    await mesh.create(*(new(f"s{number:02}", "node-a") for number in range(12)))
    return mesh


async def test_a_plan_says_what_moves_and_why(api: Api, crowded: Mesh) -> None:
    answer = await change(api, "PlanRebalance")
    assert (answer["__typename"], answer["replayed"]) == ("PlanProposed", False)
    assert answer["change"]["kind"] == "PLAN_REBALANCE"
    plan = answer["plan"]
    proposal = plan["proposal"]
    moves = proposal["moves"]["nodes"]
    assert 0 < len(moves) < 12
    assert {move["fromNodeId"] for move in moves} == {"node-a"}
    assert {move["toNodeId"] for move in moves} <= {"node-b", "node-c"}
    assert {move["reason"] for move in moves} == {"PLACEMENT_CHANGED"}
    assert [move["shardId"] for move in moves] == sorted(move["shardId"] for move in moves)
    assert plan["moveCount"] == proposal["moveCount"] == proposal["moves"]["totalCount"] == len(moves)
    assert plan["movedPercent"] == proposal["movedPercent"] == pytest.approx(100 * len(moves) / 12)
    assert (plan["status"], plan["namespaces"], plan["shardCount"]) == ("PROPOSED", ["billing"], 12)
    assert (plan["baseRevision"], plan["applied"]) == ("12", None)
    loads = {load["nodeId"]: (load["shardsBefore"], load["shardsAfter"]) for load in proposal["loads"]}
    assert loads["node-a"] == (12, 12 - len(moves))
    assert sum(after for _, after in loads.values()) == 12
    (space,) = proposal["namespaces"]
    assert (space["name"], space["strategy"], space["moved"]) == ("billing", "rendezvous", len(moves))
    assert space["digest"] == (await crowded.namespace()).digest
    assert {shard.owner_node_id for shard in (await crowded.table()).values()} == {"node-a"}


@pytest.mark.usefixtures("crowded")
async def test_a_plan_is_named_by_the_digest_of_its_document(api: Api) -> None:
    plan = await planned(api)
    document = plan["proposal"]["document"]
    assert hashlib.sha256(document.encode()).hexdigest()[:32] == plan["id"] == plan["proposal"]["id"]
    assert [move["shard_id"] for move in json.loads(document)["moves"]] == [
        move["shardId"] for move in plan["proposal"]["moves"]["nodes"]
    ]


@pytest.mark.usefixtures("crowded")
async def test_a_plan_is_sent_once_where_its_document_is_enough(api: Api) -> None:
    whole = await planned(api)
    brief = await ask(api, "PlanRebalance", input={"change": BY_ALICE}, details=False)
    assert brief["plan"] == {**whole, "proposal": {"document": whole["proposal"]["document"]}}
    assert await ask(api, "RebalancePlan", id=whole["id"], details=False) == brief["plan"]
    simulated = await ask(api, "SimulateRebalance", input={}, details=False)
    assert simulated == brief["plan"]["proposal"]


async def test_the_same_mesh_gives_the_same_plan(api: Api, crowded: Mesh) -> None:
    first = await planned(api)
    by_bob = {"actor": "bob", "reason": "I did not know"}
    again = await change(api, "PlanRebalance", change=by_bob)
    assert (again["plan"], again["replayed"]) == (first, True)
    assert again["change"]["actor"] == "alice"
    shard = (await crowded.table()).popitem()[1]
    await crowded.update(patch(shard, leader_id="node-l"))
    assert (await planned(api))["id"] != first["id"]


async def test_a_plan_can_be_read_again_and_is_listed(api: Api, crowded: Mesh) -> None:
    await crowded.configure("search")
    first = await planned(api, namespaces=["billing"])
    assert await ask(api, "RebalancePlan", id=first["id"]) == first
    assert await ask(api, "RebalancePlan", id="0" * 32) is None
    second = await planned(api, namespaces=["search", "billing"])
    await applied(api, first)
    cases: list[tuple[dict[str, Any], list[Any]]] = [
        ({}, [second, first]),
        ({"namespace": "search"}, [second]),
        ({"namespace": "billing"}, [second, first]),
        ({"statuses": ["APPLIED"]}, [first]),
        ({"statuses": []}, [second, first]),
        ({"statuses": ["REJECTED"], "namespace": "billing"}, []),
    ]
    for where, expected in cases:
        page = await ask(api, "ListRebalancePlans", filter=where)
        assert [plan["id"] for plan in page["nodes"]] == [plan["id"] for plan in expected], where
    assert page["pageInfo"] == {"hasNextPage": False, "endCursor": None}
    newest = await ask(api, "ListRebalancePlans", first=1)
    rest = await ask(api, "ListRebalancePlans", first=1, after=newest["pageInfo"]["endCursor"])
    assert [plan["id"] for plan in newest["nodes"] + rest["nodes"]] == [second["id"], first["id"]]
    assert await api.field("{ rebalancePlans { totalCount } }") == {"totalCount": 2}


@pytest.mark.usefixtures("crowded")
@pytest.mark.parametrize(
    "proposals",
    [
        "nodes { proposal { id } }",
        "edges { node { ... on RebalancePlan { p: proposal { id } } } }",
        "...P } } fragment P on RebalancePlanConnection { nodes { ...N } } fragment N on RebalancePlan { proposal { id",
    ],
)
async def test_proposals_are_listed_in_short_pages_only(api: Api, proposals: str) -> None:
    plan = await planned(api)
    for argument in ("first", "last"):
        query = "{ rebalancePlans(%s: %d) { %s } }"
        refused = await api.error(query % (argument, 21, proposals))
        message = "must be at most 20 where proposal is selected, not 21"
        assert (refused["code"], refused["fields"]) == ("INVALID_ARGUMENT", [{"field": argument, "message": message}])
        assert plan["id"] in str(await api.data(query % (argument, 20, proposals)))
        assert await api.data(query % (argument, 500, "nodes { id }"))
    refused = await api.error("{ rebalancePlans { nodes { proposal { id } } } }")
    assert refused["fields"][0]["field"] == "first"


async def test_few_proposals_are_read_at_a_time(api: Api, crowded: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        await crowded.updated((await crowded.table())[ShardKey("billing", "s00")], leader_id=f"node-{number}")
        await planned(api)
    readers = type(crowded.store.plans)
    read = readers.proposal
    under_way = most = 0

    async def counted(reader: Any, plan_id: str) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)  # the others have their turn
        found = await read(reader, plan_id)
        under_way -= 1
        return found

    monkeypatch.setattr(readers, "proposal", counted)
    plans = await api.field("{ rebalancePlans(first: 20) { nodes { id proposal { id } } } }")
    assert [plan["proposal"]["id"] for plan in plans["nodes"]] == [plan["id"] for plan in plans["nodes"]]
    assert (len(plans["nodes"]), most) == (6, 2)


async def test_a_plan_is_applied_as_one_change(api: Api, crowded: Mesh) -> None:
    plan = await planned(api)
    moves = plan["proposal"]["moves"]["nodes"]
    answer = await applied(api, plan)
    table = await crowded.table()
    assert all(
        table[move["namespace"], move["shardId"]].owner_node_id == move["toNodeId"]  # type: ignore[index]
        for move in moves
    )
    assert answer["change"].items() >= {"kind": "APPLY_PLAN", **BY_ALICE}.items()
    assert answer["change"]["rebalance"] == {
        "planId": plan["id"],
        "moved": len(moves),
        "shardCount": 12,
        "diffPercent": pytest.approx(100 * len(moves) / 12),
    }
    assert (answer["plan"]["status"], answer["plan"]["applied"]["id"]) == ("APPLIED", answer["change"]["id"])
    head = await api.field("{ head { cursor revision } }")
    assert (answer["cursor"], answer["revision"]) == (head["cursor"], head["revision"])
    assert (await planned(api))["moveCount"] == 0


async def test_history_tells_why_a_rebalance_moved_a_shard(api: Api, crowded: Mesh) -> None:
    await marked(api, "node-a", "DOWN")
    plan = await planned(api)
    await applied(api, plan)
    rows = await ask(api, "ShardHistory", filter={"moveReasons": ["OWNER_DOWN"]})
    assert len(rows["nodes"]) == plan["moveCount"] == 12
    row = rows["nodes"][0]
    assert (row["moveReason"], row["changedFields"]) == ("OWNER_DOWN", ["ownerNodeId", "changeTicket"])
    assert row["change"]["rebalance"]["diffPercent"] == 100.0
    for where in ({"moveReasons": ["STRATEGY_CHANGED"]}, {"kinds": ["CREATED"], "moveReasons": ["OWNER_DOWN"]}):
        assert (await api.field(HISTORY, filter=where))["totalCount"] == 0
    assert (await api.field(HISTORY, filter={"moveReasons": []}))["totalCount"] == 24
    by_hand = await crowded.updated((await crowded.table()).popitem()[1], owner_node_id="node-x")
    newest = (await ask(api, "ShardHistory", filter={"namespace": "billing"}, first=1))["nodes"][0]
    assert (newest["shardId"], newest["moveReason"], newest["change"]["rebalance"]) == (by_hand.shard_id, None, None)


@pytest.mark.usefixtures("crowded")
async def test_a_plan_is_applied_once(api: Api) -> None:
    plan = await planned(api)
    await applied(api, plan)
    again = await change(api, "ApplyPlan", planId=plan["id"])
    assert (again["__typename"], again["plan"]["status"]) == ("PlanClosed", "APPLIED")
    assert again["message"].startswith(f"plan {plan['id']} is APPLIED already, by alice at ")


@pytest.mark.usefixtures("crowded")
async def test_a_request_repeated_under_its_key_is_answered_again(api: Api) -> None:
    keyed = {**BY_ALICE, "idempotencyKey": "k-1"}
    first = await change(api, "PlanRebalance", change=keyed)
    assert await change(api, "PlanRebalance", change=keyed) == {**first, "replayed": True}
    keyed = {**BY_ALICE, "idempotencyKey": "k-2"}
    done = await change(api, "ApplyPlan", planId=first["plan"]["id"], change=keyed)
    assert await change(api, "ApplyPlan", planId=first["plan"]["id"], change=keyed) == {**done, "replayed": True}
    other = await change(api, "ApplyPlan", planId="0" * 32, change=keyed)
    assert other["__typename"] == "IdempotencyKeyReused"


async def test_a_plan_does_not_fit_once_a_shard_of_it_was_changed(api: Api, crowded: Mesh) -> None:
    plan = await planned(api)
    move = plan["proposal"]["moves"]["nodes"][0]
    await api.field(UPDATE, input=one_shard(move["shardId"], 1, status="PAUSED", change={**BY_ALICE, "actor": "bob"}))
    before = await crowded.table()
    stale = await change(api, "ApplyPlan", planId=plan["id"])
    assert (stale["__typename"], stale["namespaces"], stale["nodeIds"]) == ("StalePlan", [], [])
    (conflict,) = stale["conflicts"]
    assert (conflict["shardId"], conflict["expectedVersion"], conflict["actualVersion"]) == (move["shardId"], "1", "2")
    assert (conflict["current"]["ownerNodeId"], conflict["lastChange"]["actor"]) == ("node-a", "bob")
    assert conflict["changedFields"] == ["status"]
    assert stale["message"].startswith(
        f"plan {plan['id']} does not fit any more: shard billing/{move['shardId']} is at version 2, not 1 (status): "
        f"bob changed it in change {conflict['lastChange']['id']} at "
    )
    assert stale["message"].endswith("node-a owns it now; make a new plan")
    assert await crowded.table() == before
    await applied(api, await planned(api))


@pytest.mark.usefixtures("crowded")
async def test_a_plan_does_not_fit_once_its_namespace_or_a_node_is_another(api: Api) -> None:
    plan = await planned(api)
    target = plan["proposal"]["moves"]["nodes"][0]["toNodeId"]
    await api.field(CONFIGURE, input={"name": "billing", "strategy": "ring", "expectedVersion": 1, "change": BY_ALICE})
    await marked(api, target, "CORDONED")
    stale = await change(api, "ApplyPlan", planId=plan["id"])
    assert (stale["conflicts"], stale["namespaces"], stale["nodeIds"]) == ([], ["billing"], [target])
    space, node = stale["namespaceConflicts"][0], stale["nodeConflicts"][0]
    assert (space["name"], space["expectedVersion"], space["actualVersion"]) == ("billing", "1", "2")
    assert space["changedFields"] == [{"name": "strategy", "previous": "rendezvous", "current": "ring"}]
    assert (node["nodeId"], node["expectedVersion"], node["actualVersion"]) == (target, "1", "2")
    assert node["changedFields"] == [{"name": "status", "previous": "ACTIVE", "current": "CORDONED"}]
    by = [
        f"by alice in change {one['lastChange']['id']} at {one['lastChange']['committedAt']}" for one in (space, node)
    ]
    assert stale["message"] == (
        f"plan {plan['id']} does not fit any more: "
        f"namespace billing is at version 2, not 1: strategy rendezvous -> ring, {by[0]} (CHG-42: drain node-1); "
        f"node {target} is at version 2, not 1: status ACTIVE -> CORDONED, {by[1]} (CHG-42: drain node-1); "
        "make a new plan"
    )


async def test_a_plan_that_is_not_there_is_not_found(api: Api) -> None:
    lost = await change(api, "ApplyPlan", planId="0" * 32)
    assert (lost["__typename"], lost["plans"]) == ("NotFound", ["0" * 32])
    assert lost["message"] == f"there is no plan {'0' * 32}; planRebalance makes one"


async def test_an_unknown_namespace_is_not_found(api: Api) -> None:
    lost = await change(api, "PlanRebalance", namespaces=["billing", "nobody"])
    assert (lost["__typename"], lost["namespaces"]) == ("NotFound", ["nobody"])


async def test_without_an_eligible_node_nothing_can_be_placed(api: Api, mesh: Mesh) -> None:
    await mesh.created("1")
    impossible = await change(api, "PlanRebalance")
    assert impossible["__typename"] == "PlacementImpossible"
    (violation,) = impossible["violations"]
    assert (violation["code"], violation["namespace"], violation["nodeId"]) == ("NO_PLACEMENT", "billing", None)
    assert impossible["message"] == f"no namespace can be placed: billing: {violation['message']}"
    await registered(api, "node-a", labels={"disk": "hdd"})
    await mesh.configure(parameters={"selector": "disk=ssd"}, expected=1)
    assert "disk=ssd" in (await change(api, "PlanRebalance"))["message"]
    assert await api.field("{ rebalancePlans { totalCount } }") == {"totalCount": 0}


async def test_a_namespace_that_cannot_be_placed_is_left_alone(api: Api, crowded: Mesh) -> None:
    await crowded.configure("search", parameters={"selector": "disk=ssd"})
    await crowded.create(new("1", namespace="search"))
    proposal = (await planned(api))["proposal"]
    assert [(violation["code"], violation["namespace"]) for violation in proposal["violations"]] == [
        ("NO_PLACEMENT", "search")
    ]
    assert {move["namespace"] for move in proposal["moves"]["nodes"]} == {"billing"}


async def test_a_namespace_without_shards_has_nothing_to_move(api: Api) -> None:
    await registered(api, "node-a")
    plan = await planned(api, namespaces=["billing"])
    assert (plan["moveCount"], plan["shardCount"], plan["movedPercent"], plan["baseRevision"]) == (0, 0, 0.0, "0")
    answer = await change(api, "ApplyPlan", planId=plan["id"])
    assert (answer["__typename"], answer["message"]) == (
        "InvalidInput",
        "planId has no moves: there is nothing to apply",
    )


async def test_the_most_urgent_moves_come_first_and_the_rest_is_counted(api: Api, crowded: Mesh) -> None:
    await crowded.create(new("z1", "node-b"), new("z2", "nobody"))
    await marked(api, "node-b", "DRAINING")
    everything = (await planned(api))["proposal"]
    reasons = [move["reason"] for move in everything["moves"]["nodes"]]
    assert reasons[:2] == ["OWNER_REMOVED", "OWNER_DRAINING"]
    assert set(reasons[2:]) == {"PLACEMENT_CHANGED"}
    few = (await planned(api, maxMoves=2))["proposal"]
    assert few["moves"]["nodes"] == everything["moves"]["nodes"][:2]
    assert (few["moveCount"], few["remainingMoves"]) == (2, everything["moveCount"] - 2)


@pytest.mark.usefixtures("crowded")
async def test_moves_are_paged_in_both_directions(api: Api) -> None:
    await marked(api, "node-a", "DOWN")
    plan = await planned(api)
    query = """query ($id: ID!, $first: Int, $after: String, $last: Int, $before: String) {
      rebalancePlan(id: $id) { proposal { moves(first: $first, after: $after, last: $last, before: $before) {
        edges { node { shardId } cursor } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount
      } } }
    }"""

    async def page(**arguments: Any) -> Any:
        return (await api.field(query, id=plan["id"], **arguments))["proposal"]["moves"]

    def ids(moves: Any) -> list[str]:
        return [edge["node"]["shardId"] for edge in moves["edges"]]

    names = [f"s{number:02}" for number in range(12)]
    first = await page(first=5)
    assert (ids(first), first["totalCount"]) == (names[:5], 12)
    assert (first["pageInfo"]["hasNextPage"], first["pageInfo"]["hasPreviousPage"]) == (True, False)
    rest = await page(first=50, after=first["pageInfo"]["endCursor"])
    assert (ids(rest), rest["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasPreviousPage"]) == (names[5:], False, True)
    back = await page(last=3, before=rest["pageInfo"]["startCursor"])
    assert (ids(back), back["pageInfo"]["hasNextPage"], back["pageInfo"]["hasPreviousPage"]) == (names[2:5], True, True)
    assert ids(await page(last=1)) == ["s11"]
    assert ids(await page(last=20)) == names
    nothing = await page(after=rest["pageInfo"]["endCursor"])
    assert (ids(nothing), nothing["pageInfo"]["endCursor"]) == ([], None)
    assert ids(await page(after=rest["pageInfo"]["endCursor"], before=first["pageInfo"]["startCursor"])) == []


async def test_a_mesh_can_be_supposed(api: Api, crowded: Mesh) -> None:
    before = await crowded.changes()
    now = await ask(api, "SimulateRebalance", input={})
    more = await ask(api, "SimulateRebalance", input={"nodes": [{"nodeId": "node-d", "weight": 100}]})
    assert any(move["toNodeId"] == "node-d" for move in more["moves"]["nodes"])
    less = await ask(api, "SimulateRebalance", input={"nodes": [{"nodeId": "node-a", "status": "REMOVED"}]})
    assert {move["reason"] for move in less["moves"]["nodes"]} == {"OWNER_REMOVED"}
    other = await ask(api, "SimulateRebalance", input={"strategy": "ring", "strategyParameters": {"virtualNodes": 8}})
    assert {move["reason"] for move in other["moves"]["nodes"]} == {"STRATEGY_CHANGED"}
    assert other["namespaces"][0]["strategy"] == "ring"
    few = await ask(api, "SimulateRebalance", input={"maxMoves": 1, "namespaces": ["billing"]})
    assert (few["moveCount"], few["remainingMoves"]) == (1, now["moveCount"] - 1)
    assert await crowded.changes() == before
    assert (await planned(api))["id"] == now["id"]


async def test_what_cannot_be_supposed_is_a_coded_error(api: Api, mesh: Mesh) -> None:
    query = "query ($input: SimulateRebalanceInput!) { simulateRebalance(input: $input) { id } }"
    lost = await api.error(query, input={"namespaces": ["nobody"]})
    assert (lost["code"], lost["message"]) == (
        "NOT_FOUND",
        "there is no namespace nobody; configureNamespace creates one",
    )
    await mesh.created("1")
    impossible = await api.error(query, input={})
    (violation,) = impossible["violations"]
    assert (impossible["code"], violation["code"], violation["namespace"]) == (
        "PLACEMENT_IMPOSSIBLE",
        "NO_PLACEMENT",
        "billing",
    )


async def test_a_shard_is_explained(api: Api, crowded: Mesh) -> None:
    await registered(api, "node-d", status="DRAINING")
    proposal = await ask(api, "SimulateRebalance", input={})
    move = proposal["moves"]["nodes"][0]
    told = await ask(api, "ExplainShard", namespace="billing", shardId=move["shardId"])
    assert (told["ownerNodeId"], told["targetNodeId"], told["move"]) == ("node-a", move["toNodeId"], move)
    assert told["namespace"]["strategy"] == "rendezvous"
    assert told["summary"].startswith(
        f"billing/{move['shardId']} is on node-a, rendezvous places it on {move['toNodeId']}"
    )
    assert [candidate["rank"] for candidate in told["candidates"]] == [1, 2, 3, None]
    assert told["candidates"][0]["nodeId"] == move["toNodeId"] == told["replicaNodeIds"][0]
    assert told["candidates"][3].items() >= {"nodeId": "node-d", "obstacle": "it is DRAINING"}.items()
    await applied(api, await planned(api))
    told = await ask(api, "ExplainShard", namespace="billing", shardId=move["shardId"])
    assert (told["move"], told["stays"]) == (None, None)
    assert told["summary"].endswith("where rendezvous places it.")
    assert await crowded.shard("s00") is not None


@pytest.mark.usefixtures("crowded")
async def test_a_cordoned_node_keeps_what_it_has(api: Api) -> None:
    moving = (await ask(api, "SimulateRebalance", input={}))["moves"]["nodes"][0]["shardId"]
    await marked(api, "node-a", "CORDONED")
    told = await ask(api, "ExplainShard", namespace="billing", shardId=moving)
    assert (told["move"], told["stays"]) == (None, "CORDONED")
    assert (await planned(api))["moveCount"] == 0


async def test_a_shard_that_is_not_there_cannot_be_explained(api: Api, mesh: Mesh) -> None:
    query = 'query ($namespace: String!) { explainShard(namespace: $namespace, shardId: "9") { summary } }'
    lost = await api.error(query, namespace="billing")
    assert (lost["code"], lost["message"]) == ("NOT_FOUND", "there is no shard billing/9")
    assert (await api.error(query, namespace="nobody"))["message"].startswith("there is no namespace nobody")
    await mesh.created("9")
    told = await ask(api, "ExplainShard", namespace="billing", shardId="9")
    assert (told["targetNodeId"], told["candidates"], told["replicaNodeIds"]) == (None, [], [])
    assert [violation["code"] for violation in told["violations"]] == ["NO_PLACEMENT"]


async def test_strategies_are_listed_with_what_they_take(api: Api) -> None:
    listed = {strategy["name"]: strategy for strategy in await ask(api, "ListStrategies")}
    assert {"rendezvous", "ring", "locality", "maglev", "jump"} <= listed.keys()
    ring = listed["ring"]
    assert (ring["algorithmVersion"], ring["movement"]) == (1, "MINIMAL")
    own = [parameter for parameter in ring["parameters"] if not parameter["constraint"]]
    assert own == [
        {"name": "virtualNodes", "rule": "a whole number from 1 to 4,096", "default": 160, "constraint": False}
    ]
    constraints = [parameter["name"] for parameter in ring["parameters"] if parameter["constraint"]]
    assert constraints == [parameter["name"] for parameter in listed["jump"]["parameters"]]
    assert {"selector", "maxLoadPercent", "replicas"} <= set(constraints)
