"""nodes: evacuated under rules, in waves, again and again until nothing is left; cordoned and taken into use again."""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Sequence

import pytest

from graph.cli.errors import Exit
from persistence.model.policy import NamespacePolicy
from persistence.model.records import Change, ChangeKind
from persistence.planning.snapshot import PlacementSnapshot
from persistence.planning.what_if import DrainPreflight, preflight
from strategies.registry import Registry
from tests.support.command_line import Answer, omnirelay, started
from tests.support.mesh import because, patch
from tests.support.mesh_server import MeshServer

EVACUATE = ("mesh", "nodes", "evacuate")
WHY = ("--reason", "disk fails", "--poll", 0.01)


def evacuate(*words: object) -> Answer:
    return omnirelay(*EVACUATE, *words, *WHY)


def rebalance(*words: object) -> Answer:
    return omnirelay("mesh", "rebalance", *words)


def last_suggestion(answer: Answer) -> str:
    return [line for line in answer.err.splitlines() if line.startswith("  omnirelay ")][-1]


def follow(suggestion: str) -> Answer:
    return omnirelay(*shlex.split(suggestion)[1:])


def status(node_id: str) -> str:
    return str(omnirelay("mesh", "nodes", "get", node_id, "--json").document["status"])


def owners(server: MeshServer) -> dict[str, str]:
    return {key.shard_id: shard.owner_node_id for key, shard in server.run(server.mesh.table()).items()}


def changes(server: MeshServer, kind: ChangeKind) -> list[Change]:
    return [one for one in server.run(server.mesh.changes()) if one.kind is kind]


def refusals() -> int:
    return len(omnirelay("mesh", "refusals", "list", "--json").documents)


@pytest.fixture
def strict(placed: MeshServer) -> MeshServer:
    """All thirty shards are on node-1; plans take an approval."""
    placed.run(placed.mesh.configure("orders", policy=NamespacePolicy(approval_required=True), expected=1))
    return placed


def test_a_node_is_drained_planned_and_emptied_in_waves(placed: MeshServer) -> None:
    answer = evacuate("node-1", "--ticket", "CHG-1", "--wave-size", 3)
    assert answer.exit == Exit.OK, answer
    lines = answer.out.splitlines()
    assert lines[0].startswith("node-1 is DRAINING now, change ")
    assert ": 3 of 30 moves made, revision " in lines[2]
    assert " is applied: 30 of 30 shards moved (100 %), revision " in lines[-2]
    assert lines[-1] == "Nothing is left on node-1."
    assert "node-1" not in owners(placed).values()
    waves = changes(placed, ChangeKind.APPLY_PLAN)
    assert ([wave.shard_count for wave in waves], {wave.change_ticket for wave in waves}) == ([3] * 10, {"CHG-1"})
    assert follow(last_suggestion(answer)).exit == Exit.OK
    assert status("node-1") == "ACTIVE"


def test_only_its_own_shards_are_moved(placed: MeshServer) -> None:
    shard = placed.run(placed.mesh.shard("s00", "orders"))
    assert shard is not None
    placed.run(placed.mesh.update(patch(shard, owner_node_id="node-2"), change=because("by hand")))
    assert evacuate("node-2").exit == Exit.OK
    assert sum(owner == "node-1" for owner in owners(placed).values()) >= 29
    assert [wave.shard_count for wave in changes(placed, ChangeKind.APPLY_PLAN)] == [1]


def test_what_was_done_is_done_once(placed: MeshServer) -> None:
    assert evacuate("node-1").exit == Exit.OK
    before = placed.run(placed.mesh.changes())
    again = evacuate("node-1")
    assert (again.exit, again.out) == (Exit.OK, "Nothing is left on node-1.\n")
    assert placed.run(placed.mesh.changes()) == before


def test_it_waits_for_an_approval_and_leaves_no_refusal_on_record(strict: MeshServer) -> None:
    with started(*EVACUATE, "node-1", *WHY, "--server", strict.url) as evacuating:
        assert evacuating.message_with("waits:")
        assert "APPROVAL_REQUIRED of orders: not approved" in evacuating.message()
        assert evacuating.message() == "Somebody else than ops, who made it, approves it with:"
        suggestion = evacuating.message()
        assert set(owners(strict).values()) == {"node-1"}
        approved = omnirelay(*shlex.split(suggestion)[1:], "--actor", "bob")
        assert approved.exit == Exit.OK, approved
        answer = evacuating.finish()
    assert answer.exit == Exit.OK, answer
    assert answer.out.endswith("Nothing is left on node-1.\n")
    assert refusals() == 0


def test_without_waiting_it_ends_with_how_to_go_on_and_continues_the_same_plan(strict: MeshServer) -> None:
    ended = evacuate("node-1", "--no-wait")
    assert ended.exit == Exit.REFUSED
    (plan,) = rebalance("list", "--json").documents
    assert f"rebalance approve {plan['id']} --reason 'disk fails'\n" in ended.err
    assert "--no-wait" in last_suggestion(ended)
    assert rebalance("approve", plan["id"], "--reason", "fine", "--actor", "bob").exit == Exit.OK
    assert follow(last_suggestion(ended)).exit == Exit.OK
    assert "node-1" not in owners(strict).values()
    assert [one["id"] for one in rebalance("list", "--json").documents] == [plan["id"]]
    assert refusals() == 0


def test_it_waits_for_the_end_of_a_freeze_and_goes_on_when_it_is_thawed(placed: MeshServer) -> None:
    assert omnirelay("mesh", "freeze", "orders", "--until", "2h", "--reason", "tonight").exit == Exit.OK
    with started(*EVACUATE, "node-1", *WHY) as evacuating:
        message = evacuating.message_with("FREEZE of orders")
        assert " (tonight). Wait until 20" in message
        assert omnirelay("mesh", "thaw", "orders", "--reason", "morning").exit == Exit.OK
        assert evacuating.finish().exit == Exit.OK
    assert "node-1" not in owners(placed).values()
    assert refusals() == 0


def test_a_window_that_is_full_is_named_with_the_time_when_there_is_room(placed: MeshServer) -> None:
    placed.run(placed.mesh.configure("orders", policy=NamespacePolicy(window_moves=2), expected=1))
    ended = evacuate("node-1", "--no-wait")
    assert ended.exit == Exit.REFUSED
    assert ": 2 of 30 moves made, " in ended.out
    assert "WINDOW_BUDGET of orders: " in ended.err
    assert re.search(r"^  orders has room for the next move at 20\S+Z\.$", ended.err, re.MULTILINE)
    assert refusals() == 0


def test_shards_of_a_node_that_is_down_are_moved_during_a_freeze(placed: MeshServer) -> None:
    assert omnirelay("mesh", "freeze", "orders", "--until", "2h", "--reason", "tonight").exit == Exit.OK
    answer = evacuate("node-1", "--down")
    assert answer.exit == Exit.OK, answer
    assert answer.out.startswith("node-1 is DOWN now, change ")
    assert [wave.shard_count for wave in changes(placed, ChangeKind.APPLY_PLAN)] == [30]


def test_ctrl_c_breaks_no_wave_off_and_the_same_command_goes_on(placed: MeshServer) -> None:
    with started(*EVACUATE, "node-1", *WHY, "--pause", 600, "--wave-size", 3) as evacuating:
        while "moves made" not in evacuating.line():
            pass
        evacuating.send(signal.SIGINT)
        left = evacuating.finish()
    assert left.exit == Exit.INTERRUPTED
    again = last_suggestion(left)
    assert "--pause 600.0" in again
    done = follow(again.replace("--pause 600.0", ""))
    assert done.exit == Exit.OK, done
    assert "is APPLYING: 3 of 30 moves made." in done.out
    assert len(changes(placed, ChangeKind.PLAN_REBALANCE)) == 1


def test_a_plan_that_was_stopped_is_resumed_only_on_request(placed: MeshServer) -> None:
    with started(*EVACUATE, "node-1", *WHY, "--pause", 600, "--wave-size", 2) as evacuating:
        while "moves made" not in evacuating.line():
            pass
        evacuating.send(signal.SIGINT)
        evacuating.finish()
    (plan,) = rebalance("list", "--json").documents
    stopped = rebalance("stop", plan["id"], "--reason", "latencies rise", "--actor", "bob")
    resume = last_suggestion(stopped)
    assert "--wave-size 2 --resume --reason 'disk fails'" in resume
    assert "latencies" not in resume
    refused = evacuate("node-1", "--wave-size", 2)
    assert (refused.exit, f"plan {plan['id']} is STOPPED, by bob" in refused.err) == (Exit.REFUSED, True)
    done = follow(last_suggestion(refused))
    assert done.exit == Exit.OK, done
    assert {wave.shard_count for wave in changes(placed, ChangeKind.APPLY_PLAN)} == {2}


def test_a_plan_that_does_not_fit_any_more_is_made_anew(strict: MeshServer) -> None:
    evacuate("node-1", "--no-wait")
    (plan,) = rebalance("list", "--json").documents
    omnirelay("mesh", "nodes", "set", "node-3", "--expected-version", 1, "--status", "down", "--reason", "dead")
    again = evacuate("node-1", "--no-wait")
    assert again.exit == Exit.REFUSED
    assert f"Planning again: plan {plan['id']} does not fit any more: " in again.err
    (newest,) = [one for one in rebalance("list", "--json").documents if one["id"] != plan["id"]]
    rebalance("approve", newest["id"], "--reason", "fine", "--actor", "bob")
    assert evacuate("node-1", "--no-wait").exit == Exit.OK
    assert set(owners(strict).values()) == {"node-2"}


def test_a_plan_that_was_rejected_ends_it(strict: MeshServer) -> None:
    with started(*EVACUATE, "node-1", *WHY) as evacuating:
        evacuating.message_with("waits:")
        (plan,) = rebalance("list", "--json").documents
        rebalance("reject", plan["id"], "--reason", "not tonight", "--actor", "bob")
        answer = evacuating.finish()
    assert answer.exit == Exit.REFUSED
    assert "is REJECTED already, by bob" in answer.err
    assert set(owners(strict).values()) == {"node-1"}


def test_what_force_does_not_go_past_is_not_waited_for(strict: MeshServer) -> None:
    answer = evacuate("node-1", "--force-reason", "it burns")
    assert (answer.exit, set(owners(strict).values())) == (Exit.REFUSED, {"node-1"})
    assert "APPROVAL_REQUIRED of orders: not approved" in answer.err
    assert refusals() == 1


def test_what_had_to_stay_is_listed(placed: MeshServer) -> None:
    omnirelay("mesh", "shards", "pin", "orders/s07", "--expected-version", 1, "--reason", "cache is warm")
    blocked = evacuate("node-1")
    assert (blocked.exit, status("node-1")) == (Exit.REFUSED, "ACTIVE")
    answer = follow(last_suggestion(blocked))
    assert answer.exit == Exit.NO, answer
    assert "PINNED_TO_UNAVAILABLE  orders/s07" in answer.out
    assert answer.out.endswith("node-1 is DRAINING and owns 1 shard.\n")
    assert [shard for shard, owner in owners(placed).items() if owner == "node-1"] == ["s07"]
    omnirelay("mesh", "shards", "unpin", "orders/s07", "--expected-version", 2, "--reason", "cold by now")
    assert follow(last_suggestion(answer)).exit == Exit.OK


@pytest.mark.usefixtures("placed")
def test_several_at_once_or_a_zone() -> None:
    looked = evacuate("--zone", "eu/a", "node-2", "--dry-run")
    assert looked.out == "node-1, node-2: 30 shards, and leadership of 0; 30 moves to be made.\n"
    assert (looked.exit, status("node-1")) == (Exit.OK, "ACTIVE")
    *waves, last = evacuate("--zone", "eu/a", "node-2", "--json").documents
    assert [node["nodeId"] for node in last["nodes"]] == ["node-1", "node-2"]
    assert {node["status"] for node in last["nodes"]} == {"DRAINING"}
    assert ([node["shardCount"] for node in last["nodes"]], last["left"]) == ([0, 0], [])
    assert waves[-1]["plan"]["status"] == "APPLIED"


@pytest.mark.usefixtures("placed")
def test_what_is_in_the_way_of_many_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[Sequence[str]] = []

    def counted(snapshot: PlacementSnapshot, node_ids: Sequence[str], strategies: Registry) -> DrainPreflight:
        looked_at.append(tuple(node_ids))
        return preflight(snapshot, node_ids, strategies)

    monkeypatch.setattr("persistence.service.rebalancer.preflight", counted)
    assert evacuate("--zone", "eu/a", "--zone", "eu/b").exit == Exit.OK
    assert looked_at == [("node-1", "node-2")]
    assert (status("node-1"), status("node-2")) == ("DRAINING", "DRAINING")


def test_a_namespace_that_cannot_be_placed_is_left_with_why(placed: MeshServer) -> None:
    full = {"maxShardsPerNode": 1}
    placed.run(placed.mesh.configure("orders", parameters=full, expected=1))
    placed.run(placed.mesh.configure("search"))
    answer = evacuate("node-1", "--accept-blockers")
    assert answer.exit == Exit.NO, answer
    assert "NO_PLACEMENT" in answer.out
    document = evacuate("node-1", "--json").document
    assert [one["namespace"] for one in document["left"]][:1] == ["orders"]


@pytest.mark.usefixtures("placed")
def test_what_is_not_there_is_named() -> None:
    assert evacuate().exit == Exit.INVALID
    assert evacuate("node-9").err.startswith("There is no node node-9.\n")
    assert evacuate("--zone", "eu/z").err.startswith("No node is in zone eu/z.\n")


@pytest.mark.usefixtures("placed")
def test_nodes_are_cordoned_and_taken_into_use_again_several_at_once() -> None:
    def nodes(verb: str, *words: object) -> Answer:
        return omnirelay("mesh", "nodes", verb, *words, "--reason", "upgrade")

    answer = nodes("cordon", "node-2", "--zone", "a")
    assert answer.exit == Exit.OK
    first, *_ = answer.out.splitlines()
    assert first.startswith("node-1 is CORDONED now, change ")
    assert first.endswith(": it owns 30 shards.")
    assert [status(f"node-{number}") for number in (1, 2, 3)] == ["CORDONED"] * 3
    assert nodes("cordon", "node-1").out == "node-1 is CORDONED already: it owns 30 shards.\n"
    assert nodes("uncordon", "node-1", "node-2").exit == Exit.OK
    assert nodes("drain", "node-3").exit == Exit.OK
    mixed = nodes("uncordon", "node-3", "node-1")
    assert (mixed.exit, mixed.out) == (Exit.REFUSED, "node-1 is ACTIVE already: it owns 30 shards.\n")
    assert mixed.err.startswith("node-3 is DRAINING, not CORDONED: it stays as it is.\n")
    assert follow(last_suggestion(mixed)).exit == Exit.OK
    (document,) = nodes("undrain", "node-3", "--json").documents
    assert (document["node"]["status"], document["change"]) == ("ACTIVE", None)
