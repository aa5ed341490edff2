"""rebalance: approved, rejected, applied wave by wave, stopped, resumed, and taken back."""

from __future__ import annotations

import shlex
import signal

import pytest

from graph.cli.errors import Exit
from persistence.model.records import ChangeKind
from tests.support.command_line import Answer, omnirelay, started
from tests.support.mesh import because, patch
from tests.support.mesh_server import MeshServer


def rebalance(*words: object) -> Answer:
    return omnirelay("mesh", "rebalance", *words, "--reason", "vacate")


def owners(server: MeshServer) -> dict[str, str]:
    return {key.shard_id: shard.owner_node_id for key, shard in server.run(server.mesh.table()).items()}


@pytest.fixture
def plan(placed: MeshServer) -> str:
    """A plan that vacates node-1 of thirty shards."""
    assert set(owners(placed).values()) == {"node-1"}
    omnirelay("mesh", "nodes", "drain", "node-1", "--reason", "vacate")
    rebalance("plan")
    (found,) = omnirelay("mesh", "rebalance", "list", "--json").documents
    return str(found["id"])


def test_a_plan_is_approved_shown_and_applied(placed: MeshServer, plan: str) -> None:
    answer = rebalance("approve", plan, "--actor", "bob")
    assert answer.exit == Exit.OK
    assert answer.out.startswith(f"Plan {plan} is approved: 0 of 30 moves made, change ")
    shown = omnirelay("mesh", "rebalance", "show", plan).out
    assert "approval    bob at " in shown
    assert "status      APPROVED\n" in shown
    assert omnirelay(*shlex.split(answer.err.splitlines()[-1])[1:]).exit == Exit.OK
    assert "node-1" not in owners(placed).values()


def test_a_plan_that_was_rejected_is_refused(placed: MeshServer, plan: str) -> None:
    document = rebalance("reject", plan, "--json").document
    assert (document["plan"]["status"], document["change"]["kind"]) == ("REJECTED", "REJECT_PLAN")
    answer = rebalance("apply", plan)
    assert (answer.exit, answer.err.startswith(f"Refused: plan {plan} is REJECTED already, by ops at ")) == (3, True)
    assert set(owners(placed).values()) == {"node-1"}


def test_waves_are_changes_one_after_another(placed: MeshServer, plan: str) -> None:
    answer = rebalance("apply", plan, "--wave-size", 3, "--ticket", "CHG-1")
    assert answer.exit == Exit.OK
    lines = answer.out.splitlines()
    assert lines[0].startswith(f"Plan {plan}: 3 of 30 moves made, revision ")
    assert lines[-1].startswith(f"Plan {plan} is applied: 30 of 30 shards moved (100 %), revision ")
    waves = [one for one in placed.run(placed.mesh.changes()) if one.kind is ChangeKind.APPLY_PLAN]
    assert (len(lines), [wave.shard_count for wave in waves]) == (10, [3] * 10)
    assert {wave.change_ticket for wave in waves} == {"CHG-1"}
    assert rebalance("apply", plan, "--wave-size", 3).err.startswith(f"Refused: plan {plan} is APPLIED already")


def test_a_plan_that_was_stopped_goes_on_with_resume(placed: MeshServer, plan: str) -> None:
    with started("mesh", "rebalance", "apply", plan, "--wave-size", 3, "--pause", 600, "--reason", "r") as applying:
        assert "3 of 30 moves made" in applying.line()
        applying.send(signal.SIGINT)
        left = applying.finish()
    assert (left.exit, left.out) == (Exit.INTERRUPTED, "")
    _, stopped, _, again = left.err.splitlines()
    assert stopped == f"Stopped between waves: 3 of 30 moves of plan {plan} were made."
    answer = rebalance("stop", plan, "--actor", "bob")
    assert answer.out.startswith(f"Plan {plan} is stopped: 3 of 30 moves made, change ")
    refused = omnirelay(*shlex.split(again.replace("--pause 600.0", ""))[1:])
    assert refused.exit == Exit.REFUSED
    assert refused.err.startswith(f"Refused: plan {plan} is STOPPED, by bob at ")
    resumed = omnirelay(*shlex.split(refused.err.splitlines()[-1])[1:])
    assert resumed.exit == Exit.OK
    assert "node-1" not in owners(placed).values()


def test_a_change_is_taken_back_but_for_what_came_later(placed: MeshServer, plan: str) -> None:
    before = owners(placed)
    rebalance("apply", plan, "--ticket", "CHG-1")
    omnirelay("mesh", "nodes", "set", "node-1", "--expected-version", 2, "--status", "active", "--reason", "done")
    shard = placed.run(placed.mesh.shard("s07", "orders"))
    assert shard is not None
    placed.run(placed.mesh.update(patch(shard, owner_node_id="node-9"), change=because("hot")))
    answer = rebalance("rollback", "--of-ticket", "CHG-1")
    assert answer.exit == Exit.OK
    assert "orders/s07  CHANGED_SINCE  " in answer.out
    assert answer.out.endswith("29 shards are given back what they had. 1 is left as it is.\n")
    assert omnirelay(*shlex.split(answer.err.splitlines()[-1])[1:]).exit == Exit.OK
    assert owners(placed) == before | {"s07": "node-9"}
    assert rebalance("rollback", "--of-change", "4711").exit == Exit.NOT_FOUND
    assert rebalance("rollback", "--of-change", 1, "--since", 1).exit == Exit.INVALID
    document = rebalance("rollback", "--since", 30, "--namespace", "orders", "--max-moves", 1, "--json").document
    assert document["format"] == "omnirelay.rollback.v1"
