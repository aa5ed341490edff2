"""What a rebalance would do, as people read it: enough to decide, never more than they read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from graph.cli.errors import Exit, Failure
from graph.cli.proposals import (
    bar,
    move_document,
    print_loads,
    print_moves,
    print_proposal,
    proposal_of,
    read_move,
    reasons,
    summary,
)
from persistence.model.records import MoveReason
from persistence.planning.proposal import LeaderChange, NodeLoad
from tests.support.proposals import PINNED, UNPLACED, move, proposal


def test_a_bar_shows_what_is_kept_and_what_is_gained_or_lost() -> None:
    assert bar(30, 30, 30) == "=" * 30
    assert bar(30, 20, 30) == "=" * 20 + "-" * 10
    assert bar(10, 15, 30) == "=" * 10 + "+" * 5
    assert bar(0, 3, 30) == "+++"
    assert bar(0, 0, 30) == ""


def test_the_smallest_change_of_a_load_is_seen() -> None:
    assert bar(10_000, 9_999, 10_000) == "=" * 29 + "-"
    assert bar(10_000, 10_001, 10_001) == "=" * 29 + "+"
    assert bar(0, 1, 1_000_000) == "+"


def test_a_bar_is_never_longer_than_that_of_the_largest_load() -> None:
    assert max(len(bar(before, after, 50)) for before in range(51) for after in range(51)) == 30


def test_loads_are_shown_before_and_after(capsys: pytest.CaptureFixture[str]) -> None:
    print_loads([NodeLoad("n1", 3, 0, 4.5, 0.0, 3), NodeLoad("n2", 1, 1, 1.0, 1.0, 2)], everything=False)
    assert capsys.readouterr().out.splitlines() == [
        "NODE  SHARDS  PEAK  CAPACITY  LOAD (= kept, + gained, - lost)",
        "n1    3 -> 0  3     4.5 -> 0  ------------------------------",
        "n2    1       2     1         ==========",
    ]


def test_of_many_nodes_those_are_shown_whose_loads_change_most(capsys: pytest.CaptureFixture[str]) -> None:
    loads = [NodeLoad(f"n{node:02}", 50, 50 + node, 0.0, 0.0) for node in range(30)]
    print_loads(loads, everything=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == [f"n{node}" for node in range(10, 30)]
    assert lines[-1] == "and 10 more nodes, whose loads change less; --all shows them"
    print_loads(loads, everything=True)
    assert len(capsys.readouterr().out.splitlines()) == 31


def test_the_first_twenty_moves_are_shown_and_how_many_more_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    moves = [move(number) for number in range(500)]
    print_moves(moves, everything=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["orders/s000", "1", "node-1", "->", "node-2", "OWNER_DRAINING"]
    assert (len(lines), lines[-1]) == (22, "and 480 more; --all shows them")
    print_moves(moves, everything=True)
    assert len(capsys.readouterr().out.splitlines()) == 501


def test_reasons_are_counted_the_most_urgent_first() -> None:
    moves = [move(1, MoveReason.PLACEMENT_CHANGED), move(2, MoveReason.OWNER_DOWN), move(3, MoveReason.OWNER_DOWN)]
    assert reasons(moves) == "2 OWNER_DOWN, 1 PLACEMENT_CHANGED"


def test_a_move_of_the_api_is_one_of_ours_and_back() -> None:
    given = {
        "namespace": "orders",
        "shardId": "s001",
        "version": "1",
        "fromNodeId": "node-1",
        "toNodeId": "node-2",
        "reason": "OWNER_DRAINING",
        "leader": None,
    }
    led = given | {"leader": {"fromNodeId": "node-1", "toNodeId": None}}
    assert read_move(given) == move(1)
    assert move_document(move(1)) == given
    assert read_move(led) == replace(move(1), leader=LeaderChange("node-1", None))
    assert move_document(read_move(led)) == led


def test_moves_and_changes_of_leaders_are_shown_and_counted_apart(capsys: pytest.CaptureFixture[str]) -> None:
    owned = replace(move(1), leader=LeaderChange("node-1", "node-2"))
    led = replace(move(2), from_node_id="node-3", to_node_id="node-3", reason=MoveReason.LEADER_DRAINING)
    led = replace(led, leader=LeaderChange("node-1", "node-3"))
    assert summary(proposal(owned, led), "move") == (
        "1 of 100 shards move (1 %), 1 get only another leader: 1 OWNER_DRAINING, 1 LEADER_DRAINING."
    )
    print_moves([owned, led], everything=True)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["SHARD", "VERSION", "OWNER", "MOVE", "REASON", "LEADER"],
        ["orders/s001", "1", "node-1", "->", "node-2", "OWNER_DRAINING", "node-1", "->", "node-2"],
        ["orders/s002", "1", "node-3", "LEADER_DRAINING", "node-1", "->", "node-3"],
    ]


def test_a_proposal_is_summed_up_in_a_line() -> None:
    assert summary(proposal(move(1), move(2)), "move") == "2 of 100 shards move (2 %): 2 OWNER_DRAINING."
    assert summary(proposal(move(1), remaining=4), "would move") == (
        "1 of 100 shards would move (1 %): 1 OWNER_DRAINING. 4 more moves did not fit: plan again once these are made."
    )


def test_a_proposal_without_moves_says_so() -> None:
    assert summary(proposal(), "move") == "Nothing to move: 100 shards, each where it belongs or has to stay."
    assert summary(proposal(violations=(PINNED,)), "move").startswith("Nothing to move, beside what the problems")


def test_a_proposal_is_tables_of_what_there_is_to_say(capsys: pytest.CaptureFixture[str]) -> None:
    both = proposal(move(1), move(2, namespace="billing"), violations=(PINNED, UNPLACED))
    print_proposal(both, everything=False)
    headers = [part.split("\n")[0].split()[0] for part in capsys.readouterr().out.split("\n\n") if part]
    assert headers == ["SHARD", "NAMESPACE", "NODE", "PROBLEM"]
    print_proposal(proposal(), everything=False)
    assert capsys.readouterr().out == ""


def test_a_problem_is_shown_with_what_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    print_proposal(proposal(violations=(PINNED, UNPLACED)), everything=False)
    _, pinned, unplaced, _ = capsys.readouterr().out.split("\n", 3)
    assert pinned.split()[:3] == ["PINNED_TO_UNAVAILABLE", "orders/s1", "node-1"]
    assert unplaced.split()[:3] == ["NO_PLACEMENT", "billing", "-"]


def test_a_document_of_the_server_is_read() -> None:
    made = proposal(move(1), violations=(PINNED,))
    assert proposal_of(made.document) == made


@pytest.mark.parametrize("document", ["{}", "[]", "no JSON", '{"base_revision": 1}'])
def test_a_document_of_another_version_says_what_to_do(document: str) -> None:
    with pytest.raises(Failure) as failed:
        proposal_of(document)
    assert failed.value.exit is Exit.INTERNAL
    assert "update the older one" in failed.value.advice[0]
