"""explain, simulate, strategies: why it is as it is, and what if it were not."""

from __future__ import annotations

import pytest

from graph.cli.errors import Exit
from tests.support.command_line import Answer, omnirelay
from tests.support.mesh_server import MeshServer


def simulate(*options: object) -> Answer:
    return omnirelay("mesh", "shards", "simulate", *options)


def explain(shard_id: str, *options: object) -> Answer:
    return omnirelay("mesh", "shards", "explain", "orders", shard_id, *options)


def rebalance() -> None:
    """Every shard to where its strategy places it."""
    document = omnirelay("mesh", "rebalance", "plan", "--reason", "r", "--json").out
    assert omnirelay("mesh", "rebalance", "apply", "-", "--reason", "r", stdin=document.encode()).exit == Exit.OK


@pytest.mark.usefixtures("placed")
def test_a_shard_is_explained_by_a_summary_facts_and_candidates() -> None:
    rebalance()
    owner = explain("s00", "--json").document["ownerNodeId"]
    sentence, facts, candidates = explain("s00").out.split("\n\n")
    assert sentence == f"orders/s00 is on {owner}, where rendezvous places it."
    assert ["target", owner] in [line.split() for line in facts.splitlines()]
    header, first, *rest = [line.split() for line in candidates.splitlines()]
    assert header == ["RANK", "NODE", "STATUS", "WEIGHT", "REGION", "ZONE", "OBSTACLE"]
    assert first[:4] == ["1", owner, "ACTIVE", "1"]
    assert len(rest) == 2


@pytest.mark.usefixtures("placed")
def test_a_shard_that_has_to_move_says_why_and_where_to() -> None:
    omnirelay("mesh", "nodes", "drain", "node-1", "--reason", "maintenance")
    document = explain("s00", "--json").document
    assert document["move"]["reason"] == "OWNER_DRAINING"
    assert document["targetNodeId"] != "node-1"
    answer = explain("s00").out
    assert answer.startswith("orders/s00 is on node-1, rendezvous places it on ")
    assert "The next plan moves it: node-1 is DRAINING.\n" in answer
    assert answer.splitlines()[-1].split()[:2] == ["-", "node-1"]
    assert answer.endswith("it is DRAINING\n")


@pytest.mark.usefixtures("placed")
def test_a_shard_that_stays_says_what_keeps_it() -> None:
    omnirelay("mesh", "nodes", "set", "node-1", "--expected-version", 1, "--status", "cordoned", "--reason", "r")
    simulated = [move["shard_id"] for move in simulate("--node", "node-1,status=active", "--json").document["moves"]]
    answer = explain(simulated[0])
    assert "It stays, because node-1 is cordoned.\n" in answer.out
    assert "stays because  CORDONED\n" in answer.out


@pytest.mark.usefixtures("placed")
def test_what_is_not_there_is_not_explained() -> None:
    missing = explain("s99")
    assert (missing.exit, missing.out) == (Exit.NOT_FOUND, "")
    assert (
        missing.err == "There is no shard orders/s99.\nWhat there is: omnirelay mesh shards list --namespace orders\n"
    )
    assert omnirelay("mesh", "shards", "explain", "elsewhere", "s00").exit == Exit.NOT_FOUND


def test_a_node_that_is_supposed_gone_gives_everything_away_and_nothing_is_written(placed: MeshServer) -> None:
    rebalance()
    before = placed.run(placed.mesh.changes())
    document = simulate("--without", "node-2", "--json").document
    assert {move["from_node_id"] for move in document["moves"]} == {"node-2"}
    assert {move["reason"] for move in document["moves"]} == {"OWNER_REMOVED"}
    answer = simulate("--without", "node-2")
    count = len(document["moves"])
    assert answer.out.endswith(
        f"\n{count} of 30 shards would move ({100 * count / 30:.3g} %): {count} OWNER_REMOVED.\n"
    )
    assert placed.run(placed.mesh.changes()) == before


@pytest.mark.usefixtures("placed")
def test_a_node_that_is_supposed_there_takes_its_share() -> None:
    rebalance()
    moves = simulate("--node", "node-4,weight=3,region=us,zone=a,label.disk=ssd", "--json").document["moves"]
    assert moves
    assert {move["to_node_id"] for move in moves} == {"node-4"}


@pytest.mark.usefixtures("placed")
def test_another_strategy_with_its_parameters_can_be_supposed() -> None:
    rebalance()
    document = simulate(
        *("--namespace", "orders", "--strategy", "ring", "--parameter", "virtualNodes=16"),
        *("--parameter", "selector=region=eu", "--json"),
    ).document
    assert document["namespaces"][0]["strategy"] == "ring"
    assert {load["node_id"]: load["shards_after"] for load in document["loads"]}["node-3"] == 0
    plain = simulate("--json").document
    assert (plain["moves"], plain["namespaces"][0]["strategy"]) == ([], "rendezvous")


@pytest.mark.usefixtures("placed")
@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--strategy", "rign"], Exit.INVALID, "did you mean ring?"),
        (["--parameter", "virtualNodes=16"], Exit.INVALID, "need a strategy that they belong to"),
        (["--strategy", "ring", "--parameter", "virtualNodes=0"], Exit.INVALID, "a whole number from 1 to 4,096"),
        (["--node", "node-1", "--without", "node-1"], Exit.INVALID, "is named twice"),
        (["--node", "node-1,weight=x"], Exit.INVALID, "weight must be a whole number"),
        (["--namespace", "elsewhere"], Exit.NOT_FOUND, "There is no namespace elsewhere."),
        (["--without", "node-1", "--without", "node-2", "--without", "node-3"], Exit.REFUSED, "orders: "),
    ],
)
def test_what_cannot_be_supposed_says_what_is_wrong(options: list[str], code: Exit, words: str) -> None:
    answer = simulate(*options)
    assert (answer.exit, answer.out) == (code, "")
    assert words in answer.err


@pytest.mark.usefixtures("server")
def test_strategies_are_listed_with_their_parameters() -> None:
    answer = omnirelay("mesh", "namespaces", "strategies")
    strategies, parameters = answer.out.split("\n\n")
    assert ["rendezvous", "1", "MINIMAL"] in [line.split() for line in strategies.splitlines()]
    rows = [line.split() for line in parameters.splitlines()]
    assert ["virtualNodes", "ring", "160"] in [row[:3] for row in rows]
    assert [row[0] for row in rows].count("selector") == 1
    documents = omnirelay("mesh", "namespaces", "strategies", "--json").documents
    assert [one["name"] for one in documents][:2] == ["rendezvous", "ring"]
