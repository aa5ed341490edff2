"""Why a shard is where it is, by the planner's own path."""

from __future__ import annotations

from dataclasses import replace

import pytest

from persistence.model.outcomes import BrokenRule
from persistence.model.policy import PolicyRule
from persistence.model.records import MoveReason, NodeStatus
from persistence.planning.explanation import Explanation, explain
from persistence.planning.planner import propose
from persistence.planning.snapshot import PlacementSnapshot
from tests.support.snapshots import STRATEGIES, namespace, node, nodes, shard, shards, snapshot


def explained(there: PlacementSnapshot, shard_id: str = "s1") -> Explanation:
    found = explain(there, "billing", shard_id, STRATEGIES)
    assert found is not None
    return found


def test_what_is_not_there_cannot_be_explained() -> None:
    there = snapshot(nodes("node-a"), shards(1))
    assert explain(there, "search", "s0000", STRATEGIES) is None
    assert explain(there, "billing", "s1", STRATEGIES) is None


def test_an_explanation_agrees_with_the_plan() -> None:
    there = snapshot(nodes("node-a", "node-b", "node-c"), shards(40))
    moves = {move.shard_id: move for move in propose(there, STRATEGIES).moves}
    for one in there.shards["billing"]:
        found = explained(there, one.shard_id)
        assert found.move == moves.get(one.shard_id)
        assert found.target_node_id == found.candidates[0].node_id
        assert found.replica_node_ids == (found.target_node_id,)


def test_every_node_is_a_candidate_or_has_an_obstacle() -> None:
    there = [
        node("a", labels={"disk": "ssd"}, weight=3, region="eu", zone="eu-1"),
        node("b", labels={"disk": "ssd"}),
        node("cordoned", NodeStatus.CORDONED, labels={"disk": "ssd"}),
        node("down", NodeStatus.DOWN),
        node("hdd"),
    ]
    found = explained(snapshot(there, [shard("s1", "a")], namespace(parameters={"selector": "disk=ssd"})))
    ranked, others = found.candidates[:2], found.candidates[2:]
    assert {one.node_id for one in ranked} == {"a", "b"}
    assert [(one.rank, one.obstacle) for one in ranked] == [(1, None), (2, None)]
    assert [(one.node_id, one.rank, one.obstacle) for one in others] == [
        ("cordoned", None, "it is CORDONED"),
        ("down", None, "it is DOWN"),
        ("hdd", None, "the namespace's selector does not match it"),
    ]
    a = next(one for one in ranked if one.node_id == "a")
    assert (a.weight, a.region, a.zone, a.status) == (3, "eu", "eu-1", NodeStatus.ACTIVE)


def test_replicas_begin_with_the_owner_to_be() -> None:
    there = snapshot(nodes("a", "b", "c"), [shard("s1", "a")], namespace(parameters={"replicas": 2}))
    found = explained(there)
    assert found.replica_node_ids[0] == found.target_node_id
    assert len(set(found.replica_node_ids)) == 2


def test_a_shard_that_is_where_it_belongs_says_so() -> None:
    found = explained(snapshot(nodes("a"), [shard("s1", "a")]))
    assert (found.target_node_id, found.move, found.stays) == ("a", None, None)
    assert found.summary == "billing/s1 is on a, where rendezvous places it."


BECAUSE = {
    MoveReason.OWNER_REMOVED: "old is not registered",
    MoveReason.OWNER_DOWN: "old is DOWN",
    MoveReason.OWNER_DRAINING: "old is DRAINING",
    MoveReason.OWNER_INELIGIBLE: "the namespace's selector does not match old",
}


@pytest.mark.parametrize(
    ("old", "reason"),
    [
        ([], MoveReason.OWNER_REMOVED),
        ([node("old", NodeStatus.DOWN)], MoveReason.OWNER_DOWN),
        ([node("old", NodeStatus.DRAINING)], MoveReason.OWNER_DRAINING),
        ([node("old", labels={"off": "1"})], MoveReason.OWNER_INELIGIBLE),
    ],
)
def test_a_move_is_summed_up_with_its_reason(old: list[object], reason: MoveReason) -> None:
    there = snapshot([node("a"), *old], [shard("s1", "old")], namespace(parameters={"selector": "!off"}))  # type: ignore[list-item]  # nodes
    found = explained(there)
    assert found.move is not None
    assert found.move.reason is reason
    assert found.summary == (
        f"billing/s1 is on old, rendezvous places it on a. The next plan moves it: {BECAUSE[reason]}."
    )


@pytest.mark.parametrize(
    ("pinned", "status", "stays", "because"),
    [
        (True, NodeStatus.DRAINING, "PINNED", "it is pinned"),
        (False, NodeStatus.CORDONED, "CORDONED", "old is cordoned"),
    ],
)
def test_what_keeps_a_shard_is_told(*, pinned: bool, status: NodeStatus, stays: str, because: str) -> None:
    found = explained(snapshot([node("a"), node("old", status)], [shard("s1", "old", pinned=pinned)]))
    assert (found.target_node_id, found.move, found.stays) == ("a", None, stays)
    assert found.summary == f"billing/s1 is on old, rendezvous places it on a. It stays, because {because}."
    assert bool(found.violations) == pinned


@pytest.mark.parametrize("parameters", [{"maxShardsPerNode": 2}, {"maxLoadPercent": 100}])
def test_a_shard_that_stays_is_wanted_where_its_strategy_ranks_first_whatever_is_full(
    parameters: dict[str, int],
) -> None:
    placed = [shard(f"s{number}", "old", pinned=number < 6) for number in range(8)]
    there = snapshot([node("a"), node("b"), node("old", NodeStatus.CORDONED)], placed, namespace(parameters=parameters))
    for one in placed:
        found = explained(there, one.shard_id)
        assert (found.target_node_id, found.move) == (found.candidates[0].node_id, None)
        assert found.stays == ("PINNED" if one.pinned else "CORDONED")


def test_the_violations_told_are_those_of_the_shard() -> None:
    there = snapshot([node("a"), node("old", NodeStatus.DOWN)], [shard("s1", "old", pinned=True), shard("s2", "old")])
    assert [one.shard_id for one in explained(there).violations] == ["s1"]
    assert explained(there, "s2").violations == ()


def test_a_shard_that_cannot_be_placed_says_why() -> None:
    found = explained(snapshot(nodes("a"), [shard("s1", "a")], namespace(parameters={"selector": "disk=ssd"})))
    assert (found.target_node_id, found.move, found.replica_node_ids) == (None, None, ())
    assert found.summary.startswith("billing/s1 is on a. It cannot be placed: ")
    assert [one.obstacle for one in found.candidates] == ["the namespace cannot be placed"]


def test_a_shard_that_the_next_plan_has_no_room_for_is_told_of_a_later_one() -> None:
    there = snapshot(nodes("node-a"), shards(5, "gone"))
    moved = [move.shard_id for move in propose(there, STRATEGIES, max_moves=3).moves]
    for one in there.shards["billing"]:
        found = explain(there, "billing", one.shard_id, STRATEGIES, max_moves=3)
        assert found is not None
        assert (found.move is not None, found.stays) == (
            (True, None) if one.shard_id in moved else (False, "LATER_PLAN")
        )
        if one.shard_id not in moved:
            assert found.summary.endswith("A later plan moves it: the next one has 3 moves, which come first.")


def test_the_wave_of_a_move_is_told() -> None:
    there = snapshot([node("node-a"), node("old", NodeStatus.DRAINING)], shards(25, "old"))
    found = explained(there, "s0007")
    assert (found.number, found.planned, found.wave, found.waves) == (8, 25, 3, 9)
    assert found.summary.endswith("It is move 8 of 25, in wave 3 of 9.")


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        (
            BrokenRule(PolicyRule.FREEZE, "billing", None, "a change", "changes from 2026-03-02T00:00:00Z on", "Wait"),
            "It waits: billing is frozen, which allows changes from 2026-03-02T00:00:00Z on.",
        ),
        (
            BrokenRule(PolicyRule.WINDOW_BUDGET, "billing", None, "6 moves in 60 seconds", "5 moves in 60 seconds", ""),
            "It waits: billing allows 5 moves in 60 seconds, and it would be 6 moves in 60 seconds.",
        ),
    ],
)
def test_what_a_move_waits_for_is_told(broken: BrokenRule, text: str) -> None:
    found = explained(snapshot(nodes("a"), [shard("s1", "gone")]))
    assert replace(found, waits=(broken,)).summary.endswith(f"gone is not registered. {text}")
