"""Namespaces that cannot be placed: what has no working owner is moved where there is room, all else stays."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import NoReturn

import pytest

from persistence.model.records import MoveReason, Namespace, NodeStatus
from persistence.planning import stopgap as module
from persistence.planning.explanation import explain
from persistence.planning.planner import PlacementImpossible, propose
from persistence.planning.proposal import LeaderChange
from persistence.planning.scope import PlanScope
from strategies.registry import Registry
from strategies.rendezvous import Rendezvous
from tests.support.snapshots import STRATEGIES, namespace, node, nodes, shard, shards, snapshot

DOWN = node("down", NodeStatus.DOWN)


def test_what_fits_is_vacated_and_the_rest_is_listed() -> None:
    placed = [*shards(5, "down"), *(shard(f"t{number}", "a") for number in range(9))]
    full = namespace(parameters={"maxShardsPerNode": 6})
    plan = propose(snapshot([DOWN, *nodes("a", "b")], placed, full), STRATEGIES)
    assert Counter((move.from_node_id, move.to_node_id, move.reason) for move in plan.moves) == {
        ("down", "b", MoveReason.OWNER_DOWN): 5
    }
    (violation,) = plan.violations
    assert (violation.code, violation.shard_id) == ("NO_PLACEMENT", None)
    assert violation.message == (
        "14 shards do not fit: with maxShardsPerNode 6 there is room for 12 on 2 nodes; until then only nodes that are "
        "to be vacated are: 5 of their shards can be moved"
    )


def test_shards_without_room_are_named() -> None:
    placed = [*shards(9, "down"), *(shard(f"t{number}", "a") for number in range(4))]
    full = namespace(parameters={"maxShardsPerNode": 6})
    plan = propose(snapshot([DOWN, *nodes("a", "b")], placed, full), STRATEGIES)
    assert Counter(move.to_node_id for move in plan.moves) == {"a": 2, "b": 6}
    whole, one = plan.violations
    assert whole.message.endswith("8 of their shards can be moved, 1 more find no room")
    left = {placed.shard_id for placed in placed[:9]} - {move.shard_id for move in plan.moves}
    assert (one.code, one.node_id, {one.shard_id}) == ("NO_PLACEMENT", "down", left)
    assert one.message == f"billing/{one.shard_id} stays on down, which is DOWN: no other node has room for it"


def test_the_list_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LISTED", 2)
    full = namespace(parameters={"maxShardsPerNode": 1})
    plan = propose(snapshot([DOWN, node("a")], shards(7, "down"), full), STRATEGIES)
    assert len(plan.moves) == 1
    assert [one.shard_id is None for one in plan.violations] == [True, False, False, True]
    assert plan.violations[-1].message == "4 more shards stay where they are: no other node has room for them"


def test_too_few_nodes_for_all_copies_are_enough_for_an_owner() -> None:
    """Three replicas on three nodes, one of which is down: it must not keep what it owns."""
    there = snapshot([DOWN, *nodes("a", "b")], shards(8, "down"), namespace(parameters={"replicas": 3}))
    plan = propose(there, STRATEGIES)
    alone = propose(snapshot([DOWN, *nodes("a", "b")], shards(8, "down")), STRATEGIES)
    assert plan.moves == alone.moves
    assert plan.violations[0].message.startswith("3 replicas need 3 nodes")


def test_a_ring_that_cannot_be_built_is_vacated_by_rendezvous() -> None:
    there = [DOWN, node("a", weight=1_000_000), node("b", weight=1_000_000)]
    placed = [*shards(8, "down"), shard("t1", "a"), shard("t2", "b")]
    plan = propose(snapshot(there, placed, namespace(strategy="ring")), STRATEGIES)
    rendezvous = propose(snapshot(there, placed), STRATEGIES)
    expected = [move for move in rendezvous.moves if move.from_node_id == "down"]
    assert list(plan.moves) == expected
    assert len(expected) == 8


@pytest.mark.parametrize(
    "space",
    [
        namespace(strategy="gone"),
        namespace(algorithm_version=9),
        namespace(parameters={"selector": "disk=ssd"}),
        namespace(strategy="ring", parameters={"virtualNodes": 0}),
    ],
    ids=["unknown", "another version", "no node", "parameters"],
)
def test_what_this_server_cannot_judge_or_no_node_may_own_is_left_alone(space: Namespace) -> None:
    with pytest.raises(PlacementImpossible):
        propose(snapshot([DOWN, node("a")], shards(3, "down"), space), STRATEGIES)


def test_nothing_to_vacate_is_no_placement_at_all() -> None:
    full = namespace(parameters={"maxShardsPerNode": 1})
    with pytest.raises(PlacementImpossible, match="3 shards do not fit"):
        propose(snapshot(nodes("a"), shards(3, "a"), full), STRATEGIES)


def test_pinned_shards_groups_and_what_a_plan_is_narrowed_to_are_kept() -> None:
    placed = [
        shard("pinned", "down", pinned=True),
        shard("g1", "down", group="g"),
        shard("g2", "a", group="g"),
        shard("other", "leaving"),
        *(shard(f"t{number}", "a") for number in range(9)),
    ]
    there = [DOWN, node("leaving", NodeStatus.DRAINING), *nodes("a", "b")]
    full = namespace(parameters={"maxShardsPerNode": 5})
    plan = propose(snapshot(there, placed, full), STRATEGIES)
    assert [(move.shard_id, move.to_node_id) for move in plan.moves] == [("g1", "b"), ("other", "b")]
    assert [one.code for one in plan.violations] == ["NO_PLACEMENT", "PINNED_TO_UNAVAILABLE"]
    narrowed = propose(snapshot(there, placed, full), STRATEGIES, scope=PlanScope(("leaving",)))
    assert [move.shard_id for move in narrowed.moves] == ["other"]
    for_reason = PlanScope((), (MoveReason.OWNER_DOWN,))
    assert [move.shard_id for move in propose(snapshot(there, placed, full), STRATEGIES, scope=for_reason).moves] == [
        "g1"
    ]


def test_a_group_is_given_no_full_node() -> None:
    placed = [
        shard("g1", "down", group="g"),
        shard("g2", "b", group="g"),
        shard("s1", "down"),
        *(shard(f"t{number}", "a") for number in range(4)),
    ]
    plan = propose(
        snapshot([DOWN, *nodes("a", "b")], placed, namespace(parameters={"maxShardsPerNode": 3})), STRATEGIES
    )
    assert [(move.shard_id, move.to_node_id) for move in plan.moves] == [("s1", "b")]
    assert [one.shard_id for one in plan.violations] == [None, "g1"]


def test_a_plug_in_that_fails_is_vacated_by_rendezvous() -> None:
    class Failing(Rendezvous):
        name = "failing"  # type: ignore[misc]

        def prepare(self, *_: object, **__: object) -> NoReturn:
            raise ValueError("no")

    there = [DOWN, *nodes("a", "b")]
    registry = Registry([Failing()])
    space = replace(namespace(), strategy="failing")
    plan = propose(snapshot(there, shards(6, "down"), space), registry)
    assert plan.moves == propose(snapshot(there, shards(6, "down")), STRATEGIES).moves
    assert "strategy failing raised ValueError in prepare: no" in plan.violations[0].message


def test_explanations_say_the_same() -> None:
    placed = [*shards(5, "down"), *(shard(f"t{number}", "a") for number in range(9))]
    there = snapshot([DOWN, *nodes("a", "b")], placed, namespace(parameters={"maxShardsPerNode": 6}))
    moved = explain(there, "billing", "s0000", STRATEGIES)
    assert moved is not None
    assert (moved.target_node_id, moved.move) == ("b", propose(there, STRATEGIES).moves[0])
    assert moved.summary == "billing/s0000 is on down, rendezvous places it on b. The next plan moves it: down is DOWN."
    kept = explain(there, "billing", "t0", STRATEGIES)
    assert kept is not None
    assert (kept.target_node_id, kept.move, kept.stays) == (None, None, None)
    assert kept.summary.startswith("billing/t0 is on a. It cannot be placed: 14 shards do not fit")


def test_leaders_do_not_wait_for_a_placement_either() -> None:
    placed = [
        shard("s1", "down", leader_id="down"),
        shard("s2", "a", leader_id="down"),
        shard("s3", "a", leader_id="a"),
    ]
    there = [DOWN, *nodes("a", "b")]
    plan = propose(snapshot(there, placed, namespace(parameters={"replicas": 3})), STRATEGIES)
    assert {(move.shard_id, move.changes_owner) for move in plan.moves} == {("s1", True), ("s2", False)}
    assert all(move.leader is not None and move.leader.to_node_id == move.to_node_id for move in plan.moves)
    led = propose(snapshot(there, placed[1:], namespace(parameters={"replicas": 3})), STRATEGIES)
    assert [move.shard_id for move in led.moves] == ["s2"]


def test_what_only_has_an_unfit_leader_is_led_by_its_owner() -> None:
    """Whether the namespace cannot be placed for want of room, or of any node that may own its shards."""
    led = shards(3, "a", leader_id="down")
    full = namespace(parameters={"maxShardsPerNode": 1})
    nowhere = namespace(parameters={"selector": "disk=ssd"})
    for space in (full, nowhere):
        plan = propose(snapshot([DOWN, node("a")], led, space), STRATEGIES)
        assert {(move.reason, move.leader) for move in plan.moves} == {
            (MoveReason.LEADER_DOWN, LeaderChange("down", "a"))
        }
        assert len(plan.moves) == 3
        (violation,) = plan.violations
        assert violation.message.endswith("; until then only the leaders of 3 shards are replaced")


def test_a_leader_is_replaced_where_no_node_is_active() -> None:
    led = shard("s1", "cordoned", leader_id="down")
    there = snapshot([DOWN, node("cordoned", NodeStatus.CORDONED)], [led])
    plan = propose(there, STRATEGIES)
    assert [move.leader for move in plan.moves] == [LeaderChange("down", "cordoned")]
    found = explain(there, "billing", "s1", STRATEGIES)
    assert found is not None
    assert [found.move] == list(plan.moves)
    assert found.summary == (
        "billing/s1 is on cordoned. It cannot be placed: there are no nodes; until then only the leader of 1 shard is "
        "replaced. It is led by down. The next plan has cordoned lead it: down is DOWN."
    )


def test_leaders_are_kept_where_no_node_may_own_the_shards() -> None:
    """A selector that matches nothing is rather a mistake than a wish for shards without leaders."""
    led = shard("s1", "a", leader_id="b")
    with pytest.raises(PlacementImpossible):
        propose(snapshot(nodes("a", "b"), [led], namespace(parameters={"selector": "disk=ssd"})), STRATEGIES)


def test_vacated_shards_and_replaced_leaders_are_both_counted() -> None:
    placed = [*shards(2, "down"), *(shard(f"t{number}", "a", leader_id="down") for number in range(7))]
    full = namespace(parameters={"maxShardsPerNode": 4})
    plan = propose(snapshot([DOWN, *nodes("a", "b")], placed, full), STRATEGIES)
    assert plan.violations[0].message.endswith(
        "until then only nodes that are to be vacated are: 2 of their shards can be moved; "
        "the leaders of 7 others are replaced"
    )
