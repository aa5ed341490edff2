"""Plans of namespaces that keep their owners: tables made by hand stay, and loads are balanced on request."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from persistence.model.records import MoveReason, Namespace, NodeStatus
from persistence.planning.explanation import explain
from persistence.planning.planner import propose
from persistence.planning.proposal import Proposal, read_proposal
from persistence.planning.scope import PlanScope
from persistence.planning.snapshot import PlacedShard, PlacementSnapshot
from tests.support.snapshots import STRATEGIES, namespace, node, nodes, shard, snapshot

SLOTS = 16_384


def sticky(**parameters: Any) -> Namespace:
    return namespace(strategy="sticky", parameters=parameters)


def slots(*owners: str, count: int = SLOTS) -> list[PlacedShard]:
    """Exact ranges, as the masters of a cluster of slots have them."""
    return [shard(f"slot-{at:05}", owners[at * len(owners) // count]) for at in range(count)]


def owned(there: PlacementSnapshot, plan: Proposal) -> Counter[str]:
    to = {move.shard_id: move.to_node_id for move in plan.moves}
    return Counter(to.get(one.shard_id, one.owner_node_id) for one in there.shards["billing"])


def test_nothing_of_an_imported_table_has_to_move() -> None:
    there = snapshot(nodes("m1", "m2", "m3"), slots("m1", "m2", "m3"), sticky())
    assert (propose(there, STRATEGIES).moves, propose(there, STRATEGIES).violations) == ((), ())
    found = explain(there, "billing", "slot-00042", STRATEGIES)
    assert found is not None
    assert found.summary == "billing/slot-00042 is on m1, where sticky places it."


def test_under_another_strategy_most_of_it_would() -> None:
    there = snapshot(nodes("m1", "m2", "m3"), slots("m1", "m2", "m3"))
    assert len(propose(there, STRATEGIES, max_moves=SLOTS).moves) > SLOTS / 2


def test_a_node_that_joins_is_given_nothing_until_loads_are_balanced() -> None:
    there = snapshot(nodes("m1", "m2", "m3", "m4"), slots("m1", "m2", "m3"), sticky())
    assert propose(there, STRATEGIES).moves == ()
    plan = propose(there, STRATEGIES, threshold=5, max_moves=SLOTS)
    assert len(plan.moves) == SLOTS // 4 * 95 // 100
    assert {(move.to_node_id, move.reason) for move in plan.moves} == {("m4", MoveReason.OWNER_OVERLOADED)}
    share = SLOTS / 4
    assert all(0.949 * share <= count <= 1.12 * share for count in owned(there, plan).values())
    assert read_proposal(plan.document) == plan
    assert plan.threshold == 5
    even = propose(there, STRATEGIES, threshold=0, max_moves=SLOTS)
    assert set(owned(there, even).values()) == {SLOTS // 4}


def test_loads_within_the_threshold_stay() -> None:
    there = snapshot(nodes("m1", "m2"), slots("m1", "m1", "m1", "m1", "m1", "m2", "m2", "m2", "m2"), sticky())
    assert propose(there, STRATEGIES, threshold=12).moves == ()
    assert propose(there, STRATEGIES, threshold=10).moves != ()


def test_only_orphans_of_a_node_that_left_are_placed_each_by_its_own_rank() -> None:
    there = snapshot([*nodes("m1", "m2"), node("m3", NodeStatus.DOWN)], slots("m1", "m2", "m3", count=300), sticky())
    plan = propose(there, STRATEGIES)
    assert {(move.from_node_id, move.reason) for move in plan.moves} == {("m3", MoveReason.OWNER_DOWN)}
    rendezvous = propose(snapshot(there.nodes, there.shards), STRATEGIES)
    expected = [move for move in rendezvous.moves if move.reason is MoveReason.OWNER_DOWN]
    assert list(plan.moves) == expected
    assert len(plan.moves) == 100


def test_a_bound_sends_away_what_is_too_much_and_no_more() -> None:
    there = snapshot(nodes("m1", "m2", "m3"), slots("m1", "m1", "m2", count=300), sticky(maxShardsPerNode=150))
    plan = propose(there, STRATEGIES)
    assert Counter((move.from_node_id, move.reason) for move in plan.moves) == {("m1", MoveReason.OWNER_OVERLOADED): 50}
    assert max(owned(there, plan).values()) == 150


def test_pins_cordons_and_groups_are_kept() -> None:
    placed = [
        *(shard(f"p{number}", "m1", pinned=True) for number in range(20)),
        *(shard(f"c{number}", "m2") for number in range(10)),
        shard("g1", "m1", group="g"),
        shard("g2", "m1", group="g"),
    ]
    there = snapshot([node("m1"), node("m2", NodeStatus.CORDONED), node("m3")], placed, sticky())
    plan = propose(there, STRATEGIES)
    assert [(move.shard_id, move.to_node_id) for move in plan.moves] == [("g2", "m3")]
    balanced = propose(there, STRATEGIES, threshold=0)
    assert all(move.shard_id in ("g1", "g2") for move in balanced.moves)


def test_a_strategy_that_is_changed_to_sticky_moves_nothing() -> None:
    placed = [shard(f"s{number}", random.Random(number).choice("ab"), strategy="ring") for number in range(50)]
    assert propose(snapshot(nodes("a", "b"), placed, sticky()), STRATEGIES).moves == ()


def test_vacating_narrows_a_balance_too() -> None:
    draining = [node("m1", NodeStatus.DRAINING), node("m2"), node("m3")]
    there = snapshot(draining, slots("m1", "m2", "m2", "m3", count=400), sticky())
    plan = propose(there, STRATEGIES, threshold=0, scope=PlanScope(("m1",)))
    assert owned(there, plan) == {"m2": 200, "m3": 200}
    assert len(plan.moves) == 100


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_applied_leaves_nothing_to_plan(seed: int) -> None:
    drawn = random.Random(seed)
    there = [node(f"n{number}", weight=drawn.choice([1, 2, 5])) for number in range(5)]
    parameters: dict[str, Any] = drawn.choice([{}, {"maxLoadPercent": 110}, {"maxLoadPercent": 120}])
    threshold = drawn.choice([None, 0, 20])
    placed = [
        shard(
            f"s{number:03}",
            drawn.choice(["n0", "n0", "n1", "gone"]),
            group=drawn.choice([None, None, None, f"g{number // 10}"]),
            pinned=drawn.random() < 0.1,
        )
        for number in range(150)
    ]
    before = snapshot(there, placed, sticky(**parameters))
    plan = propose(before, STRATEGIES, threshold=threshold)
    to = {move.shard_id: move.to_node_id for move in plan.moves}
    after = [one._replace(owner_node_id=to.get(one.shard_id, one.owner_node_id)) for one in placed]
    assert propose(snapshot(there, after, sticky(**parameters)), STRATEGIES, threshold=threshold).moves == ()


def test_bounds_of_shards_all_of_which_stay() -> None:
    there = [node("m1", NodeStatus.CORDONED), node("m2")]
    placed = [shard("s1", "m1"), shard("s2", "m2", pinned=True)]
    plan = propose(snapshot(there, placed, sticky(maxShardsPerNode=1)), STRATEGIES)
    assert (plan.moves, plan.violations) == ((), ())
