"""Plans that are narrowed: what they move, what they leave, and that they are what the pre-flight of a drain counts."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from persistence.errors import InvalidArgument
from persistence.model.fields import Problems
from persistence.model.outcomes import NotFound
from persistence.model.records import MoveReason, NodeStatus
from persistence.planning.planner import PlacementImpossible, propose
from persistence.planning.proposal import read_proposal
from persistence.planning.scope import EVERYTHING, NOT_NARROWED, Narrowing, PlanScope, check_vacated
from persistence.planning.snapshot import PlacedShard, PlacementSnapshot
from persistence.planning.what_if import SupposedNode, WhatIf, preflight, suppose, vacated
from tests.support.snapshots import STRATEGIES, namespace, node, nodes, shard, shards, snapshot

IDS = [f"n{number}" for number in range(6)]


def drained(there: PlacementSnapshot, *node_ids: str) -> PlacementSnapshot:
    return suppose(there, WhatIf([SupposedNode(one, status=NodeStatus.DRAINING) for one in node_ids]), STRATEGIES)


def scattered(seed: int, parameters: Mapping[str, Any] | None = None, *, grouped: bool = False) -> PlacementSnapshot:
    """Shards that are mostly not where their strategy places them, some of them pinned."""
    drawn = random.Random(seed)
    count = drawn.randrange(20, 120)
    placed = [
        shard(
            f"s{number:03}",
            drawn.choice(IDS),
            pinned=drawn.random() < 0.1,
            capacity_hint=drawn.choice([0.5, 1.0, 3.0]),
            group=f"g{number // 3}" if grouped and number < count // 2 else None,
        )
        for number in range(count)
    ]
    there = [node(one, weight=drawn.choice([1, 2]), zone=f"z{number % 3}") for number, one in enumerate(IDS)]
    return snapshot(there, placed, namespace(parameters=parameters))


def test_a_narrowed_plan_moves_shards_of_those_nodes_and_no_others() -> None:
    there = drained(scattered(1), "n0", "n4")
    everything, narrowed = propose(there, STRATEGIES), propose(there, STRATEGIES, scope=PlanScope(("n0",)))
    assert {move.from_node_id for move in narrowed.moves} == {"n0"}
    assert set(narrowed.moves) < set(everything.moves)
    assert len(narrowed.moves) == sum(move.from_node_id == "n0" for move in everything.moves)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(
    "parameters",
    [{}, {"maxLoadPercent": 110}, {"maxShardsPerNode": 30}, {"maxLoadPercent": 120, "loadBy": "capacity"}],
)
def test_a_plan_narrowed_to_drained_nodes_moves_what_their_pre_flight_counts(
    parameters: Mapping[str, Any], *, grouped: bool
) -> None:
    for seed in range(12):
        there = scattered(seed, parameters, grouped=grouped)
        for leaving in (["n1"], ["n1", "n5"]):
            counted = preflight(there, leaving, STRATEGIES)
            plan = propose(drained(there, *leaving), STRATEGIES, scope=PlanScope(tuple(leaving)))
            assert plan.moves
            assert (counted.moves, counted.remaining_moves) == (plan.moves, plan.remaining_moves)
            assert {move.from_node_id for move in plan.moves} <= set(leaving)
            assert not {move.to_node_id for move in plan.moves} & set(leaving)
            # A bound that is exceeded on the way keeps no shard where it is.
            assert counted.blockers == tuple(one for one in plan.violations if one.code != "PEAK_EXCEEDED")


def test_shards_that_stay_take_their_room() -> None:
    """b is full already: without the narrowing its shards would move, and leave room."""
    placed = [*shards(6, "a"), *(shard(f"t{number}", "b") for number in range(10)), shard("u", "c")]
    bounded = namespace(parameters={"maxShardsPerNode": 10})
    there = drained(snapshot(nodes("a", "b", "c"), placed, bounded), "a")
    plan = propose(there, STRATEGIES, scope=PlanScope(("a",)))
    assert Counter((move.from_node_id, move.to_node_id) for move in plan.moves) == {("a", "c"): 6}
    assert plan.violations == ()


def test_what_stays_outside_is_kept_apart_from() -> None:
    """Groups: the shard that leaves goes to the one node without another of its group."""
    placed = [shard("s1", "a", group="g"), shard("s2", "b", group="g"), shard("s3", "c", group="g")]
    there = drained(snapshot(nodes("a", "b", "c", "d"), placed), "a")
    plan = propose(there, STRATEGIES, scope=PlanScope(("a",)))
    assert [(move.shard_id, move.to_node_id) for move in plan.moves] == [("s1", "d")]


def test_a_pair_that_is_together_elsewhere_is_none_of_its_business() -> None:
    placed = [shard("s1", "a"), shard("s2", "b", group="g"), shard("s3", "b", group="g")]
    there = drained(snapshot(nodes("a", "b", "c"), placed), "a")
    plan = propose(there, STRATEGIES, scope=PlanScope(("a",)))
    assert ([move.shard_id for move in plan.moves], plan.violations) == (["s1"], ())


@pytest.mark.parametrize("others", [{}, {"search": shards(3, "c")}], ids=["alone", "one of several"])
def test_a_namespace_that_cannot_be_placed_and_need_not_be_is_nothing_to_do_alone_and_among_others(
    others: Mapping[str, list[PlacedShard]],
) -> None:
    """Only what is on nodes that are down is to be moved, and none is."""
    full = namespace(parameters={"maxShardsPerNode": 1})
    there = snapshot(nodes("a", "b", "c"), {"billing": shards(9, "a"), **others}, full)
    only = PlanScope((), (MoveReason.OWNER_DOWN, MoveReason.LEADER_DOWN))
    plan = propose(there, STRATEGIES, scope=only)
    assert (plan.moves, plan.violations) == ((), ())
    down = replace(there, nodes=[replace(one, status=NodeStatus.DOWN) for one in there.nodes])
    with pytest.raises(PlacementImpossible):
        propose(down, STRATEGIES, scope=only)


@pytest.mark.parametrize("others", [{}, {"search": shards(3, "c")}], ids=["alone", "one of several"])
def test_a_namespace_that_cannot_be_placed_is_refused_alone_and_among_others(
    others: Mapping[str, list[PlacedShard]],
) -> None:
    """The others have nothing on the nodes that the plan is narrowed to."""
    full = namespace(parameters={"maxShardsPerNode": 1})
    placed = {"billing": [shard("s1", "a"), shard("s2", "b"), shard("s3", "c")], **others}
    there = drained(snapshot(nodes("a", "b", "c"), placed, full), "a")
    with pytest.raises(PlacementImpossible, match="billing: 1 shards do not fit"):
        propose(there, STRATEGIES, scope=PlanScope(("a",)))


def test_only_some_reasons() -> None:
    there = scattered(3)
    there = replace(
        there,
        nodes=[
            replace(one, status={"n0": NodeStatus.DOWN, "n1": NodeStatus.DRAINING}.get(one.node_id, one.status))
            for one in there.nodes
        ],
    )
    everything = propose(there, STRATEGIES)
    for reason in (MoveReason.OWNER_DOWN, MoveReason.OWNER_DRAINING, MoveReason.PLACEMENT_CHANGED):
        plan = propose(there, STRATEGIES, scope=PlanScope((), (reason,)))
        assert plan.moves == tuple(move for move in everything.moves if move.reason is reason) != ()
    both = propose(there, STRATEGIES, scope=PlanScope(("n1",), (MoveReason.OWNER_DOWN,)))
    assert both.moves == ()


@pytest.mark.parametrize("grouped", [False, True])
def test_plans_for_some_reasons_move_for_no_other(*, grouped: bool) -> None:
    for seed in range(20):
        there = scattered(seed, {"maxLoadPercent": 105}, grouped=grouped)
        for reason in (MoveReason.OWNER_OVERLOADED, MoveReason.PLACEMENT_CHANGED):
            plan = propose(there, STRATEGIES, scope=PlanScope((), (reason,)))
            assert {move.reason for move in plan.moves} <= {reason}


def test_a_namespace_without_shards_there_is_left_out_of_it_whatever_is_wrong_with_it() -> None:
    impossible = namespace("search", parameters={"selector": "disk=ssd"})
    there = drained(snapshot(nodes("a", "b"), {"billing": shards(3, "a"), "search": shards(3, "b")}, impossible), "a")
    plan = propose(there, STRATEGIES, scope=PlanScope(("a",)))
    assert (len(plan.moves), plan.violations) == (3, ())
    assert propose(there, STRATEGIES, scope=PlanScope(("b",), (MoveReason.OWNER_DOWN,))).moves == ()


def test_the_document_has_what_it_was_narrowed_to() -> None:
    there = drained(scattered(5), "n2")
    scope = PlanScope(("n2",), (MoveReason.OWNER_DRAINING,))
    plan = propose(there, STRATEGIES, scope=scope)
    assert read_proposal(plan.document) == plan
    assert plan.scope == scope
    assert '"scope":{"only_reasons":["OWNER_DRAINING"],"vacate":["n2"]}' in plan.document
    assert plan.id == propose(there, STRATEGIES, scope=scope).id != propose(there, STRATEGIES).id


def test_a_plan_of_everything_is_the_document_that_it_was() -> None:
    plan = propose(scattered(5), STRATEGIES, scope=EVERYTHING)
    assert plan.scope is None
    assert '"scope"' not in plan.document
    assert '"threshold"' not in plan.document
    assert plan.inputs_digest == propose(scattered(5), STRATEGIES).inputs_digest


def test_zones_and_regions_are_their_nodes() -> None:
    there = snapshot(
        [
            node("a", region="eu", zone="z1"),
            node("b", region="us", zone="z1"),
            node("c", region="eu", zone="z2"),
            node("d", NodeStatus.DOWN, region="eu", zone="z1"),
        ],
        shards(4, "a"),
    )
    assert Narrowing(zones=("z1",)).scope(there) == PlanScope(("a", "b", "d"))
    assert Narrowing(zones=("eu/z1",)).scope(there) == PlanScope(("a", "d"))
    assert Narrowing(regions=("eu",)).scope(there) == PlanScope(("a", "c", "d"))
    assert Narrowing(("b", "a"), regions=("us",)).scope(there) == PlanScope(("a", "b"))
    assert NOT_NARROWED.scope(there) == EVERYTHING


def test_reasons_are_in_order_and_once() -> None:
    reasons = (MoveReason.OWNER_DRAINING, MoveReason.OWNER_DOWN, MoveReason.OWNER_DRAINING)
    scope = Narrowing(only_reasons=reasons).scope(scattered(1))
    assert scope == PlanScope((), (MoveReason.OWNER_DOWN, MoveReason.OWNER_DRAINING))


def test_nodes_that_are_nowhere_are_not_found_unless_they_own_shards() -> None:
    there = snapshot(nodes("a"), [shard("s1", "gone")])
    assert Narrowing(("gone",)).scope(there) == PlanScope(("gone",))
    assert Narrowing(("a", "x", "b")).scope(there) == NotFound(nodes=("b", "x"))
    plan = propose(there, STRATEGIES, scope=PlanScope(("gone",)))
    assert [(move.reason, move.to_node_id) for move in plan.moves] == [(MoveReason.OWNER_REMOVED, "a")]


@pytest.mark.parametrize(
    ("narrowing", "field", "words"),
    [
        (Narrowing(zones=("z1", "z9")), "zones[1]", "no node is in zone 'z9'"),
        (Narrowing(zones=("us/z1",)), "zones[0]", "no node is in zone 'us/z1'"),
        (Narrowing(regions=("mars",)), "regions[0]", "no node is in region 'mars'"),
    ],
)
def test_a_place_without_nodes_is_refused(narrowing: Narrowing, field: str, words: str) -> None:
    there = snapshot([node("a", region="eu", zone="z1")], shards(1, "a"))
    with pytest.raises(InvalidArgument) as refused:
        narrowing.scope(there)
    assert [(one.field, one.message) for one in refused.value.errors] == [(field, words)]


@pytest.mark.parametrize(
    ("narrowing", "fields"),
    [
        (NOT_NARROWED, []),
        (Narrowing(("a",), ("z",), ("r",), (MoveReason.OWNER_DOWN,)), []),
        (Narrowing((), (), (), ()), ["onlyReasons", "regions", "vacate", "zones"]),
        (Narrowing(("a b",)), ["vacate[0]"]),
        (Narrowing(only_reasons=(MoveReason.OWNER_DOWN, MoveReason.ROLLBACK)), ["onlyReasons[1]"]),
        (Narrowing(tuple(f"n{number}" for number in range(1_001))), ["vacate"]),
        (Narrowing(zones=("z",) * 1_001), ["zones"]),
    ],
)
def test_what_is_wrong_with_a_narrowing(narrowing: Narrowing, fields: list[str]) -> None:
    problems = Problems()
    narrowing.add_problems(problems)
    if not fields:
        problems.raise_if_any()
        return
    with pytest.raises(InvalidArgument) as refused:
        problems.raise_if_any()
    assert sorted(one.field for one in refused.value.errors) == fields


def test_a_plan_is_not_to_vacate_nodes_that_plans_give_shards_to() -> None:
    there = snapshot([node("a"), node("b", NodeStatus.CORDONED), *(node(f"x{n}", zone="z") for n in range(7))], [])
    for narrowing, words in (
        (Narrowing(("a", "b")), "names a (ACTIVE), b (CORDONED): drain"),
        (Narrowing(zones=("z",)), "x4 (ACTIVE) and 2 more: drain"),
    ):
        scope = narrowing.scope(there)
        assert isinstance(scope, PlanScope)
        with pytest.raises(InvalidArgument, match="drain what is to be vacated first") as refused:
            check_vacated(there, scope, narrowing)
        assert refused.value.errors[0].field == narrowing.field
        assert words in refused.value.errors[0].message
        check_vacated(vacated(there, scope), scope, narrowing)


def test_a_simulation_supposes_what_is_vacated_to_be_draining() -> None:
    there = snapshot([node("a"), node("b", NodeStatus.DOWN), node("c", NodeStatus.CORDONED), node("d")], [])
    supposed = vacated(there, PlanScope(("a", "b", "c")))
    draining = NodeStatus.DRAINING
    assert [one.status for one in supposed.nodes] == [draining, NodeStatus.DOWN, draining, NodeStatus.ACTIVE]


def test_leaders_on_the_nodes_are_in_scope_and_others_are_not() -> None:
    placed = [
        shard("s1", "a", leader_id="a"),
        shard("s2", "b", leader_id="a"),
        shard("s3", "b", leader_id="c"),
        shard("s4", "b", leader_id="gone"),
    ]
    there = drained(snapshot(nodes("a", "b", "c", "d"), placed), "a", "c")
    plan = propose(there, STRATEGIES, scope=PlanScope(("a",)))
    assert {(move.shard_id, move.changes_owner) for move in plan.moves} == {("s1", True), ("s2", False)}
    assert all(move.leader is not None and move.leader.from_node_id == "a" for move in plan.moves)
    only = propose(there, STRATEGIES, scope=PlanScope(("a",), (MoveReason.LEADER_DRAINING,)))
    assert [(move.shard_id, move.changes_owner) for move in only.moves] == [("s2", False)]
    gone = Narrowing(("gone",)).scope(there)
    assert gone == PlanScope(("gone",))
    assert [move.shard_id for move in propose(there, STRATEGIES, scope=gone).moves] == ["s4"]
