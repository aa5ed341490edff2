"""nodes: what is sent, and what is printed of the answers."""

from __future__ import annotations

from typing import Any

import pytest

from graph.cli.errors import Exit, Failure
from graph.client.records import Json
from tests.support.command_line import omnirelay
from tests.support.proposals import move, proposal
from tests.support.scripted_api import Script

WHY = ("--reason", "more room", "--actor", "ops")
CHANGE = {"id": "9", "actor": "ops", "reason": "more room", "changeTicket": None, "committedAt": "2026-01-31T09:30:00Z"}


def node(**fields: Any) -> Json:
    return {
        "nodeId": "node-1",
        "region": "eu",
        "zone": "a",
        "labels": {"disk": "ssd", "rack": "4"},
        "weight": 1,
        "status": "ACTIVE",
        "changeTicket": None,
        "version": "3",
        "shardCount": 700,
        "leaderCount": 0,
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-02T00:00:00Z",
    } | fields


def changed(**fields: Any) -> Json:
    return {"__typename": "NodeChanged", "node": node(**fields), "change": CHANGE, "replayed": False}


def preflight(count: int, *, more: bool = False, blockers: int = 0) -> Json:
    moves = [
        {
            "namespace": "orders",
            "shardId": f"s{number:03}",
            "version": "1",
            "fromNodeId": "node-1",
            "toNodeId": "node-2",
            "reason": "OWNER_DRAINING",
            "leader": None,
        }
        for number in range(min(count, 500))
    ]
    pinned = {"code": "PINNED_TO_UNAVAILABLE", "namespace": "orders", "nodeId": "node-1"}
    return {
        "nodeId": "node-1",
        "shardCount": count + blockers,
        "leaderCount": 0,
        "moveCount": count,
        "remainingMoves": 0,
        "moves": {"nodes": moves, "pageInfo": {"hasNextPage": more, "endCursor": None}},
        "blockers": [
            pinned | {"shardId": f"p{number}", "message": f"orders/p{number} is pinned"} for number in range(blockers)
        ],
    }


def test_a_label_is_set_beside_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(NodeDetails={"node": node()}, UpdateNode={"updateNode": changed()}).install(monkeypatch)
    omnirelay(
        *("mesh", "nodes", "set", "node-1", "--expected-version", 3, *WHY),
        *("--label", "disk=nvme", "--label", "a=b", "--no-label", "rack"),
    )
    assert script.given("UpdateNode")["labels"] == {"disk": "nvme", "a": "b"}


def test_without_labels_the_node_is_not_read_and_they_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(UpdateNode={"updateNode": changed()}).install(monkeypatch)
    omnirelay("mesh", "nodes", "set", "node-1", "--expected-version", 3, *WHY, "--no-zone", "--status", "down")
    assert script.given("UpdateNode") == {
        "nodeId": "node-1",
        "expectedVersion": "3",
        "change": {"reason": "more room", "changeTicket": None, "actor": "ops"},
        "zone": None,
        "status": "DOWN",
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "Nothing to change"),
        (["--zone", "a", "--no-zone"], "not both"),
        (["--label", "a=1", "--no-label", "a"], "not both"),
        (["--label", "a=1", "--label", "a=2"], "given twice"),
        (["--weight", "0"], "must be a whole number from 1"),
        (["--status", "removed"], "'removed' is not one of"),
    ],
)
def test_input_that_cannot_be_is_refused_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, options: list[str], words: str
) -> None:
    script = Script().install(monkeypatch)
    answer = omnirelay("mesh", "nodes", "set", "node-1", "--expected-version", 3, *WHY, *options)
    assert (answer.exit, script.asked) == (Exit.INVALID, [])
    assert words in answer.err


def test_a_drain_of_many_shards_is_summed_up_by_target_with_every_move_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated = proposal(*(move(number) for number in range(700)), shards=2_000)
    script = Script(
        DrainPreflight={"drainPreflight": preflight(700, more=True)},
        SimulateRebalance={"simulateRebalance": {"document": simulated.document}},
    ).install(monkeypatch)
    answer = omnirelay("mesh", "nodes", "drain", "node-1", "--dry-run", *WHY)
    assert answer.exit == Exit.OK
    assert answer.out.splitlines() == [
        "TO      NAMESPACE  SHARDS",
        "node-2  orders     700",
        "",
        "node-1 owns 700 shards: 700 to be moved away.",
    ]
    assert script.given("SimulateRebalance") == {
        "nodes": [{"nodeId": "node-1", "status": "DRAINING"}],
        "vacate": ["node-1"],
    }


def test_a_drain_in_json_has_every_move(monkeypatch: pytest.MonkeyPatch) -> None:
    Script(
        DrainPreflight={"drainPreflight": preflight(501, more=True)},
        SimulateRebalance={
            "simulateRebalance": {"document": proposal(*(move(number) for number in range(501))).document}
        },
    ).install(monkeypatch)
    document = omnirelay("mesh", "nodes", "drain", "node-1", "--dry-run", "--json", *WHY).document
    assert (document["node"], document["change"]) == (None, None)
    assert [one["shardId"] for one in document["preflight"]["moves"]][-1] == "s500"


def test_a_dry_run_that_finds_something_in_the_way_answers_no(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(DrainPreflight={"drainPreflight": preflight(2, blockers=1)}).install(monkeypatch)
    answer = omnirelay("mesh", "nodes", "drain", "node-1", "--dry-run", *WHY)
    assert (answer.exit, script.asked) == (Exit.NO, ["DrainPreflight"])
    assert "orders/p0 is pinned" in answer.out
    assert answer.out.endswith("node-1 owns 3 shards: 2 to be moved away; 1 problem in the way.\n")


def test_a_blocked_drain_lists_what_blocks_it_and_how_to_insist(monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = {"__typename": "DrainBlocked", "message": "it cannot be vacated", "preflight": preflight(0, blockers=25)}
    script = Script(NodeDetails={"node": node()}, DrainNode={"drainNode": blocked}).install(monkeypatch)
    answer = omnirelay("mesh", "nodes", "drain", "node-1", *WHY)
    lines = answer.err.splitlines()
    assert (answer.exit, answer.out) == (Exit.REFUSED, "")
    assert lines[:2] == ["Refused: it cannot be vacated.", "  orders/p0 is pinned"]
    assert lines[21] == "  and 5 more"
    assert lines[-1] == "  omnirelay mesh nodes drain node-1 --accept-blockers --reason 'more room' --actor ops"
    assert script.given("DrainNode")["expectedVersion"] == "3"
    assert script.given("DrainNode")["acceptBlockers"] is False


def test_a_drain_at_a_given_version_does_not_read_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    drained = {"__typename": "NodeDrained", "preflight": preflight(1), "node": node(status="DRAINING")}
    script = Script(DrainNode={"drainNode": drained | {"change": CHANGE, "replayed": False}}).install(monkeypatch)
    answer = omnirelay("mesh", "nodes", "drain", "node-1", "--expected-version", 2, "--accept-blockers", *WHY)
    assert (answer.exit, script.asked) == (Exit.OK, ["DrainNode"])
    assert script.given("DrainNode")["acceptBlockers"] is True
    assert answer.err.endswith("  omnirelay mesh rebalance plan --vacate node-1 --reason 'more room' --actor ops\n")


def test_a_drain_is_done_although_not_all_that_would_move_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    drained = {"__typename": "NodeDrained", "preflight": preflight(700, more=True), "node": node(status="DRAINING")}
    unreadable = Failure(Exit.UNAVAILABLE, "http://mesh did not answer.")
    script = Script(
        DrainNode={"drainNode": drained | {"change": CHANGE, "replayed": False}}, SimulateRebalance=unreadable
    ).install(monkeypatch)
    command = ("mesh", "nodes", "drain", "node-1", "--expected-version", 3, *WHY)
    answer = omnirelay(*command)
    assert (answer.exit, script.asked) == (Exit.OK, ["DrainNode", "SimulateRebalance"])
    assert "node-1 owns 700 shards: 700 to be moved away.\n" in answer.out
    assert answer.err.endswith(
        "node-1 is DRAINING. Not all of what would move could be read: http://mesh did not answer.\n"
    )
    answer = omnirelay(*command, "--json")
    assert (answer.exit, answer.document["node"]["status"]) == (Exit.OK, "DRAINING")
    assert len(answer.document["preflight"]["moves"]) == 500


def test_a_node_in_use_says_how_to_vacate_it(monkeypatch: pytest.MonkeyPatch) -> None:
    in_use = {"__typename": "NodeInUse", "message": "node node-1 still owns 700 shards", "node": node()}
    Script(NodeDetails={"node": node()}, UpdateNode={"updateNode": in_use}).install(monkeypatch)
    answer = omnirelay("mesh", "nodes", "remove", "node-1", *WHY)
    assert answer.exit == Exit.REFUSED
    assert "  omnirelay mesh nodes evacuate node-1 --reason 'more room' --actor ops\n" in answer.err


def test_a_node_that_is_there_already_says_how_to_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"__typename": "NodeVersionConflict", "message": "it is there", "current": node(), "lastChange": CHANGE}
    Script(RegisterNode={"registerNode": there}).install(monkeypatch)
    answer = omnirelay("mesh", "nodes", "register", "node-1", "--label", "a=b", "--weight", 2, *WHY)
    assert answer.exit == Exit.REFUSED
    assert "ops at 2026-01-31T09:30:00Z (more room)" in answer.err
    assert "  omnirelay mesh nodes set node-1 --expected-version 3 --label a=b --weight 2 --reason 'more" in answer.err
