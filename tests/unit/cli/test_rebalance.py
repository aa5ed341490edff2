"""rebalance: what is sent, and what is printed of the answers."""

from __future__ import annotations

from typing import Any

import pytest

from graph.cli.errors import Exit
from graph.client.records import Json
from persistence.planning.proposal import Proposal
from tests.support.command_line import omnirelay
from tests.support.proposals import move, proposal
from tests.support.scripted_api import Script

WHY = ("--reason", "vacate", "--actor", "ops")
CHANGE = {"id": "9", "actor": "ops", "reason": "vacate", "changeTicket": None, "committedAt": "2026-01-31T09:30:00Z"}
MADE = proposal(move(1), move(2))


def plan(made: Proposal, **fields: Any) -> Json:
    return {
        "id": made.id,
        "status": "PROPOSED",
        "baseRevision": "7",
        "namespaces": ["orders"],
        "moveCount": len(made.moves),
        "shardCount": made.shard_count,
        "movedPercent": made.moved_percent,
        "kind": "REBALANCE",
        "movesMade": 0,
        "expiresAt": "2026-02-07T09:30:00Z",
        "created": CHANGE,
        "approved": None,
        "latest": CHANGE,
        "applied": None,
        "proposal": {"document": made.document},
    } | fields


def proposed(made: Proposal, *, replayed: bool = False) -> Json:
    return {"planRebalance": {"__typename": "PlanProposed", "plan": plan(made), "change": CHANGE, "replayed": replayed}}


def namespaces(*, approval: bool = False) -> Json:
    orders = {"name": "orders", "policy": {"approvalRequired": approval}}
    return {"namespaces": {"nodes": [orders], "pageInfo": {"hasNextPage": False, "endCursor": None}}}


def test_a_plan_that_is_to_be_approved_says_how_and_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """By somebody with another name and another token, at the same server."""
    Script(PlanRebalance=proposed(MADE), ListNamespaces=namespaces(approval=True)).install(monkeypatch)
    answer = omnirelay("mesh", "rebalance", "plan", *WHY, "--ticket", "CHG-1", "--server", "http://mesh:8080")
    approve, apply = [line for line in answer.err.splitlines() if line.startswith("  ")]
    at = "--reason vacate --ticket CHG-1 --server http://mesh:8080"
    assert approve == f"  omnirelay mesh rebalance approve {MADE.id} {at}"
    assert apply.startswith(f"  omnirelay mesh rebalance apply {MADE.id} --wave-size 1000 --reason vacate ")


def test_a_plan_ends_with_the_command_that_applies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Script(PlanRebalance=proposed(MADE), ListNamespaces=namespaces()).install(monkeypatch)
    answer = omnirelay("mesh", "rebalance", "plan", *WHY)
    assert answer.exit == Exit.OK
    assert answer.out.endswith("2 of 100 shards move (2 %): 2 OWNER_DRAINING.\n")
    apply = f"  omnirelay mesh rebalance apply {MADE.id} --wave-size 1000 --reason vacate --actor ops"
    assert answer.err.splitlines()[-1] == apply


def test_a_plan_in_json_is_the_document_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(PlanRebalance=proposed(MADE)).install(monkeypatch)
    answer = omnirelay("mesh", "rebalance", "plan", *WHY, "--json", "--namespace", "orders", "--max-moves", 2)
    assert answer.out == f"{MADE.document}\n"
    assert script.given("PlanRebalance")["namespaces"] == ["orders"]
    assert script.given("PlanRebalance")["maxMoves"] == 2


def test_without_options_everything_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(PlanRebalance=proposed(MADE, replayed=True)).install(monkeypatch)
    answer = omnirelay("mesh", "rebalance", "plan", *WHY)
    assert script.given("PlanRebalance")["namespaces"] is script.given("PlanRebalance")["maxMoves"] is None
    assert answer.err.startswith("The same plan was made already, by ops at 2026-01-31T09:30:00Z (vacate).\n")


def test_a_plan_without_moves_is_nothing_to_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    Script(PlanRebalance=proposed(proposal())).install(monkeypatch)
    answer = omnirelay("mesh", "rebalance", "plan", *WHY)
    assert (answer.exit, answer.err) == (Exit.OK, "")
    assert answer.out == "Nothing to move: 100 shards, each where it belongs or has to stay.\n"


def test_where_nothing_can_be_placed_every_reason_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    violations = [
        {"code": "NO_PLACEMENT", "namespace": name, "shardId": None, "nodeId": None, "message": "no node is eligible"}
        for name in ("billing", "orders")
    ]
    impossible = {"__typename": "PlacementImpossible", "message": "nothing", "violations": violations}
    Script(PlanRebalance={"planRebalance": impossible}).install(monkeypatch)
    answer = omnirelay("mesh", "rebalance", "plan", *WHY)
    assert answer.exit == Exit.REFUSED
    assert answer.err.splitlines()[1:3] == ["  billing: no node is eligible", "  orders: no node is eligible"]
    assert answer.err.endswith("omnirelay mesh nodes list\n")


def test_a_plan_without_moves_is_not_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(RebalancePlan={"rebalancePlan": plan(proposal())}).install(monkeypatch)
    answer = omnirelay("mesh", "rebalance", "apply", proposal().id, *WHY)
    assert (answer.exit, script.asked) == (Exit.OK, ["RebalancePlan"])
    assert "has no moves" in answer.out
    document = omnirelay("mesh", "rebalance", "apply", proposal().id, *WHY, "--json").document
    assert (document["plan"]["id"], document["change"], document["revision"]) == (proposal().id, None, None)
    assert "proposal" not in document["plan"]


def test_a_stale_plan_lists_what_has_changed_by_whom_and_how_to_plan_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stale = {
        "__typename": "StalePlan",
        "message": "it does not fit any more",
        "plan": plan(MADE),
        "conflicts": [
            {
                "namespace": "orders",
                "shardId": "s001",
                "expectedVersion": "1",
                "actualVersion": version,
                "current": None,
                "lastChange": CHANGE,
                "changedFields": ["leaderId"],
            }
            for version in ("2", "0")
        ],
        "namespaces": ["orders"],
        "nodeIds": ["node-2", "node-3"],
        "namespaceConflicts": [
            {
                "name": "orders",
                "expectedVersion": "1",
                "actualVersion": "4",
                "changedFields": [
                    {"name": "strategy", "previous": "ring", "current": "rendezvous"},
                    {"name": "strategyParameters", "previous": {"virtualNodes": 100}, "current": {}},
                ],
                "lastChange": CHANGE,
            }
        ],
        "nodeConflicts": [
            {
                "nodeId": "node-2",
                "expectedVersion": "2",
                "actualVersion": "3",
                "changedFields": [{"name": "weight", "previous": 1, "current": 2}],
                "lastChange": CHANGE,
            },
            {
                "nodeId": "node-3",
                "expectedVersion": "2",
                "actualVersion": "0",
                "changedFields": [],
                "lastChange": None,
            },
        ],
    }
    Script(RebalancePlan={"rebalancePlan": plan(MADE)}, ApplyPlan={"applyPlan": stale}).install(monkeypatch)
    answer = omnirelay("mesh", "rebalance", "apply", MADE.id, *WHY)
    assert (answer.exit, answer.out) == (Exit.REFUSED, "")
    assert answer.err.splitlines() == [
        "Refused: it does not fit any more.",
        "  orders/s001 is at version 2, not 1 (leaderId): by ops at 2026-01-31T09:30:00Z (vacate), change 9",
        "  orders/s001 is gone: by ops at 2026-01-31T09:30:00Z (vacate), change 9",
        (
            "  namespace orders is at version 4, not 1: strategy ring -> rendezvous, strategyParameters "
            '{"virtualNodes": 100} -> {}, by ops at 2026-01-31T09:30:00Z (vacate), change 9'
        ),
        "  node node-2 is at version 3, not 2: weight 1 -> 2, by ops at 2026-01-31T09:30:00Z (vacate), change 9",
        "  node node-3 is gone",
        "Nothing was moved. Plan again, and apply what comes out:",
        "  omnirelay mesh rebalance plan --namespace orders --reason vacate --actor ops",
    ]


def test_a_plan_of_many_namespaces_is_made_again_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    many = plan(MADE, namespaces=[f"n{number}" for number in range(11)])
    stale = {"__typename": "StalePlan", "message": "no", "plan": many, "conflicts": []}
    stale |= {key: [] for key in ("namespaces", "nodeIds", "namespaceConflicts", "nodeConflicts")}
    Script(RebalancePlan={"rebalancePlan": many}, ApplyPlan={"applyPlan": stale}).install(monkeypatch)
    answer = omnirelay("mesh", "rebalance", "apply", MADE.id, *WHY)
    assert answer.err.splitlines()[-1] == "  omnirelay mesh rebalance plan --reason vacate --actor ops"
