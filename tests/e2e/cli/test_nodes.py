"""nodes: registered, described, drained and removed, each under a reason that is kept."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from graph.cli.errors import Exit
from tests.support.command_line import Answer, omnirelay
from tests.support.mesh import patch
from tests.support.mesh_server import MeshServer


def nodes(command: str, *arguments: object) -> Answer:
    """A command that changes a node."""
    return omnirelay("mesh", "nodes", command, *arguments, "--reason", "more room")


def node(node_id: str) -> dict[str, Any]:
    return omnirelay("mesh", "nodes", "get", node_id, "--json").document


def listed(*options: object) -> list[str]:
    return [one["nodeId"] for one in omnirelay("mesh", "nodes", "list", "--json", *options).documents]


def follow_advice(answer: Answer) -> Answer:
    """The command in the last line of a refusal."""
    return omnirelay(*shlex.split(answer.err.splitlines()[-1])[1:])


def test_a_node_is_registered_with_all_that_is_said_of_it(server: MeshServer) -> None:
    answer = nodes(
        *("register", "node-9", "--region", "eu", "--zone", "b", "--weight", 2, "--status", "cordoned"),
        *("--label", "disk=ssd", "--label", "rack=4", "--ticket", "CHG-1", "--actor", "alice"),
    )
    facts = dict(line.split(maxsplit=1) for line in answer.out.splitlines())
    assert answer.exit == Exit.OK
    assert (facts["region"], facts["zone"], facts["weight"], facts["status"]) == ("eu", "b", "2", "CORDONED")
    assert (facts["labels"], facts["ticket"], facts["version"]) == ("disk=ssd, rack=4", "CHG-1", "1")
    assert facts["changed"].startswith("by  alice at ")
    (change,) = server.run(server.mesh.changes())
    assert (change.kind, change.actor, change.reason) == ("REGISTER_NODE", "alice", "more room")


@pytest.mark.usefixtures("server")
def test_get_shows_who_changed_a_node_and_why_and_its_changes() -> None:
    nodes("register", "node-9", "--zone", "b", "--actor", "alice")
    nodes("register", "node-8")
    nodes("set", "node-9", "--expected-version", 1, "--weight", 3, "--ticket", "CHG-2", "--actor", "bob")
    answer = omnirelay("mesh", "nodes", "get", "node-9")
    assert "changed by  bob at " in answer.out
    table = [line.split() for line in answer.out.split("\n\n")[1].splitlines()]
    assert [(line[1], line[2], *line[3:6]) for line in table[1:]] == [
        ("3", "UPDATE_NODE", "weight", "1", "->"),
        ("1", "REGISTER_NODE", "zone", "-", "->"),
    ]
    document = node("node-9")
    assert document["lastChange"]["actor"] == "bob"
    assert [change["actor"] for change in document["history"]] == ["bob", "alice"]
    assert node("node-8")["history"][0]["id"] == "2"


@pytest.mark.usefixtures("server")
def test_a_node_is_active_and_of_weight_1_unless_something_else_is_said() -> None:
    document = nodes("register", "node-9", "--json").document
    assert document["change"]["actor"] == "ops"
    assert (document["node"]["status"], document["node"]["weight"], document["node"]["labels"]) == ("ACTIVE", 1, {})


@pytest.mark.usefixtures("placed")
def test_a_node_that_is_there_is_not_registered_again() -> None:
    answer = nodes("register", "node-1", "--zone", "c")
    assert (answer.exit, answer.out) == (Exit.REFUSED, "")
    assert answer.err.startswith("Refused: node node-1 is registered already, at version 1: ops registered it at ")
    assert follow_advice(answer).exit == Exit.OK
    assert (node("node-1")["zone"], node("node-1")["weight"]) == ("c", 1)


@pytest.mark.usefixtures("placed")
def test_list_shows_every_node_with_what_it_owns() -> None:
    answer = omnirelay("mesh", "nodes", "list")
    rows = [line.split() for line in answer.out.splitlines()]
    assert rows[0][:6] == ["NODE", "STATUS", "REGION", "ZONE", "WEIGHT", "SHARDS"]
    assert rows[1][:6] == ["node-1", "ACTIVE", "eu", "a", "1", "30"]
    assert (len(rows), answer.err) == (4, "3 nodes.\n")


@pytest.mark.usefixtures("placed")
def test_list_can_be_narrowed() -> None:
    nodes("set", "node-2", "--expected-version", 1, "--status", "down")
    assert listed("--status", "down") == ["node-2"]
    assert listed("--status", "DOWN", "--status", "active") == ["node-1", "node-2", "node-3"]
    assert listed("--region", "eu") == ["node-1", "node-2"]
    assert listed("--zone", "a", "--region", "us") == ["node-3"]
    assert listed("--status", "removed") == []


@pytest.mark.usefixtures("placed")
def test_get_shows_one_node() -> None:
    answer = omnirelay("mesh", "nodes", "get", "node-3")
    assert answer.exit == Exit.OK
    assert ["region", "us"] in [line.split() for line in answer.out.splitlines()]


@pytest.mark.usefixtures("placed")
@pytest.mark.parametrize("command", [["get"], ["drain", "--reason", "r"], ["remove", "--reason", "r"]])
def test_a_node_that_never_was_is_not_found(command: list[str]) -> None:
    answer = omnirelay("mesh", "nodes", *command, "node-9")
    assert (answer.exit, answer.out) == (Exit.NOT_FOUND, "")
    assert answer.err.startswith("There is no node node-9.\n")


@pytest.mark.usefixtures("placed")
def test_set_changes_what_it_is_told_and_nothing_else() -> None:
    nodes("set", "node-1", "--expected-version", 1, "--label", "disk=ssd", "--label", "rack=4")
    nodes("set", "node-1", "--expected-version", 2, "--label", "disk=nvme", "--no-label", "rack", "--weight", 3)
    after = node("node-1")
    assert (after["labels"], after["weight"], after["region"]) == ({"disk": "nvme"}, 3, "eu")
    nodes("set", "node-1", "--expected-version", 3, "--no-region", "--no-zone")
    after = node("node-1")
    assert (after["region"], after["zone"], after["labels"]) == (None, None, {"disk": "nvme"})


@pytest.mark.usefixtures("placed")
def test_a_conflict_shows_the_node_as_it_is_and_how_to_go_on() -> None:
    nodes("set", "node-1", "--expected-version", 1, "--weight", 2, "--actor", "alice")
    answer = nodes("set", "node-1", "--expected-version", 1, "--label", "a=1", "--label", "b=2")
    assert (answer.exit, answer.out) == (Exit.REFUSED, "")
    assert answer.err.startswith("Refused: node node-1 is at version 2, not 1: alice changed it at ")
    assert ["weight", "2"] in [line.split() for line in answer.err.splitlines()]
    assert follow_advice(answer).exit == Exit.OK
    assert (node("node-1")["labels"], node("node-1")["weight"]) == ({"a": "1", "b": "2"}, 2)


@pytest.mark.usefixtures("placed")
def test_input_that_cannot_be_is_refused() -> None:
    answer = nodes("register", "node-9", "--zone", "two words", "--label", "a b=1")
    assert answer.exit == Exit.INVALID
    assert "zone 'two words' is not a place" in answer.err


@pytest.mark.usefixtures("placed")
def test_a_dry_run_of_a_drain_shows_what_would_move_and_writes_nothing() -> None:
    answer = nodes("drain", "node-1", "--dry-run")
    header, *rows = answer.out.split("\n\n")[0].splitlines()
    assert answer.exit == Exit.OK
    assert header.split() == ["TO", "NAMESPACE", "SHARDS"]
    counts = {(to, namespace): int(count) for to, namespace, count in map(str.split, rows)}
    assert set(counts) == {("node-2", "orders"), ("node-3", "orders")}
    assert sum(counts.values()) == 30
    assert answer.out.endswith("\nnode-1 owns 30 shards: 30 to be moved away.\n")
    assert (node("node-1")["status"], node("node-1")["version"]) == ("ACTIVE", "1")


@pytest.mark.usefixtures("placed")
def test_a_drain_in_json_names_every_move() -> None:
    document = nodes("drain", "node-1", "--json").document
    assert {move["shardId"] for move in document["preflight"]["moves"]} == {f"s{number:02}" for number in range(30)}
    assert {move["reason"] for move in document["preflight"]["moves"]} == {"OWNER_DRAINING"}
    assert (document["node"]["status"], document["change"]["kind"]) == ("DRAINING", "DRAIN_NODE")


def test_a_drain_takes_the_node_out_of_use_and_says_how_to_go_on(placed: MeshServer) -> None:
    answer = nodes("drain", "node-1", "--all", "--ticket", "CHG-9")
    assert answer.exit == Exit.OK
    assert answer.out.splitlines()[1].split()[:3] == ["orders/s00", "1", "node-1"]
    assert node("node-1")["status"] == "DRAINING"
    assert follow_advice(answer).exit == Exit.OK
    assert [change.kind for change in placed.run(placed.mesh.changes())][-2:] == ["DRAIN_NODE", "PLAN_REBALANCE"]


def test_the_plan_that_a_drain_prints_moves_what_it_counted_and_no_more(placed: MeshServer) -> None:
    """All shards but one are on node-1, and most of them belong elsewhere: that is no business of this plan."""
    shard = placed.run(placed.mesh.shard("s00", "orders"))
    assert shard is not None
    placed.run(placed.mesh.update(patch(shard, owner_node_id="node-2")))
    answer = nodes("drain", "node-2")
    assert "node-2 owns 1 shard: 1 to be moved away." in answer.out
    planned = follow_advice(answer)
    assert planned.out.startswith("Only shards of node-2: all others stay where they are.\n")
    assert planned.out.endswith("1 of 30 shards move (3.33 %): 1 OWNER_DRAINING.\n")
    assert len(omnirelay("mesh", "rebalance", "plan", "--reason", "r", "--json").document["moves"]) > 1


@pytest.mark.usefixtures("placed")
def test_a_drain_at_a_version_that_has_passed_is_refused() -> None:
    nodes("set", "node-1", "--expected-version", 1, "--weight", 2)
    answer = nodes("drain", "node-1", "--expected-version", 1)
    assert answer.exit == Exit.REFUSED
    assert follow_advice(answer).exit == Exit.OK
    assert node("node-1")["status"] == "DRAINING"


@pytest.mark.usefixtures("placed")
def test_a_drain_that_leaves_shards_nowhere_to_go_is_blocked_until_that_is_accepted() -> None:
    for number in (2, 3):
        nodes("drain", f"node-{number}")
    looked = nodes("drain", "node-1", "--dry-run")
    assert looked.exit == Exit.NO
    assert "NO_PLACEMENT" in looked.out
    refused = nodes("drain", "node-1")
    assert (refused.exit, refused.out) == (Exit.REFUSED, "")
    assert refused.err.startswith("Refused: node node-1 cannot be vacated: orders: ")
    assert node("node-1")["status"] == "ACTIVE"
    assert follow_advice(refused).exit == Exit.OK
    assert node("node-1")["status"] == "DRAINING"


@pytest.mark.usefixtures("placed")
def test_a_node_is_removed_once_it_owns_nothing_and_may_come_back() -> None:
    in_use = nodes("remove", "node-1")
    assert in_use.exit == Exit.REFUSED
    assert in_use.err.startswith("Refused: node node-1 still owns 30 shards; drain it")
    removed = nodes("remove", "node-3", "--expected-version", 1, "--json").document
    assert (removed["node"]["status"], removed["node"]["version"]) == ("REMOVED", "2")
    assert (listed(), listed("--status", "removed")) == (["node-1", "node-2"], ["node-3"])
    assert node("node-3")["status"] == "REMOVED"
    assert nodes("remove", "node-3").exit == Exit.NOT_FOUND
    assert nodes("register", "node-3", "--json").document["node"]["version"] == "3"
