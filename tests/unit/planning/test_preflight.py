"""What draining a node would do, before it is done."""

from __future__ import annotations

import pytest

from persistence.model.records import MoveReason, NodeStatus
from persistence.planning import what_if as module
from persistence.planning.proposal import LeaderChange
from persistence.planning.what_if import preflight
from tests.support.snapshots import STRATEGIES, namespace, node, nodes, shard, shards, snapshot


def test_every_shard_of_the_node_would_move_off_it() -> None:
    there = snapshot(nodes("a", "b", "c"), {"billing": shards(9, "a"), "search": [*shards(2, "a"), shard("t", "b")]})
    found = preflight(there, ["a"], STRATEGIES)
    assert (found.node_ids, found.shard_count, len(found.moves), found.remaining_moves) == (("a",), 11, 11, 0)
    assert {(move.from_node_id, move.reason) for move in found.moves} == {("a", MoveReason.OWNER_DRAINING)}
    assert {move.to_node_id for move in found.moves} <= {"b", "c"}
    assert found.blockers == ()


def test_shards_that_it_only_leads_would_be_led_by_others() -> None:
    there = snapshot(
        nodes("a", "b"), [shard("s1", "b", leader_id="a"), shard("s2", "b", leader_id="b"), shard("s3", "a")]
    )
    found = preflight(there, "a", STRATEGIES)
    assert (found.shard_count, found.leader_count, found.remaining_moves) == (1, 1, 0)
    assert [(move.shard_id, move.reason, move.leader) for move in found.moves] == [
        ("s3", MoveReason.OWNER_DRAINING, None),
        ("s1", MoveReason.LEADER_DRAINING, LeaderChange("a", "b")),
    ]


def test_a_namespace_that_it_only_leads_in_and_that_cannot_be_placed_stands_in_the_way() -> None:
    found = preflight(snapshot(nodes("a"), [shard("s1", "gone", leader_id="a")]), "a", STRATEGIES)
    assert [(one.code, one.namespace) for one in found.blockers] == [("NO_PLACEMENT", "billing")]


def test_moves_between_other_nodes_are_not_its_business() -> None:
    there = snapshot(nodes("a", "b", "c"), shards(30, "b"))
    found = preflight(there, ["a"], STRATEGIES)
    assert (found.shard_count, found.moves, found.blockers) == (0, (), ())


def test_a_node_that_owns_nothing_can_be_drained_whatever_else_is_wrong() -> None:
    other = [shard("s1", "b", pinned=True)]
    there = snapshot([node("a"), node("b", NodeStatus.DOWN)], other)
    assert preflight(there, ["a"], STRATEGIES).blockers == ()


def test_a_pinned_shard_stands_in_the_way() -> None:
    there = snapshot(nodes("a", "b"), [shard("s1", "a", pinned=True), shard("s2", "a"), shard("s3", "b", pinned=True)])
    found = preflight(there, ["a"], STRATEGIES)
    assert [move.shard_id for move in found.moves] == ["s2"]
    assert [(one.code, one.shard_id) for one in found.blockers] == [("PINNED_TO_UNAVAILABLE", "s1")]


def test_a_namespace_that_has_nowhere_to_go_stands_in_the_way() -> None:
    there = [node("a", labels={"disk": "ssd"}), node("b")]
    only_ssd = namespace("search", parameters={"selector": "disk=ssd"})
    placed = {"billing": shards(2, "a"), "search": shards(2, "a")}
    found = preflight(snapshot(there, placed, only_ssd), ["a"], STRATEGIES)
    assert {move.namespace for move in found.moves} == {"billing"}
    assert [(one.code, one.namespace) for one in found.blockers] == [("NO_PLACEMENT", "search")]


def test_the_last_node_cannot_be_drained() -> None:
    found = preflight(snapshot(nodes("a"), shards(3, "a")), ["a"], STRATEGIES)
    assert (found.shard_count, found.moves) == (3, ())
    assert [(one.code, one.namespace) for one in found.blockers] == [("NO_PLACEMENT", "billing")]


def test_what_does_not_fit_into_one_plan_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MOVES", 4)
    found = preflight(snapshot(nodes("a", "b"), shards(9, "a")), ["a"], STRATEGIES)
    assert (len(found.moves), found.remaining_moves, found.shard_count) == (4, 5, 9)
