"""Deciding on plans, applying them in waves, and taking changes back, by the operations that front ends send."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from persistence.model.policy import NamespacePolicy
from persistence.ports.store import Store
from tests.reference.tables import Memory
from tests.support.graphql_api import ON_EVERY_STORE, Api
from tests.support.mesh import BILLING, Mesh, new, patch
from tests.support.rebalancing_api import applied, ask, change, marked, planned, registered

BY_BOB: Final = {"actor": "bob", "reason": "reviewed", "changeTicket": "CHG-7"}


async def rescued(api: Api, mesh: Mesh, count: int = 4) -> Any:
    """A plan that gives the shards of a node that is not there to one that is."""
    await registered(api, "node-a")
    await mesh.create(*(new(f"s{number}", "gone") for number in range(count)))
    return await planned(api)


def require_approval(store: Store) -> None:
    """For plans of `billing`, behind the API's back. For the store in memory."""
    memory = store.signal
    assert isinstance(memory, Memory)
    namespace = replace(
        memory.tables.namespaces[BILLING], policy=NamespacePolicy(approval_required=True, move_budget_percent=100)
    )
    memory.tables = replace(memory.tables, namespaces={**memory.tables.namespaces, BILLING: namespace})


@ON_EVERY_STORE
async def test_a_plan_is_approved_applied_in_waves_stopped_and_resumed(api: Api, mesh: Mesh) -> None:
    plan = await rescued(api, mesh)
    assert (plan["kind"], plan["movesMade"], plan["approved"]) == ("REBALANCE", 0, None)
    approved = await change(api, "ApprovePlan", planId=plan["id"], change=BY_BOB)
    assert (approved["__typename"], approved["change"]["kind"]) == ("PlanChanged", "APPROVE_PLAN")
    assert (approved["plan"]["status"], approved["plan"]["approved"]["actor"]) == ("APPROVED", "bob")
    again = await change(api, "ApprovePlan", planId=plan["id"])
    assert again["__typename"] == "PlanClosed"
    assert again["message"].startswith(f"plan {plan['id']} is APPROVED, by bob at ")
    wave = await change(api, "ApplyPlan", planId=plan["id"], maxMoves=1)
    assert (wave["plan"]["status"], wave["plan"]["movesMade"], wave["plan"]["applied"]) == ("APPLYING", 1, None)
    assert wave["change"]["rebalance"] == {"planId": plan["id"], "moved": 1, "shardCount": 4, "diffPercent": 25.0}
    stopped = await change(api, "StopPlan", planId=plan["id"], change=BY_BOB)
    assert (stopped["plan"]["status"], stopped["plan"]["latest"]["reason"]) == ("STOPPED", "reviewed")
    refused = await change(api, "ApplyPlan", planId=plan["id"], maxMoves=1)
    assert refused["message"].startswith(f"plan {plan['id']} is STOPPED, by bob at ")
    assert refused["message"].endswith("to go on with it, apply it with resume")
    done = await change(api, "ApplyPlan", planId=plan["id"], resume=True)
    assert (done["plan"]["status"], done["plan"]["movesMade"]) == ("APPLIED", 4)
    story = "query ($id: ID!, $kinds: [ChangeKind!]) { rebalancePlan(id: $id) { changes(kinds: $kinds) { %s } } }"
    changes = (await api.field(story % "totalCount nodes { id kind }", id=plan["id"]))["changes"]
    kinds = ["APPLY_PLAN", "STOP_PLAN", "APPLY_PLAN", "APPROVE_PLAN", "PLAN_REBALANCE"]
    assert ([one["kind"] for one in changes["nodes"]], changes["totalCount"]) == (kinds, 5)
    waves = (await api.field(story % "totalCount", id=plan["id"], kinds=["APPLY_PLAN"]))["changes"]
    assert waves == {"totalCount": 2}
    query = "query ($where: ChangeFilter) { changes(filter: $where) { nodes { id } } }"
    by_filter = await api.field(query, where={"planId": plan["id"]})
    assert [one["id"] for one in by_filter["nodes"]] == [one["id"] for one in changes["nodes"]]


async def test_a_plan_that_was_rejected_is_not_applied(api: Api, mesh: Mesh) -> None:
    plan = await rescued(api, mesh)
    rejected = await change(api, "RejectPlan", planId=plan["id"], change=BY_BOB)
    assert (rejected["__typename"], rejected["plan"]["status"]) == ("PlanChanged", "REJECTED")
    for name in ("ApplyPlan", "ApprovePlan", "RejectPlan", "StopPlan"):
        closed = await change(api, name, planId=plan["id"])
        assert closed["__typename"] == "PlanClosed"
        assert closed["message"].startswith(f"plan {plan['id']} is REJECTED already, by bob at ")
        lost = await change(api, name, planId="0" * 32)
        assert (lost["__typename"], lost["plans"]) == ("NotFound", ["0" * 32])
    assert (await planned(api))["status"] == "PROPOSED"


async def test_where_it_is_required_another_actor_approves(api: Api, mesh: Mesh) -> None:
    plan = await rescued(api, mesh)
    require_approval(mesh.store)
    refused = await change(api, "ApplyPlan", planId=plan["id"])
    assert refused["__typename"] == "PolicyViolation"
    (broken,) = refused["violations"]
    assert (broken["rule"], broken["namespace"], broken["shardId"]) == ("APPROVAL_REQUIRED", "billing", None)
    assert broken["allowed"] == "approved by somebody else than alice, who submitted it"
    own = await change(api, "ApprovePlan", planId=plan["id"])
    assert [one["rule"] for one in own["violations"]] == ["SELF_APPROVAL"]
    assert own["message"].startswith("SELF_APPROVAL of billing: approved by alice, who submitted it; allowed: ")
    assert (await ask(api, "RebalancePlan", id=plan["id"]))["status"] == "PROPOSED"
    await change(api, "ApprovePlan", planId=plan["id"], change=BY_BOB)
    assert (await applied(api, plan))["plan"]["status"] == "APPLIED"


async def test_an_approval_of_before_it_was_required_does_not_do(api: Api, mesh: Mesh) -> None:
    plan = await rescued(api, mesh)
    await change(api, "ApprovePlan", planId=plan["id"])
    require_approval(mesh.store)
    refused = await change(api, "ApplyPlan", planId=plan["id"])
    assert [one["rule"] for one in refused["violations"]] == ["SELF_APPROVAL"]


async def test_a_plan_that_cannot_be_applied_is_not_approved(api: Api, mesh: Mesh) -> None:
    plan = await rescued(api, mesh)
    await marked(api, "node-a", "DOWN")
    stale = await change(api, "ApprovePlan", planId=plan["id"])
    assert (stale["__typename"], stale["nodeIds"]) == ("StalePlan", ["node-a"])


async def test_an_older_plan_says_which_one_it_gave_way_to(api: Api, mesh: Mesh) -> None:
    older = await rescued(api, mesh)
    newer = await planned(api, maxMoves=1)
    await change(api, "ApprovePlan", planId=newer["id"], change=BY_BOB)
    closed = await change(api, "ApplyPlan", planId=older["id"])
    assert closed["plan"]["status"] == "SUPERSEDED"
    assert closed["message"].startswith(f"plan {older['id']} gave way to plan {newer['id']}, by bob at ")
    query = "{ changes(first: 1) { nodes { rebalance { planId supersedes } } } }"
    (last,) = (await api.field(query))["nodes"]
    assert last["rebalance"] == {"planId": newer["id"], "supersedes": [older["id"]]}


@pytest.mark.parametrize(
    ("operation", "given", "field"),
    [
        ("PlanRebalance", {"expiresInSeconds": 59}, "expiresInSeconds"),
        ("PlanRebalance", {"expiresInSeconds": 90 * 86_400 + 1}, "expiresInSeconds"),
        ("ApplyPlan", {"planId": "0" * 32, "maxMoves": 0}, "maxMoves"),
        ("ApprovePlan", {"planId": "x"}, "planId"),
        ("StopPlan", {"planId": ""}, "planId"),
        ("RollbackChange", {}, "changeId"),
        ("RollbackChange", {"changeId": "1", "changeTicket": "CHG-1"}, "changeId"),
        ("RollbackChange", {"changeId": "x"}, "changeId"),
        ("RollbackChange", {"changeId": "1"}, "changeId"),
        ("RollbackChange", {"sinceRevision": "0", "namespace": "no way"}, "namespace"),
        ("RollbackChange", {"sinceRevision": "0", "maxMoves": 0}, "maxMoves"),
        ("RollbackChange", {"sinceRevision": "0", "expiresInSeconds": 1}, "expiresInSeconds"),
    ],
)
async def test_bad_input_names_the_field(api: Api, operation: str, given: dict[str, Any], field: str) -> None:
    await registered(api, "node-a")
    answer = await change(api, operation, **given)
    assert answer["__typename"] == "InvalidInput", answer
    assert [error["field"] for error in answer["errors"]] == [field]


@ON_EVERY_STORE
async def test_a_change_is_rolled_back_by_a_plan_of_its_own(api: Api, mesh: Mesh) -> None:
    await registered(api, "node-a", "node-b")
    shards = (await mesh.create(new("s1", "node-a"), new("s2", "node-a"))).shards
    changed = await mesh.update(
        patch(shards[0], owner_node_id="node-b", capacity_hint=2.0), patch(shards[1], owner_node_id="node-b")
    )
    later = await mesh.update(patch(changed.shards[1], leader_id="l"))
    answer = await change(api, "RollbackChange", changeId=str(changed.change.id), change=BY_BOB)
    assert (answer["__typename"], answer["change"]["kind"]) == ("PlanProposed", "ROLLBACK_CHANGE")
    plan = answer["plan"]
    proposal = plan["proposal"]
    (move,) = proposal["moves"]["nodes"]
    assert (plan["kind"], move["shardId"], move["toNodeId"], move["reason"]) == (
        "ROLLBACK",
        "s1",
        "node-a",
        "ROLLBACK",
    )
    assert move["restore"] == {"leaderId": None, "capacityHint": 1.0, "localityHint": None, "status": "ACTIVE"}
    assert proposal["rollback"]["changeId"] == str(changed.change.id)
    (conflict,) = proposal["rollback"]["conflicts"]
    assert (conflict["shardId"], conflict["reason"], conflict["changeId"]) == (
        "s2",
        "CHANGED_SINCE",
        str(later.change.id),
    )
    assert await ask(api, "RebalancePlan", id=plan["id"]) == plan
    done = await applied(api, plan)
    table = await mesh.table()
    assert [(shard.owner_node_id, shard.capacity_hint) for shard in table.values()] == [
        ("node-a", 1.0),
        ("node-b", 1.0),
    ]
    back = await change(api, "RollbackChange", changeId=done["change"]["id"])
    assert [one["toNodeId"] for one in back["plan"]["proposal"]["moves"]["nodes"]] == ["node-b"]


async def test_a_change_that_is_not_there_cannot_be_rolled_back(api: Api) -> None:
    lost = await change(api, "RollbackChange", changeTicket="CHG-404")
    assert (lost["__typename"], lost["changes"]) == ("NotFound", ["CHG-404"])
    assert lost["message"] == "there is no change CHG-404, neither of this id nor under this ticket"
    query = 'mutation { rollbackChange(input: {sinceRevision: "9", change: {actor: "a", reason: "r"}}) { __typename } }'
    assert (await api.error(query))["code"] == "FUTURE_CURSOR"
