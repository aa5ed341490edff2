"""rebalance: planned, reviewed, kept in a file, applied as it was reviewed or not at all."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from graph.cli.errors import Exit
from persistence.model.records import Change
from tests.support.command_line import Answer, omnirelay
from tests.support.mesh import because, patch
from tests.support.mesh_server import MeshServer


def plan(*options: object) -> Answer:
    return omnirelay("mesh", "rebalance", "plan", "--reason", "spread out", *options)


def apply(named: object, *options: object, stdin: bytes = b"") -> Answer:
    return omnirelay("mesh", "rebalance", "apply", named, "--reason", "spread out", *options, stdin=stdin)


def show(named: object, *options: object, stdin: bytes = b"") -> Answer:
    return omnirelay("mesh", "rebalance", "show", named, *options, stdin=stdin)


def plans(*options: object) -> list[str]:
    return [one["id"] for one in omnirelay("mesh", "rebalance", "list", "--json", *options).documents]


def owners(server: MeshServer) -> dict[str, str]:
    return {key.shard_id: shard.owner_node_id for key, shard in server.run(server.mesh.table()).items()}


def last_change(server: MeshServer) -> Change:
    return server.run(server.mesh.changes())[-1]


def move(server: MeshServer, shard_id: str, owner: str) -> None:
    shard = server.run(server.mesh.shard(shard_id, "orders"))
    assert shard is not None
    change = because("hot", actor="alice", change_ticket="CHG-7")
    server.run(server.mesh.update(patch(shard, owner_node_id=owner), change=change))


@pytest.fixture
def file(placed: MeshServer, tmp_path: Path) -> Path:
    """A plan for the placed mesh, as `plan --json` wrote it."""
    assert owners(placed)["s00"] == "node-1"
    written = tmp_path / "plan.json"
    written.write_text(plan("--json").out)
    return written


@pytest.mark.usefixtures("placed")
def test_a_plan_shows_moves_loads_and_how_to_apply_it() -> None:
    answer = plan()
    moves, loads, summary = answer.out.split("\n\n")
    assert answer.exit == Exit.OK
    assert moves.splitlines()[0].split() == ["SHARD", "VERSION", "OWNER", "MOVE", "REASON"]
    assert moves.splitlines()[1].split()[1:4] == ["1", "node-1", "->"]
    assert [line.split()[0] for line in loads.splitlines()] == ["NODE", "node-1", "node-2", "node-3"]
    count = int(summary.split()[0])
    assert summary == f"{count} of 30 shards move ({100 * count / 30:.3g} %): {count} PLACEMENT_CHANGED.\n"
    assert omnirelay(*shlex.split(answer.err.splitlines()[-1])[1:]).exit == Exit.OK


def test_a_plan_alone_moves_nothing(placed: MeshServer) -> None:
    before = owners(placed)
    plan("--ticket", "CHG-1", "--actor", "alice")
    change = last_change(placed)
    assert owners(placed) == before
    assert (change.kind, change.actor, change.change_ticket) == ("PLAN_REBALANCE", "alice", "CHG-1")


@pytest.mark.usefixtures("placed")
def test_the_same_mesh_gives_the_same_plan() -> None:
    first, second = plan("--json", "--actor", "alice"), plan("--json")
    assert first.out == second.out
    assert second.err.startswith("The same plan was made already, by alice at ")
    assert len(plans()) == 1


@pytest.mark.usefixtures("placed")
def test_the_most_urgent_moves_come_first_and_the_rest_is_counted() -> None:
    document = plan("--json", "--max-moves", 2, "--namespace", "orders").document
    assert (len(document["moves"]), document["remaining_moves"] > 0) == (2, True)
    assert "more moves did not fit" in plan("--max-moves", 2).out


def test_a_plan_kept_in_a_file_is_applied_as_it_was_reviewed(placed: MeshServer, file: Path) -> None:
    document = json.loads(file.read_text())
    answer = apply(file, "--ticket", "CHG-1")
    assert answer.exit == Exit.OK
    assert f"is applied: {len(document['moves'])} of 30 shards moved" in answer.out
    after = owners(placed)
    assert all(after[move["shard_id"]] == move["to_node_id"] for move in document["moves"])
    assert (last_change(placed).kind, last_change(placed).change_ticket) == ("APPLY_PLAN", "CHG-1")
    assert plan().out == "Nothing to move: 30 shards, each where it belongs or has to stay.\n"


def test_a_plan_is_applied_by_its_id_or_from_stdin(placed: MeshServer, file: Path) -> None:
    document = apply("-", "--json", stdin=file.read_bytes()).document
    assert (document["plan"]["status"], document["change"]["kind"]) == ("APPLIED", "APPLY_PLAN")
    assert document["revision"] == str(last_change(placed).last_revision)
    again = apply(document["plan"]["id"])
    assert again.exit == Exit.REFUSED
    assert again.err.startswith(f"Refused: plan {document['plan']['id']} is APPLIED already, by ops at ")


def test_a_file_that_was_edited_is_refused(placed: MeshServer, file: Path) -> None:
    before = owners(placed)
    file.write_text(file.read_text().replace('"to_node_id":"node-2"', '"to_node_id":"node-3"'))
    for answer in (apply(file), show(file)):
        assert answer.exit == Exit.NOT_FOUND
        assert answer.err.startswith(f"{file} is not a plan of this server")
        assert "edited" in answer.err
    assert owners(placed) == before


@pytest.mark.usefixtures("placed")
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"shards": []}')
    assert apply(other).err.startswith(f"{other} is not a plan.\n")
    assert apply(other).exit == show(tmp_path / "missing.json").exit == Exit.INVALID


def test_a_stale_plan_says_what_has_changed_by_whom_and_to_plan_again(placed: MeshServer, file: Path) -> None:
    first, second = [move["shard_id"] for move in json.loads(file.read_text())["moves"]][:2]
    for shard_id in (first, second):
        move(placed, shard_id, "node-9")
    before = owners(placed)
    answer = apply(file)
    assert (answer.exit, answer.out) == (Exit.REFUSED, "")
    lines = answer.err.splitlines()
    assert lines[1].startswith(f"  orders/{first} is at version 2, not 1 (ownerNodeId): by alice at ")
    assert re.search(r" \(CHG-7: hot\), change \d+$", lines[1])
    assert lines[2].startswith(f"  orders/{second} is at version 2, not 1 (ownerNodeId): by alice at ")
    assert owners(placed) == before
    assert omnirelay(*shlex.split(lines[-1])[1:]).exit == Exit.OK
    assert len(plans()) == 2


def test_a_plan_is_stale_when_a_node_it_counts_on_is_gone(placed: MeshServer, file: Path) -> None:
    omnirelay("mesh", "nodes", "set", "node-2", "--expected-version", 1, "--status", "down", "--reason", "broken")
    answer = apply(file)
    assert answer.exit == Exit.REFUSED
    assert "node node-2 is at version 2, not 1: status ACTIVE -> DOWN, by " in answer.err
    assert " (broken); make a new plan." in answer.err
    assert set(owners(placed).values()) == {"node-1"}


def test_a_plan_without_moves_is_nothing_to_apply(placed: MeshServer, file: Path) -> None:
    apply(file)
    file.write_text(plan("--json").out)
    before = placed.run(placed.mesh.changes())
    answer = apply(file)
    assert answer.exit == Exit.OK
    assert answer.out.endswith("has no moves: there is nothing to apply.\n")
    assert placed.run(placed.mesh.changes()) == before


@pytest.mark.usefixtures("placed")
def test_show_tells_what_a_plan_moves_and_what_became_of_it(file: Path) -> None:
    proposed = show(file)
    assert "applied by  -\n" in proposed.out
    (plan_id,) = plans()
    assert show(plan_id).out == show("-", stdin=file.read_bytes()).out == proposed.out
    assert show(plan_id, "--json").out == file.read_text()
    apply(plan_id)
    applied = show(plan_id).out
    assert "status      APPLIED\n" in applied
    assert "applied by  ops at " in applied


def test_plans_are_listed_the_newest_first(placed: MeshServer, file: Path) -> None:
    (older,) = plans()
    move(placed, "s00", "node-9")
    plan()
    newer, again = plans()
    assert again == older
    assert plans("--limit", 1) == [newer]
    elsewhere = omnirelay("mesh", "rebalance", "list", "--json", "--namespace", "elsewhere")
    assert (elsewhere.exit, elsewhere.document["error"]["code"]) == (Exit.NOT_FOUND, "NOT_FOUND")
    apply(newer)
    assert (plans("--status", "applied"), plans("--status", "SUPERSEDED")) == ([newer], [older])
    row = omnirelay("mesh", "rebalance", "list").out.splitlines()[2].split()
    assert row[:2] == [older, "SUPERSEDED"]
    assert file.exists()


@pytest.mark.usefixtures("placed")
def test_what_is_not_there_is_not_found() -> None:
    assert plan("--namespace", "elsewhere").exit == Exit.NOT_FOUND
    answer = plan("--vacate", "node-x")
    assert answer.exit == Exit.NOT_FOUND
    assert answer.err == "Refused: there is no node node-x.\nWhat nodes there are: omnirelay mesh nodes list\n"
    answer = show("0" * 32)
    assert (answer.exit, answer.err.splitlines()[0]) == (Exit.NOT_FOUND, f"There is no plan {'0' * 32}.")


@pytest.mark.usefixtures("orders")
def test_where_nothing_can_be_placed_there_is_no_plan() -> None:
    answer = plan()
    assert answer.exit == Exit.REFUSED
    assert answer.err.startswith("Refused: no namespace can be placed: orders: ")
    assert "omnirelay mesh nodes list" in answer.err


def test_history_says_why_a_shard_was_moved_and_how_much_moved_with_it(placed: MeshServer) -> None:
    omnirelay("mesh", "nodes", "drain", "node-1", "--reason", "maintenance")
    apply("-", stdin=plan("--json").out.encode())
    assert "node-1" not in owners(placed).values()
    header, row = omnirelay("mesh", "shards", "history", "--limit", 1).out.splitlines()
    assert row[header.index("MOVE REASON") :].split()[:4] == ["OWNER_DRAINING", "-", "100", "%"]
    (document,) = omnirelay("mesh", "shards", "history", "--limit", 1, "--json").documents
    assert document["moveReason"] == "OWNER_DRAINING"
    assert document["change"]["rebalance"]["diffPercent"] == 100

    def found(reason: str) -> int:
        return len(omnirelay("mesh", "shards", "history", "--json", "--move-reason", reason).documents)

    assert (found("owner_draining"), found("OWNER_DOWN")) == (30, 0)
    got = omnirelay("mesh", "shards", "get", "orders", "s00").out
    assert got.splitlines()[-1].endswith(", which moved 100 % of 30 shards")
    assert "100 %" in omnirelay("mesh", "shards", "diff", "-1").out.splitlines()[1]


def test_watch_says_why_a_shard_was_moved(placed: MeshServer) -> None:
    cursor = omnirelay("mesh", "shards", "list", "--json").document["cursor"]
    omnirelay("mesh", "nodes", "drain", "node-1", "--reason", "maintenance")
    apply("-", stdin=plan("--json").out.encode())
    line = omnirelay("mesh", "shards", "watch", "--after", cursor, "--limit", 1).out
    assert "  (OWNER_DRAINING, 100 %)  " in line
    assert placed.url


@pytest.mark.usefixtures("placed")
def test_a_narrowed_plan_that_is_stale_is_planned_anew_as_narrow() -> None:
    omnirelay("mesh", "nodes", "drain", "node-1", "--reason", "maintenance")
    narrowed = plan("--vacate", "node-1", "--only", "owner_draining", "--json")
    omnirelay("mesh", "nodes", "set", "node-2", "--expected-version", 1, "--status", "down", "--reason", "broken")
    answer = apply("-", stdin=narrowed.out.encode())
    again = answer.err.splitlines()[-1]
    assert "rebalance plan --namespace orders --vacate node-1 --only OWNER_DRAINING --reason" in again
    assert omnirelay(*shlex.split(again)[1:]).out.startswith("Only shards of node-1, only for OWNER_DRAINING: ")


@pytest.mark.usefixtures("placed")
def test_a_rollback_that_is_stale_is_planned_anew_as_one(placed: MeshServer) -> None:
    apply("-", "--ticket", "CHG-1", stdin=plan("--json").out.encode())
    back = omnirelay("mesh", "rebalance", "rollback", "--of-ticket", "CHG-1", "--reason", "slow", "--json")
    move(placed, json.loads(back.out)["moves"][0]["shard_id"], "node-9")
    answer = apply("-", stdin=back.out.encode())
    assert "  omnirelay mesh rebalance rollback --of-ticket CHG-1 --reason" in answer.err.splitlines()[-1]
