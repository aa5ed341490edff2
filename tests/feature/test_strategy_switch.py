"""A namespace is switched from ring to locality by editing the settings file under a running server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import Answer
from tests.support.real_server import RealServer, real_server

POLICY = "[namespaces.orders.policy]\nmoveBudgetPercent = 100\n"
RING = 'feed_ring = 1000\n[namespaces.orders]\nstrategy = "ring"\nparameters = {virtualNodes = 64}\n' + POLICY
LOCALITY = 'feed_ring = 1000\n[namespaces.orders]\nstrategy = "locality"\nparameters = {mode = "strict"}\n' + POLICY
REGIONS = {"n1": "eu", "n2": "eu", "n3": "us", "n4": "us"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "omnirelay.toml"
    file.write_text(RING)
    return file


@pytest.fixture
def server(database_url: str, file: Path) -> Iterator[RealServer]:
    with real_server(database_url, "--config", file, environment={"OMNIRELAY_PLAN_PROCESSES": "1"}) as server:
        for node, region in REGIONS.items():
            server.command("nodes", "register", node, "--region", region, "--reason", "mesh is set up")
        shards = [
            {
                "namespace": "orders",
                "shardId": f"s{number:03}",
                "ownerNodeId": "n1",
                "localityHint": "us" if number % 2 else "eu",
            }
            for number in range(200)
        ]
        server.change("CreateShards", "ShardsChanged", shards=shards)
        yield server


def planned(server: RealServer, folder: Path) -> Path:
    """`plan --json > file`."""
    plan = folder / "plan.json"
    plan.write_text(server.command("rebalance", "plan", "--reason", "rebalance", "--json").out)
    return plan


def applied(server: RealServer, plan: Path) -> Answer:
    return server.command("rebalance", "apply", plan, "--reason", "rebalance", "--ticket", "CHG-7")


def namespace(server: RealServer) -> dict[str, object]:
    found: dict[str, object] = server.ask("NamespaceDetails", name="orders")
    return found


def test_an_edit_of_the_settings_switches_the_strategy_of_a_running_server(
    server: RealServer, file: Path, tmp_path: Path
) -> None:
    applied(server, planned(server, tmp_path))
    ring = namespace(server)
    assert (ring["strategy"], ring["version"]) == ("ring", "1")
    start = server.ask("StreamHead")["revision"]

    file.write_text(LOCALITY)
    # The server logs when it has taken the edit over: nothing is waited for but that.
    server.process.message_with("parameters.mode")
    switched = namespace(server)
    assert (switched["strategy"], switched["strategyParameters"], switched["version"]) == (
        "locality",
        {"mode": "strict"},
        "2",
    )
    assert switched["digest"] == ring["digest"], "reconfiguring moves no shard"

    plan = planned(server, tmp_path)
    document = json.loads(plan.read_text())
    reasons = {move["reason"] for move in document["moves"]}
    assert reasons == {"STRATEGY_CHANGED"}
    applied(server, plan)

    after = namespace(server)
    assert after["digest"] != ring["digest"]
    shards = server.command("shards", "list", "--json").document["shards"]
    assert all(REGIONS[shard["ownerNodeId"]] == shard["localityHint"] for shard in shards), "strict is 100 % local"
    history = server.ask("ShardHistory", filter={"changeTicket": "CHG-7"}, first=500)["nodes"]
    rows = [row for row in history if int(row["revision"]) > int(start)]
    assert {(row["shardId"], row["previous"]["ownerNodeId"], row["current"]["ownerNodeId"]) for row in rows} == {
        (move["shard_id"], move["from_node_id"], move["to_node_id"]) for move in document["moves"]
    }
    assert {row["moveReason"] for row in rows} == {"STRATEGY_CHANGED"}
    (change,) = {json.dumps(row["change"]["rebalance"]) for row in rows}
    assert json.loads(change)["diffPercent"] == pytest.approx(100 * len(rows) / 200)
    assert json.loads(planned(server, tmp_path).read_text())["moves"] == []
