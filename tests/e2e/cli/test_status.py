"""status: one screen, and an exit code, of what needs attention."""

from __future__ import annotations

import pytest

from graph.cli.errors import Exit
from graph.cli.status import read_metrics
from persistence.model.policy import NamespacePolicy, RecurringFreeze
from tests.support.command_line import omnirelay
from tests.support.mesh import Mesh, new, patch
from tests.support.mesh_server import MeshServer


def codes() -> list[str]:
    return [problem["code"] for problem in omnirelay("mesh", "status", "--json").document["problems"]]


@pytest.mark.usefixtures("placed")
def test_a_sound_mesh_needs_no_attention() -> None:
    answer = omnirelay("mesh", "status")
    assert (answer.exit, answer.err) == (Exit.OK, "")
    lines = answer.out.splitlines()
    facts = dict(line.split("  ", 1) for line in lines if "  " in line)
    assert facts["nodes"].strip() == "3 ACTIVE"
    assert facts["shards"].strip() == "30 in 1 namespace"
    assert facts["you"].strip() == "anyone: this server needs no token"
    assert lines[-1] == "Nothing needs attention."
    assert len(lines) < 24


def test_owners_and_leaders_that_are_not_registered_are_counted_and_named(placed: MeshServer) -> None:
    async def lead(mesh: Mesh) -> None:
        shard = await mesh.shard("s03", "orders")
        assert shard is not None
        await mesh.update(patch(shard, leader_id="ghost"))
        await mesh.create(new("s99", "gone", namespace="orders"))

    placed.run(lead(placed.mesh))
    answer = omnirelay("mesh", "status")
    assert answer.exit == Exit.NO
    assert "  gone is not registered, and owns 1 shard: orders/s99.\n" in answer.out
    assert "  ghost is not registered, and leads 1: orders/s03.\n" in answer.out
    assert codes() == ["NODE_NOT_REGISTERED", "NODE_NOT_REGISTERED"]


@pytest.mark.usefixtures("placed")
@pytest.mark.parametrize(("node_status", "code"), [("down", "NODE_DOWN"), ("draining", "NODE_DRAINING")])
def test_a_node_that_is_to_be_vacated_needs_attention_while_it_has_shards(node_status: str, code: str) -> None:
    for node in ("node-1", "node-2"):
        omnirelay("mesh", "nodes", "set", node, "--expected-version", 1, "--status", node_status, "--reason", "x")
    assert codes() == [code]
    document = omnirelay("mesh", "status", "--json").document
    assert document["unfit"] == [{"nodeId": "node-1", "status": node_status.upper(), "owns": 30, "leads": 0}]


@pytest.mark.usefixtures("placed")
def test_freezes_and_open_plans_are_shown_and_need_no_attention() -> None:
    omnirelay("mesh", "freeze", "orders", "--until", "2h", "--reason", "release night")
    omnirelay("mesh", "freeze", "orders", "--from", "3h", "--until", "4h", "--reason", "later")
    omnirelay("mesh", "rebalance", "plan", "--reason", "balance")
    answer = omnirelay("mesh", "status")
    assert answer.exit == Exit.OK
    assert "(release night)" in answer.out
    assert "(later)" not in answer.out
    document = omnirelay("mesh", "status", "--json").document
    assert document["openPlans"]["count"] == 1
    assert document["openPlans"]["newest"][0]["status"] == "PROPOSED"


@pytest.mark.usefixtures("placed")
def test_a_plan_that_found_nothing_to_do_is_not_open() -> None:
    for node in ("node-2", "node-3"):
        omnirelay("mesh", "nodes", "remove", node, "--expected-version", 1, "--reason", "not needed")
    assert "Nothing to move" in omnirelay("mesh", "rebalance", "plan", "--reason", "balance").out
    assert omnirelay("mesh", "status", "--json").document["openPlans"]["count"] == 0
    (plan,) = omnirelay("mesh", "rebalance", "list", "--json").documents
    assert plan["status"] == "NOTHING_TO_DO"
    assert omnirelay("mesh", "rebalance", "list", "--status", "nothing_to_do", "-o", "name").out.split() == [plan["id"]]


def test_a_freeze_that_comes_again_is_shown_while_it_lasts(placed: MeshServer) -> None:
    weekly = RecurringFreeze("0 0 * * *", "P1D", "Etc/UTC", "every day")
    later = RecurringFreeze("0 0 1 1 *", "PT1M", "Etc/UTC", "new year")
    policy = NamespacePolicy(move_budget_percent=100, recurring_freezes=(weekly, later))
    placed.run(placed.mesh.configure("orders", expected=1, policy=policy))
    document = omnirelay("mesh", "status", "--json").document
    assert [(freeze["namespace"], freeze["reason"]) for freeze in document["freezes"]] == [("orders", "every day")]


def test_of_very_many_shards_owners_are_counted_without_reading_each(
    placed: MeshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed.run(placed.mesh.create(new("s99", "gone", namespace="orders")))
    monkeypatch.setattr("graph.cli.status._SCANNED", 10)
    answer = omnirelay("mesh", "status")
    assert "gone is not registered, and owns 1 shard: orders/s99.\n" in answer.out
    assert "--all looks at every one" in answer.out
    assert "--all" not in omnirelay("mesh", "status", "--all").out


def test_the_server_says_its_version_and_how_far_it_is_behind(placed: MeshServer) -> None:
    server = omnirelay("mesh", "status", "--json").document["server"]
    assert server["url"] == placed.url
    assert server["lag"] == [{"worker": None, "revisions": 0}]
    assert server["version"]


@pytest.mark.usefixtures("orders")
def test_in_a_mesh_without_registered_nodes_owners_need_not_be_registered() -> None:
    answer = omnirelay("mesh", "status")
    assert (answer.exit, "Nothing needs attention." in answer.out) == (Exit.OK, True)


def test_each_worker_says_how_far_it_is_behind() -> None:
    text = (
        'omnirelay_build_info{python_version="3.11.2",version="1.2.3"} 1.0\n'
        'omnirelay_feed_lag_revisions{worker="1"} 0.0\nomnirelay_feed_lag_revisions{worker="2"} 12.0\n'
        'omnirelay_feed_lag_revisions{worker="3"} NaN\n'
    )
    lag = [{"worker": "1", "revisions": 0}, {"worker": "2", "revisions": 12}]
    assert read_metrics(text) == {"version": "1.2.3", "lag": lag}
    assert read_metrics("<html>") == {"version": None, "lag": None}


def test_without_a_server_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIRELAY_SERVER", "http://127.0.0.1:1")
    assert omnirelay("mesh", "status").exit == Exit.UNAVAILABLE
