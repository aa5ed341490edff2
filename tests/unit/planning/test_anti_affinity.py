"""Groups in plans: one node each, as few sent elsewhere as can be, and violations for the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.model.policy import NamespacePolicy
from persistence.model.records import NodeStatus
from persistence.planning.explanation import explain
from persistence.planning.planner import propose
from persistence.planning.proposal import Proposal
from persistence.planning.scope import PlanScope
from persistence.planning.snapshot import PlacedShard, PlacementSnapshot
from persistence.planning.waves import change_limit, wave_moves
from strategies import model
from strategies.placing import Placer
from tests.support.snapshots import STRATEGIES, namespace, node, nodes, shard, snapshot

OWNERS = [f"node-{number}" for number in range(5)]
SHARDS = st.lists(
    st.tuples(
        st.sampled_from([*OWNERS, "gone"]), st.sampled_from(["g", "h", None]), st.sampled_from([True, *[False] * 4])
    ),
    max_size=12,
).map(
    lambda drawn: [
        shard(f"s{number:02}", owner, group=group, pinned=pinned) for number, (owner, group, pinned) in enumerate(drawn)
    ]
)


def planned(there: PlacementSnapshot, max_moves: int = 10_000) -> Proposal:
    return propose(there, STRATEGIES, max_moves=max_moves)


def after(placed: list[PlacedShard], proposal: Proposal) -> dict[str, str]:
    moved = {move.shard_id: move.to_node_id for move in proposal.moves}
    return {one.shard_id: moved.get(one.shard_id, one.owner_node_id) for one in placed}


def together(placed: list[PlacedShard], owners: dict[str, str]) -> Counter[tuple[str, str]]:
    """How many shards of a group a node has, where it has several."""
    counts = Counter((one.group, owners[one.shard_id]) for one in placed if one.group is not None)
    return Counter({key: count for key, count in counts.items() if count > 1})


@given(placed=SHARDS, count=st.integers(1, 5), max_moves=st.sampled_from([1, 2, 10_000]))
def test_a_plan_brings_no_two_of_a_group_together(placed: list[PlacedShard], count: int, max_moves: int) -> None:
    there = snapshot(nodes(*OWNERS[:count]), placed)
    proposal = planned(there, max_moves)
    before, owners = {one.shard_id: one.owner_node_id for one in placed}, after(placed, proposal)
    for move in proposal.moves:
        group = next(one.group for one in placed if one.shard_id == move.shard_id)
        mates = [one.shard_id for one in placed if one.group == group and one.shard_id != move.shard_id]
        assert group is None or move.to_node_id not in {owners[mate] for mate in mates}
    assert together(placed, owners) <= together(placed, before)
    assert not any(move.shard_id in {one.shard_id for one in placed if one.pinned} for move in proposal.moves)


@given(placed=SHARDS, count=st.integers(1, 5))
def test_what_stays_together_or_away_is_said(placed: list[PlacedShard], count: int) -> None:
    proposal = planned(snapshot(nodes(*OWNERS[:count]), placed))
    owners = after(placed, proposal)
    said = {one.shard_id for one in proposal.violations if one.code == "ANTI_AFFINITY"}
    for (group, owner), many in together(placed, owners).items():
        here = {one.shard_id for one in placed if (one.group, owners[one.shard_id]) == (group, owner)}
        assert len(here & said) >= many - 1
    again = [one._replace(owner_node_id=owners[one.shard_id], strategy="rendezvous") for one in placed]
    assert not planned(snapshot(nodes(*OWNERS[:count]), again)).moves


@given(placed=SHARDS)
def test_who_has_no_mate_in_the_way_goes_where_the_strategy_wants_it(placed: list[PlacedShard]) -> None:
    free = [one._replace(group=None) for one in placed]
    wanted = after(free, planned(snapshot(nodes(*OWNERS), free)))
    owners = after(placed, planned(snapshot(nodes(*OWNERS), placed)))
    for one in placed:
        if one.group is None:
            assert owners[one.shard_id] == wanted[one.shard_id]


def test_more_shards_than_nodes_are_named() -> None:
    placed = [shard("s1", "node-a", group="g"), shard("s2", "node-b", group="g"), shard("s3", "gone", group="g")]
    proposal = planned(snapshot(nodes("node-a", "node-b"), placed))
    assert not proposal.moves
    (violation,) = proposal.violations
    assert (violation.code, violation.shard_id, violation.node_id) == ("ANTI_AFFINITY", "s3", "gone")
    assert violation.message == (
        "billing/s3 stays on gone: group g has 3 shards, and no node is left of the 2 that may own them"
    )
    told = explain(snapshot(nodes("node-a", "node-b"), placed), "billing", "s3", STRATEGIES)
    assert told is not None
    assert (told.stays, told.move) == ("ANTI_AFFINITY", None)
    assert told.summary.endswith("It stays, because no node is left for its group.")


def test_two_that_are_pinned_to_one_node_are_named() -> None:
    placed = [shard(name, "node-a", group="g", pinned=True) for name in ("s1", "s2")]
    (violation,) = planned(snapshot(nodes("node-a", "node-b"), placed)).violations
    assert violation.message == ("billing/s2 and s1 of group g are both kept on node-a: unpin one of them to move it")


def test_a_group_takes_its_room_before_the_others() -> None:
    placed = [shard(f"s{number}", "gone", group="g" if number < 4 else None) for number in range(8)]
    proposal = planned(snapshot(nodes(*OWNERS[:4]), placed, namespace(parameters={"maxShardsPerNode": 2})))
    owners = after(placed, proposal)
    assert not proposal.violations
    assert sorted(owners[f"s{number}"] for number in range(4)) == OWNERS[:4]
    assert set(Counter(owners.values()).values()) == {2}


def test_a_node_that_is_drained_gives_its_shard_to_one_without_the_group() -> None:
    there = [node("node-a", NodeStatus.DRAINING), *nodes("node-b", "node-c")]
    placed = [shard("s1", "node-a", group="g"), shard("s2", "node-b", group="g")]
    owners = after(placed, planned(snapshot(there, placed)))
    assert sorted(owners.values()) == ["node-b", "node-c"]


def test_a_shard_is_told_whom_its_nodes_are_for() -> None:
    placed = [shard(f"s{number}", "node-a", group="g") for number in range(2)]
    there = snapshot(nodes("node-a", "node-b"), placed)
    (move,) = planned(there).moves
    told = explain(there, "billing", move.shard_id, STRATEGIES)
    assert told is not None
    other = "s1" if move.shard_id == "s0" else "s0"
    assert {one.node_id: one.obstacle for one in told.candidates} == {
        "node-a": f"for {other}, of group g too",
        "node-b": None,
    }
    assert told.summary.endswith(f"The next plan moves it: node-a is for {other}, of group g too.")


def pairs(count: int, owners: Sequence[str], **fields: Any) -> list[PlacedShard]:
    """So many groups of two, on any two nodes."""
    random = Random(1)
    placed = []
    for number in range(count):
        for letter, owner in zip("ab", random.sample(owners, 2), strict=True):
            placed.append(shard(f"s{number:03}{letter}", owner, group=f"g{number}", **fields))
    return placed


def test_a_hundred_pairs_are_moved_within_the_default_budget() -> None:
    """It was stuck at 100 of 158 moves, in the middle of a pair."""
    there = snapshot(nodes(*OWNERS[:4]), pairs(100, OWNERS[:4]))
    proposal = planned(there)
    assert proposal.together
    assert {count for _, count in proposal.together} == {2}
    assert not proposal.violations
    most = {"billing": change_limit(200, NamespacePolicy())}
    made, owners = 0, {one.shard_id: one.owner_node_id for one in there.shards["billing"]}
    while made < len(proposal.moves):
        wave = wave_moves(proposal.moves, proposal.together, made, most, 1_000)
        assert 1 <= len(wave) <= 20
        owners |= {move.shard_id: move.to_node_id for move in wave}
        assert not together(list(there.shards["billing"]), owners)
        made += len(wave)


def swapped(percent: float = 100) -> PlacementSnapshot:
    """A pair that has to change places, among shards that stay."""
    there = nodes("node-a", "node-b")
    pair = [shard("s1", "node-a", group="g"), shard("s2", "node-b", group="g")]
    if not planned(snapshot(there, pair)).moves:
        pair = [one._replace(owner_node_id=other.owner_node_id) for one, other in zip(pair, pair[::-1], strict=True)]
    return snapshot(there, pair, namespace(policy=NamespacePolicy(move_budget_percent=percent)))


def test_a_pair_that_changes_places_is_a_batch() -> None:
    proposal = planned(swapped())
    assert (len(proposal.moves), proposal.together, proposal.violations) == (2, ((0, 2),), ())


def test_a_plan_too_small_for_a_pair_says_so() -> None:
    """It said "Nothing to move"."""
    proposal = planned(swapped(), max_moves=1)
    assert (proposal.moves, proposal.remaining_moves) == ((), 2)
    (violation,) = proposal.violations
    assert (violation.code, violation.shard_id) == ("CYCLE_EXCEEDS_BUDGET", "s1")
    assert violation.message == (
        "billing/s1 and 1 more of its group change places, in one change of 2 moves, and the plan's maxMoves allows 1"
    )


def test_a_pair_that_no_budget_holds_comes_last_and_is_named() -> None:
    there = swapped(1)
    proposal = planned(there)
    assert (len(proposal.moves), proposal.together, proposal.waves) == (2, ((0, 2),), 1)
    (violation,) = proposal.violations
    assert violation.code == "CYCLE_EXCEEDS_BUDGET"
    assert violation.message.endswith("in one change of 2 moves, and the move budget of 1 % allows 1")
    for one in ("s1", "s2"):
        told = explain(there, "billing", one, STRATEGIES)
        assert told is not None
        assert [problem.code for problem in told.violations] == ["CYCLE_EXCEEDS_BUDGET"]


def test_those_that_wait_for_others_of_their_group_come_after_them() -> None:
    """Nobody has to move with another one where the last of them goes to a node without the group."""
    there = [node("node-a", NodeStatus.DRAINING), *nodes("node-b", "node-c")]
    for first, second in (("node-a", "node-b"), ("node-a", "node-c"), ("node-b", "node-a"), ("node-c", "node-a")):
        proposal = planned(snapshot(there, [shard("s1", first, group="g"), shard("s2", second, group="g")]))
        assert proposal.together is None
        assert planned(snapshot(there, [shard("s1", first, group="g"), shard("s2", second, group="g")]), 1).moves


@pytest.mark.parametrize(
    "parameters",
    [{}, {"maxShardsPerNode": 11}, {"maxShardsPerNode": 14}, {"maxLoadPercent": 105}],
    ids=["no bound", "unplaceable", "with room", "balanced"],
)
def test_most_shards_of_pairs_find_a_node_without_all_nodes_being_ranked(
    parameters: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred of them move. Only where the node that is best is the other's is a shard ranked."""
    ids = [f"n{number:02}" for number in range(40)]
    placed = [shard(f"s{number:03}", ids[number % 40], group=f"g{number // 2}") for number in range(400)]
    there = [node(one, NodeStatus.DOWN if one < "n10" else NodeStatus.ACTIVE) for one in ids]
    ranked: list[str] = []
    rank = Placer.rank

    def counted(self: Placer, name: str, one: model.Shard) -> Sequence[str]:
        ranked.append(one.shard_id)
        return rank(self, name, one)

    monkeypatch.setattr(Placer, "rank", counted)
    plan = propose(
        snapshot(there, placed, namespace(parameters=parameters)), STRATEGIES, scope=PlanScope(tuple(ids[:10]))
    )
    assert len(plan.moves) > 25
    assert len(ranked) <= 10, ranked
