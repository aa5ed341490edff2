"""What a page about plans asks: parts of the moves, flows, what is in the way; and how much was done when."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from persistence.model.outcomes import PolicyViolation
from persistence.model.policy import NamespacePolicy
from tests.support.graphql_api import ON_EVERY_STORE, Api
from tests.support.mesh import BILLING, SEARCH, Mesh, new, patch
from tests.support.rebalancing_api import change, planned, registered

pytestmark = ON_EVERY_STORE

PREFLIGHT: Final = """
query($id: ID!, $ticket: String, $maxMoves: Int) {
  planPreflight(id: $id, changeTicket: $ticket, maxMoves: $maxMoves) {
    __typename
    ... on Refusal { message }
    ... on PolicyViolation { violations { rule namespace actual allowed remedy } }
    ... on NotFound { plans }
  }
}
"""


async def rescued(api: Api, mesh: Mesh, policy: NamespacePolicy | None = None) -> Any:
    """A plan that gives the shards of two nodes that are not there to one that is."""
    await registered(api, "node-a")
    await mesh.configure(SEARCH)
    await mesh.create(*(new(f"s{number}", "gone") for number in range(3)), new("s9", "lost"))
    await mesh.create(new("t1", "gone", namespace=SEARCH))
    if policy is not None:
        await mesh.configure(policy=policy, expected=1)
    return await planned(api)


async def test_moves_are_read_in_parts_and_summed_up(api: Api, mesh: Mesh) -> None:
    plan = await rescued(api, mesh)
    query = """
    query($id: ID!, $filter: MoveFilter, $after: String) {
      rebalancePlan(id: $id) {
        proposal {
          flows { fromNodeId toNodeId count }
          ofBilling: flows(namespace: "billing") { fromNodeId count }
          moves(filter: $filter, first: 2, after: $after) {
            totalCount
            nodes { shardId }
            pageInfo { endCursor hasNextPage }
          }
        }
      }
    }
    """
    proposal = (await api.field(query, id=plan["id"], filter={"namespace": BILLING, "fromNodeId": "gone"}))["proposal"]
    assert proposal["flows"] == [
        {"fromNodeId": "gone", "toNodeId": "node-a", "count": 4},
        {"fromNodeId": "lost", "toNodeId": "node-a", "count": 1},
    ]
    assert proposal["ofBilling"] == [{"fromNodeId": "gone", "count": 3}, {"fromNodeId": "lost", "count": 1}]
    moves = proposal["moves"]
    assert (moves["totalCount"], [move["shardId"] for move in moves["nodes"]]) == (3, ["s0", "s1"])
    where = {"namespace": BILLING, "fromNodeId": "gone", "toNodeId": "node-a", "reasons": ["OWNER_REMOVED"]}
    rest = await api.field(query, id=plan["id"], filter=where, after=moves["pageInfo"]["endCursor"])
    assert [move["shardId"] for move in rest["proposal"]["moves"]["nodes"]] == ["s2"]
    assert not rest["proposal"]["moves"]["pageInfo"]["hasNextPage"]


async def test_what_stands_in_the_way_of_a_plan_is_known_before(api: Api, mesh: Mesh) -> None:
    policy = NamespacePolicy(ticket_required=True, approval_required=True, move_budget_percent=100)
    plan = await rescued(api, mesh, policy)
    changes = len(await mesh.changes())
    blocked = await api.field(PREFLIGHT, id=plan["id"])
    assert blocked["__typename"] == "PolicyViolation"
    assert [each["rule"] for each in blocked["violations"]] == ["APPROVAL_REQUIRED", "TICKET_REQUIRED"]
    refusals = await api.field("{ refusals { totalCount } }")
    assert (len(await mesh.changes()), refusals["totalCount"]) == (changes, 0)
    by_bob = {"actor": "bob", "reason": "reviewed", "changeTicket": "CHG-7"}
    await change(api, "ApprovePlan", planId=plan["id"], change=by_bob)
    assert await api.field(PREFLIGHT, id=plan["id"], ticket="CHG-7") is None
    shard = await mesh.shard("t1", SEARCH)
    assert shard is not None
    await mesh.update(patch(shard, owner_node_id="node-a"))
    assert (await api.field(PREFLIGHT, id=plan["id"], ticket="CHG-7"))["__typename"] == "StalePlan"
    assert (await api.field(PREFLIGHT, id="0" * 32))["__typename"] == "NotFound"
    assert (await api.error(PREFLIGHT, id=plan["id"], maxMoves=0))["code"] == "INVALID_ARGUMENT"
    assert (await api.error(PREFLIGHT, id="nonsense"))["code"] == "INVALID_ARGUMENT"


async def test_refusals_name_the_rules_that_they_are_for(api: Api, mesh: Mesh) -> None:
    await mesh.configure(SEARCH, policy=NamespacePolicy(ticket_required=True))
    given = {"namespace": SEARCH, "shardId": "1", "ownerNodeId": "node-a"}
    refused = await change(api, "CreateShards", shards=[given], change={"actor": "ops", "reason": "more"})
    assert refused["__typename"] == "PolicyViolation"
    query = "{ refusals { nodes { outcome brokenRules { rule namespace shardId actual allowed remedy } } } }"
    (refusal,) = (await api.field(query))["nodes"]
    assert refusal["outcome"] == PolicyViolation.__name__
    assert refusal["brokenRules"] == [
        {
            "rule": "TICKET_REQUIRED",
            "namespace": SEARCH,
            "shardId": None,
            "actual": "no ticket",
            "allowed": "a ticket",
            "remedy": "Name the ticket that the change is made under.",
        }
    ]


async def test_what_was_done_is_counted_in_parts_of_a_time(api: Api, mesh: Mesh) -> None:
    await mesh.create(new("1"), new("2"))
    first, last = [(await mesh.changes())[at].committed_at for at in (0, -1)]
    query = """
    query($from: DateTime!, $to: DateTime, $buckets: Int!) {
      activity(from: $from, to: $to, buckets: $buckets) { begins ends changes shardChanges lastRevision }
    }
    """
    begins, ends = first - timedelta(seconds=10), last + timedelta(seconds=10)
    buckets = await api.field(query, **{"from": begins.isoformat()}, to=ends.isoformat(), buckets=4)
    assert len(buckets) == 4
    assert (sum(each["changes"] for each in buckets), sum(each["shardChanges"] for each in buckets)) == (2, 2)
    assert (buckets[0]["changes"], buckets[0]["lastRevision"], buckets[-1]["lastRevision"]) == (0, "0", "2")
    assert all(one["ends"] == other["begins"] for one, other in pairwise(buckets))
    for wrong, field in (({"buckets": 501}, "buckets"), ({"buckets": 1, "to": begins.isoformat()}, "to")):
        error = await api.error(query, **{"from": begins.isoformat(), **wrong})
        assert (error["code"], error["message"].partition(":")[0]) == ("INVALID_ARGUMENT", field)


async def test_how_much_of_a_window_is_used_and_when_it_is_free_again(api: Api, mesh: Mesh) -> None:
    query = '{ namespace(name: "billing") { windowUse { used allowed freeAt } } }'
    assert (await api.field(query))["windowUse"] is None
    policy = NamespacePolicy(window_moves=2, window_seconds=600, move_budget_percent=100)
    await mesh.configure(policy=policy, expected=1)
    shard = await mesh.created("1")
    assert (await api.field(query))["windowUse"] == {"used": 0, "allowed": 2, "freeAt": None}
    shard = await mesh.updated(shard, owner_node_id="node-b")
    first = (await mesh.changes())[-1].committed_at
    await mesh.updated(shard, owner_node_id="node-a")
    use = (await api.field(query))["windowUse"]
    assert (use["used"], use["allowed"]) == (2, 2)
    assert datetime.fromisoformat(use["freeAt"]) == first + timedelta(seconds=600)


WAVES: Final = """
query($id: ID!, $maxMoves: Int, $first: Int) {
  rebalancePlan(id: $id) { upcomingWaves(maxMoves: $maxMoves, first: $first) { firstMove moveCount namespaces } }
}
"""


async def waves(api: Api, plan: Any, **given: Any) -> list[tuple[int, int]]:
    found = await api.field(WAVES, id=plan["id"], **given)
    return [(wave["firstMove"], wave["moveCount"]) for wave in found["upcomingWaves"]]


async def by_choice(api: Api, mesh: Mesh, policy: NamespacePolicy) -> Any:
    """A plan that gives a share of twelve shards of one node to two others."""
    await registered(api, "node-a", "node-b", "node-c")
    await mesh.create(*(new(f"s{number:02}", "node-a") for number in range(12)))
    await mesh.configure(policy=policy, expected=1)
    return await planned(api)


async def test_the_waves_that_are_left_are_those_that_applying_makes(api: Api, mesh: Mesh) -> None:
    plan = await by_choice(api, mesh, NamespacePolicy(move_budget_percent=20))
    count = plan["moveCount"]
    assert count > 6  # three of twelve shards in a wave
    expected = [(at, min(3, count - at)) for at in range(0, count, 3)]
    assert await waves(api, plan) == expected
    assert await waves(api, plan, first=1) == expected[:1]
    assert await waves(api, plan, maxMoves=2, first=2) == [(0, 2), (2, 2)]
    made = 0
    while upcoming := await waves(api, plan):
        assert upcoming == expected[len(expected) - len(upcoming) :]
        applied = await change(api, "ApplyPlan", planId=plan["id"], maxMoves=10_000)
        assert applied["change"]["rebalance"]["moved"] == upcoming[0][1]
        made += upcoming[0][1]
    assert made == count
    for wrong, field in (({"maxMoves": 0}, "maxMoves"), ({"first": 101}, "first")):
        error = await api.error(WAVES, id=plan["id"], **wrong)
        assert (error["code"], error["fields"][0]["field"]) == ("INVALID_ARGUMENT", field)
    listed = await api.error("{ rebalancePlans { nodes { upcomingWaves { moveCount } } } }")
    assert listed["fields"][0]["message"] == "must be at most 20 where upcomingWaves is selected, not 50"


async def test_the_next_wave_has_what_is_left_of_the_window(api: Api, mesh: Mesh) -> None:
    plan = await by_choice(api, mesh, NamespacePolicy(move_budget_percent=100, window_moves=4, window_seconds=600))
    assert (await waves(api, plan))[:2] == [(0, 4), (4, 4)]
    applied = await change(api, "ApplyPlan", planId=plan["id"], maxMoves=3)
    assert applied["change"]["rebalance"]["moved"] == 3
    assert (await waves(api, plan))[:2] == [(3, 1), (4, 4)]


async def test_moves_that_no_policy_limits_are_one_wave(api: Api, mesh: Mesh) -> None:
    plan = await rescued(api, mesh)
    assert await api.field(WAVES, id=plan["id"]) == {
        "upcomingWaves": [{"firstMove": 0, "moveCount": 5, "namespaces": [BILLING, SEARCH]}]
    }
    assert (await change(api, "RejectPlan", planId=plan["id"]))["__typename"] == "PlanChanged"
    assert await waves(api, plan) == []


async def test_each_move_names_the_change_that_made_it(api: Api, mesh: Mesh) -> None:
    plan = await rescued(api, mesh)
    query = """
    query($id: ID!, $filter: MoveFilter, $last: Int) {
      rebalancePlan(id: $id) {
        proposal { moves(filter: $filter, last: $last) { nodes { shardId madeBy { id actor lastRevision } } } }
      }
    }
    """

    async def makers(**given: Any) -> list[Any]:
        found = await api.field(query, id=plan["id"], **given)
        return [move["madeBy"] and move["madeBy"]["id"] for move in found["proposal"]["moves"]["nodes"]]

    assert await makers() == [None] * 5
    ids = []
    for size in (2, 1):
        applied = await change(api, "ApplyPlan", planId=plan["id"], maxMoves=size)
        ids.append(applied["change"]["id"])
    assert await makers() == [ids[0], ids[0], ids[1], None, None]
    assert await makers(last=3) == [ids[1], None, None]
    assert await makers(filter={"namespace": SEARCH}) == [None]
    found = await api.field(query, id=plan["id"])
    assert found["proposal"]["moves"]["nodes"][2]["madeBy"]["actor"] == "alice"
    preview = "{ simulateRebalance(input: {}) { moves { nodes { madeBy { id } } } } }"
    assert {move["madeBy"] for move in (await api.field(preview))["moves"]["nodes"]} == {None}


async def test_flows_have_what_both_ends_own_before_and_after(api: Api, mesh: Mesh) -> None:
    plan = await rescued(api, mesh)
    query = """
    query($id: ID!) {
      rebalancePlan(id: $id) {
        proposal {
          flows {
            count
            fromLoad { nodeId shardsBefore shardsAfter capacityBefore capacityAfter }
            toLoad { nodeId shardsBefore shardsPeak shardsAfter }
          }
        }
      }
    }
    """
    flow = (await api.field(query, id=plan["id"]))["proposal"]["flows"][0]
    assert flow["fromLoad"] == {
        "nodeId": "gone",
        "shardsBefore": 4,
        "shardsAfter": 0,
        "capacityBefore": 4,
        "capacityAfter": 0,
    }
    assert flow["toLoad"] == {"nodeId": "node-a", "shardsBefore": 0, "shardsPeak": 5, "shardsAfter": 5}
