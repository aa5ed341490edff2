"""Policies through the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from graph.execution.encoding import write_date_time
from graph.operations import operation
from persistence.model.policy import NamespacePolicy
from tests.support.graphql_api import ON_EVERY_STORE, Api
from tests.support.graphql_documents import BY_ALICE, CONFIGURE, one_shard
from tests.support.mesh import Mesh, new

pytestmark = ON_EVERY_STORE

NOW = datetime.now(UTC).replace(microsecond=0)
FREEZE = {
    "begins": write_date_time(NOW - timedelta(hours=1)),
    "ends": write_date_time(NOW + timedelta(hours=1)),
    "reason": "quarter end",
}
CHANGES = "{ changes(first: 1) { nodes { forced reason } } }"


async def configured(api: Api, version: int, **fields: Any) -> dict[str, Any]:
    given = {"name": "billing", "strategy": "rendezvous", "expectedVersion": version, "change": BY_ALICE, **fields}
    answer: dict[str, Any] = await api.field(operation("ConfigureNamespace"), input=given)
    return answer


async def test_a_policy_is_configured_and_shown(api: Api) -> None:
    given = {"ticketRequired": True, "ticketPattern": "CHG-[0-9]+", "windowMoves": 12, "freezes": [FREEZE]}
    answer = await configured(api, 1, policy=given)
    expected = {
        **given,
        "approvalRequired": False,
        "moveBudgetPercent": 10.0,
        "windowSeconds": 3600,
        "shardWindowMoves": None,
        "involuntaryMovesLimited": False,
        "ownersMustBeRegistered": False,
        "recurringFreezes": [],
    }
    assert answer["namespace"]["policy"] == expected
    assert (await configured(api, 2))["namespace"]["policy"] == expected
    assert (await api.field(operation("NamespaceDetails"), name="billing"))["policy"] == expected
    page = await api.field("{ changes(first: 1) { nodes { configuration { current } } } }")
    assert page["nodes"][0]["configuration"]["current"]["policy"] == expected
    assert (await configured(api, 3, policy={}))["namespace"]["policy"]["ticketRequired"] is False


async def test_a_policy_that_cannot_be_is_refused_by_field(api: Api) -> None:
    upside_down = {**FREEZE, "ends": FREEZE["begins"]}
    wrong = {"ticketPattern": "(", "moveBudgetPercent": 0, "windowMoves": -1, "freezes": [upside_down]}
    given = {"name": "billing", "strategy": "rendezvous", "expectedVersion": 1, "change": BY_ALICE}
    answer = await api.field(CONFIGURE, input={**given, "policy": wrong})
    assert [error["field"] for error in answer["errors"]] == [
        "policy.ticketPattern",
        "policy.moveBudgetPercent",
        "policy.windowMoves",
        "policy.freezes[0].ends",
    ]
    answer = await api.field(CONFIGURE, input={**given, "policy": None})
    assert answer["errors"] == [{"field": "policy", "message": "must not be null; leave it out to keep it as it is"}]


async def test_a_violation_names_rule_value_and_remedy(api: Api, mesh: Mesh) -> None:
    await mesh.create(*(new(str(number)) for number in range(30)))
    await mesh.configure(expected=1, policy=NamespacePolicy())
    moves = [one_shard(str(number), 1, ownerNodeId="node-b") for number in range(4)]
    answer = await api.field(operation("UpdateShards"), input={"shards": moves, "change": BY_ALICE})
    assert answer == {
        "__typename": "PolicyViolation",
        "message": (
            "MOVE_BUDGET of billing: 4 of 30 shards, 13.3 %; allowed: 3, 10 %. "
            "Plan it and apply it in waves, or force it with a reason"
        ),
        "violations": [
            {
                "rule": "MOVE_BUDGET",
                "namespace": "billing",
                "shardId": None,
                "actual": "4 of 30 shards, 13.3 %",
                "allowed": "3, 10 %",
                "remedy": "Plan it and apply it in waves, or force it with a reason.",
            }
        ],
        "omitted": 0,
    }


async def test_a_forced_change_is_made_and_says_why(api: Api, mesh: Mesh) -> None:
    await mesh.created("1")
    await configured(api, 1, policy={"freezes": [FREEZE]})
    request = one_shard("1", 1, leaderId="node-l", change=BY_ALICE)
    refused = await api.field(operation("UpdateShard"), input=request)
    assert refused["violations"][0]["rule"] == "FREEZE"
    assert "quarter end" in refused["message"]
    forced = {**request, "change": {**BY_ALICE, "force": {"reason": "the leader is gone"}}}
    made = await api.field(operation("UpdateShard"), input=forced)
    assert (made["__typename"], made["change"]["forced"]) == ("ShardsChanged", "the leader is gone")
    assert (await api.field(CHANGES))["nodes"] == [{"forced": "the leader is gone", "reason": "drain node-1"}]
    blank = {**request, "change": {**BY_ALICE, "force": {"reason": " "}}}
    assert (await api.field(operation("UpdateShard"), input=blank))["errors"][0]["field"] == "change.force.reason"


WEEKEND = {
    "schedule": "0 18 * * fri",
    "duration": "P2DT14H",
    "timeZone": "Europe/Berlin",
    "reason": "weekend",
    "until": None,
}
CALENDAR = """query($from: DateTime, $to: DateTime) {
    namespace(name: "billing") { freezesBetween(from: $from, to: $to) { begins ends reason } } }"""


async def test_freezes_that_come_again_are_shown_when_they_come(api: Api) -> None:
    single = {"begins": "2026-10-24T00:00:00Z", "ends": "2026-10-24T12:00:00Z", "reason": "stocktaking"}
    answer = await configured(api, 1, policy={"freezes": [single], "recurringFreezes": [WEEKEND]})
    assert answer["namespace"]["policy"]["recurringFreezes"] == [WEEKEND]
    span = {"from": "2026-10-20T00:00:00Z", "to": "2026-11-01T00:00:00Z"}
    assert (await api.field(CALENDAR, **span))["freezesBetween"] == [
        {"begins": "2026-10-23T16:00:00Z", "ends": "2026-10-26T07:00:00Z", "reason": "weekend"},
        single,
        {"begins": "2026-10-30T17:00:00Z", "ends": "2026-11-02T07:00:00Z", "reason": "weekend"},
    ]
    assert 4 <= len((await api.field(CALENDAR))["freezesBetween"]) <= 6


async def test_a_calendar_of_no_time_or_too_much_is_refused(api: Api) -> None:
    for span in (
        {"from": "2026-10-20T00:00:00Z", "to": "2026-10-20T00:00:00Z"},
        {"from": "2026-10-20T00:00:00Z", "to": "2027-10-20T00:00:00Z"},
        {"from": "9999-12-31T00:00:00Z"},
        {"to": "0001-01-01T00:00:00Z"},
    ):
        error = await api.error(CALENDAR, **span)
        assert error["code"] == "INVALID_ARGUMENT"


async def test_a_freeze_that_cannot_come_again_is_refused_by_field(api: Api) -> None:
    given = {"name": "billing", "strategy": "rendezvous", "expectedVersion": 1, "change": BY_ALICE}
    wrong = {**WEEKEND, "schedule": "0 18 * * friday", "timeZone": "Europe/Berln"}
    answer = await api.field(CONFIGURE, input={**given, "policy": {"recurringFreezes": [wrong]}})
    assert [error["field"] for error in answer["errors"]] == [
        "policy.recurringFreezes[0].schedule",
        "policy.recurringFreezes[0].timeZone",
    ]
