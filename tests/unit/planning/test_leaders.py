"""What plans do about the nodes that lead shards."""

from __future__ import annotations

from dataclasses import replace

import pytest

from persistence.commands.read_state import ReadState, RecentMoves
from persistence.handlers.rules.policies import waits
from persistence.model.outcomes import BrokenRule
from persistence.model.policy import DEFAULT_POLICY, NamespacePolicy, PolicyRule
from persistence.model.records import MoveReason, Node, NodeStatus, ShardKey
from persistence.planning.explanation import explain
from persistence.planning.planner import propose
from persistence.planning.proposal import LeaderChange, Move, Proposal, read_proposal
from persistence.planning.snapshot import PlacedShard
from persistence.planning.waves import change_limit, wave_moves
from tests.support.snapshots import STRATEGIES, namespace, node, shard, snapshot

SSD = {"disk": "ssd"}
ONLY_SSD = namespace(parameters={"selector": "disk=ssd"})
UNFIT = {
    "gone": MoveReason.LEADER_REMOVED,
    "down": MoveReason.LEADER_DOWN,
    "draining": MoveReason.LEADER_DRAINING,
    "hdd": MoveReason.LEADER_INELIGIBLE,
}


def mesh(*more: Node) -> list[Node]:
    """One node that shards are placed on, and some that may lead none."""
    return [
        node("a", labels=SSD),
        node("hdd"),
        node("cordoned", NodeStatus.CORDONED, labels=SSD),
        node("down", NodeStatus.DOWN, labels=SSD),
        node("draining", NodeStatus.DRAINING, labels=SSD),
        *more,
    ]


def planned(*placed: PlacedShard, there: list[Node] | None = None) -> Proposal:
    return propose(snapshot(there or mesh(), placed, ONLY_SSD), STRATEGIES)


@pytest.mark.parametrize(("leader", "reason"), UNFIT.items())
def test_a_shard_led_by_a_node_that_may_not_is_led_by_its_owner(leader: str, reason: MoveReason) -> None:
    proposal = planned(shard("s1", "a", leader_id=leader, version=7))
    assert proposal.moves == (Move("billing", "s1", 7, "a", "a", reason, leader=LeaderChange(leader, "a")),)
    assert {one.node_id for one in proposal.nodes} == {"a", leader} - {"gone"}
    assert all(load.shards_before == load.shards_after for load in proposal.loads)


@pytest.mark.parametrize("leader", [None, "a", "b", "cordoned"])
def test_any_other_leader_stays(leader: str | None) -> None:
    placed = [shard(f"s{number}", "a", leader_id=leader) for number in range(20)]
    proposal = planned(*placed, there=mesh(node("b", labels=SSD)))
    follows = LeaderChange("a", "b") if leader == "a" else None
    assert {(move.to_node_id, move.leader) for move in proposal.moves} == {("b", follows)}


@pytest.mark.parametrize(
    ("owner", "reason"), [("gone", "OWNER_REMOVED"), ("down", "OWNER_DOWN"), ("hdd", "OWNER_INELIGIBLE")]
)
@pytest.mark.parametrize("leader", ["gone", "down", "draining", "hdd"])
def test_a_shard_that_moves_is_led_by_its_new_owner_where_its_leader_may_not(
    owner: str, reason: str, leader: str
) -> None:
    (move,) = planned(shard("s1", owner, leader_id=leader)).moves
    assert (move.to_node_id, move.reason, move.leader) == ("a", reason, LeaderChange(leader, "a"))


@pytest.mark.parametrize("owner", ["gone", "down", "draining", "hdd"])
@pytest.mark.parametrize("leader", UNFIT)
def test_nothing_leads_a_shard_that_is_pinned_where_nothing_may(owner: str, leader: str) -> None:
    moves = planned(shard("s1", owner, leader_id=leader, pinned=True)).moves
    alone = () if owner == leader else (Move("billing", "s1", 1, owner, owner, UNFIT[leader]),)
    assert [move.leader for move in moves] == [LeaderChange(leader, None) for _ in alone]


def test_pinned_and_cordoned_shards_are_led_by_their_owner() -> None:
    pinned = shard("s1", "a", leader_id="down", pinned=True)
    kept = shard("s2", "cordoned", leader_id="down")
    moves = planned(pinned, kept).moves
    assert [(move.to_node_id, move.leader) for move in moves] == [
        ("a", LeaderChange("down", "a")),
        ("cordoned", LeaderChange("down", "cordoned")),
    ]


def test_a_mesh_whose_leaders_were_replaced_has_nothing_left_to_do() -> None:
    placed = [
        shard(f"s{number}", owner, leader_id=leader) for number, owner in enumerate(UNFIT) for leader in ("a", owner)
    ]
    placed = [one._replace(shard_id=f"{number}") for number, one in enumerate(placed)]
    moves = {move.shard_id: move for move in planned(*placed).moves}
    after = [
        one._replace(
            owner_node_id=moves[one.shard_id].to_node_id,
            leader_id=one.leader_id if (leader := moves[one.shard_id].leader) is None else leader.to_node_id,
        )
        for one in placed
    ]
    assert planned(*after).moves == ()


def test_changes_of_leaders_take_no_budget_and_are_in_the_document() -> None:
    proposal = planned(*(shard(f"s{number}", "a", leader_id="down") for number in range(30)))
    assert len(wave_moves(proposal.moves, None, 0, {"billing": change_limit(30, DEFAULT_POLICY)}, 1_000)) == 30
    assert read_proposal(proposal.document).moves == proposal.moves
    assert '"leader"' not in planned(shard("s1", "down")).document


def test_a_leader_may_change_where_two_of_a_group_are_together() -> None:
    pair = [shard(f"s{number}", "a", leader_id="down", group="pair", pinned=True) for number in range(2)]
    cut = propose(snapshot(mesh(), [*pair, shard("s2", "draining")], ONLY_SSD), STRATEGIES, max_moves=2)
    assert [move.shard_id for move in cut.moves] == ["s0", "s1"]


@pytest.mark.parametrize(
    ("placed", "ending"),
    [
        (
            shard("s1", "a", leader_id="down"),
            "s1 is on a, where rendezvous places it. It is led by down. The next plan has a lead it: down is DOWN.",
        ),
        (
            shard("s1", "draining", leader_id="draining"),
            "The next plan moves it: draining is DRAINING. a leads it then, in place of draining.",
        ),
        (
            shard("s1", "cordoned", leader_id="gone"),
            "cordoned is cordoned. It is led by gone. The next plan has cordoned lead it: gone is not registered.",
        ),
        (
            shard("s1", "down", leader_id="gone", pinned=True),
            "because it is pinned. It is led by gone. The next plan ends that: gone is not registered.",
        ),
        (shard("s1", "a", leader_id="a"), "billing/s1 is on a, where rendezvous places it."),
    ],
)
def test_an_explanation_says_what_the_plan_does_about_the_leader(placed: PlacedShard, ending: str) -> None:
    found = explain(snapshot(mesh(), [placed], ONLY_SSD), "billing", "s1", STRATEGIES)
    assert found is not None
    assert found.summary.endswith(ending)
    assert ([] if found.move is None else [found.move]) == list(planned(placed).moves)


def test_a_leader_that_a_later_plan_replaces_is_told() -> None:
    placed = [shard(f"s{number}", "a", leader_id="down") for number in range(3)]
    found = explain(snapshot(mesh(), placed, ONLY_SSD), "billing", "s2", STRATEGIES, max_moves=2)
    assert found is not None
    assert found.move is None
    assert found.summary == (
        "billing/s2 is on a, where rendezvous places it. It is led by down. "
        "A later plan ends that: the next one has 2 moves, which come first."
    )


def test_what_the_change_of_a_leader_waits_for_is_told() -> None:
    frozen = BrokenRule(PolicyRule.FREEZE, "billing", None, "a change", "changes from tomorrow on", "Wait")
    found = explain(snapshot(mesh(), [shard("s1", "a", leader_id="draining")], ONLY_SSD), "billing", "s1", STRATEGIES)
    assert found is not None
    summary = replace(found, waits=(frozen,)).summary
    assert summary.endswith("draining is DRAINING. It waits: billing is frozen, which allows changes from tomorrow on.")


def test_a_leader_is_replaced_however_often_the_shard_was_moved() -> None:
    """As in the rules of the write path: a bound of the moves of a shard is not about its leaders."""
    policy = NamespacePolicy(shard_window_moves=1, window_moves=1)
    recent = RecentMoves({"billing": 1}, {ShardKey("billing", "s1"): 1})
    state = ReadState({"billing": replace(ONLY_SSD, policy=policy)}, recent=recent)
    led = Move("billing", "s1", 1, "a", "a", MoveReason.LEADER_DRAINING, leader=LeaderChange("draining", "a"))
    assert list(waits(state, led, 0)) == []
    moved = replace(led, to_node_id="b", reason=MoveReason.OWNER_DRAINING)
    assert [one.rule for one in waits(state, moved, 1)] == [PolicyRule.WINDOW_BUDGET, PolicyRule.SHARD_THRASH]
