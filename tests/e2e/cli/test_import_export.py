"""import and export: a file and the store made equal, all of a batch or nothing of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graph.cli import errors as api_module
from graph.cli.errors import Exit
from persistence.commands.command import Command
from persistence.model.outcomes import Outcome
from persistence.model.policy import NamespacePolicy
from persistence.model.records import Shard
from persistence.service.executor import CommandExecutor
from tests.support.command_line import Answer, omnirelay
from tests.support.mesh import new, patch
from tests.support.mesh_server import MeshServer

HEADER = "namespace,shardId,ownerNodeId,leaderId,capacityHint,localityHint,status,antiAffinityGroup"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


def bring_in(file: Path | str, *options: object, **more: Any) -> Answer:
    return omnirelay("mesh", "shards", "import", file, "--reason", "a new table", *options, **more)


def export(*options: object) -> str:
    answer = omnirelay("mesh", "shards", "export", *options)
    assert answer.exit == Exit.OK
    return answer.out


def slots(count: int, owner: str = "node-a") -> str:
    return "namespace,shardId,ownerNodeId\n" + "".join(f"orders,slot-{n:05},{owner}\n" for n in range(count))


def owners(server: MeshServer) -> dict[str, str]:
    return {key.shard_id: shard.owner_node_id for key, shard in server.run(server.mesh.table()).items()}


def found(server: MeshServer, shard_id: str) -> Shard:
    shard = server.run(server.mesh.shard(shard_id, "orders"))
    assert shard is not None
    return shard


def test_import_creates_changes_and_leaves(orders: MeshServer, file: Path) -> None:
    rows = ("orders,s1,node-9,r1,2.5,eu/a,DRAINING,g", "orders,s2,node-1,,1,,,", "orders,s9,node-9,,,,,")
    file.write_text("\n".join([HEADER, *rows, ""]))
    answer = bring_in(file, "--ticket", "CHG-1", "--actor", "alice")
    assert answer.exit == Exit.OK
    assert answer.out == f"3 rows of {file}: 1 created, 1 updated, 1 equal already, in 2 changes.\n"
    assert owners(orders) == {"s1": "node-9", "s2": "node-1", "s3": "node-2", "s9": "node-9"}
    s1 = found(orders, "s1")
    assert (s1.leader_id, s1.capacity_hint, s1.locality_hint, s1.status) == ("r1", 2.5, "eu/a", "DRAINING")
    assert s1.anti_affinity_group == "g"
    for change in orders.run(orders.mesh.changes())[-2:]:
        assert (change.actor, change.reason, change.change_ticket) == ("alice", "a new table", "CHG-1")


def test_an_import_that_is_repeated_changes_nothing(orders: MeshServer, file: Path) -> None:
    file.write_text(slots(5))
    bring_in(file)
    before = orders.run(orders.mesh.changes())
    document = bring_in(file, "--json").document
    assert (document["created"], document["updated"], document["equal"], document["changes"]) == (0, 0, 5, [])
    assert orders.run(orders.mesh.changes()) == before


def test_columns_that_are_missing_leave_what_is_there(orders: MeshServer, file: Path) -> None:
    before = found(orders, "s1")
    orders.run(orders.mesh.update(patch(before, leader_id="r1", capacity_hint=3.0)))
    file.write_text("shardId,ownerNodeId\ns1,node-9\n")
    assert bring_in(file, "--namespace", "orders").exit == Exit.OK
    after = found(orders, "s1")
    assert (after.owner_node_id, after.leader_id, after.capacity_hint) == ("node-9", "r1", 3.0)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_an_export_is_imported_without_a_difference(orders: MeshServer, tmp_path: Path, form: str) -> None:
    orders.run(orders.mesh.create(new("s8", namespace="orders", leader_id="r", capacity_hint=0.1, locality_hint="eu")))
    file = tmp_path / f"table.{form}"
    file.write_text(export("--format", form))
    document = bring_in(file, "--json").document
    assert (document["rows"], document["equal"]) == (4, 4)


def test_an_export_of_the_past_takes_the_table_back(orders: MeshServer, file: Path) -> None:
    revision = orders.run(orders.mesh.store.stream.head()).revision
    before = export()
    orders.run(orders.mesh.update(patch(found(orders, "s1"), owner_node_id="node-9")))
    assert export() != before
    file.write_text(export("--as-of", revision))
    assert bring_in(file, "--json").document["updated"] == 1
    assert export() == before


@pytest.mark.usefixtures("orders")
def test_an_export_in_json_is_json_lines() -> None:
    first = omnirelay("mesh", "shards", "export", "--json", "--namespace", "orders").documents[0]
    assert list(first) == HEADER.split(",")


@pytest.mark.usefixtures("orders")
def test_stdin_is_a_file_whose_format_must_be_said() -> None:
    assert bring_in("-", stdin=slots(2).encode()).exit == Exit.INVALID
    assert bring_in("-", "--format", "csv", stdin=slots(2).encode()).exit == Exit.OK


def test_nothing_is_written_if_any_line_is_wrong(orders: MeshServer, file: Path) -> None:
    before = orders.run(orders.mesh.changes())
    file.write_text(slots(3_000) + "orders,two words,node-a\n")
    answer = bring_in(file, "--create-namespace", "ring")
    assert answer.exit == Exit.INVALID
    assert answer.err.splitlines()[0] == f"{file} cannot be imported, nothing was written: 1 problem."
    assert answer.err.splitlines()[1].startswith("  line 3,002, shardId: 'two words' is not an identifier")
    assert orders.run(orders.mesh.changes()) == before


def test_an_unknown_namespace_is_an_error_that_says_how_to_create_it(server: MeshServer, file: Path) -> None:
    file.write_text(slots(1))
    answer = bring_in(file)
    assert answer.exit == Exit.NOT_FOUND
    assert answer.err.startswith("There is no namespace orders. Nothing was written.\n")
    assert "--create-namespace STRATEGY" in answer.err
    assert "namespaces apply" in answer.err
    assert server.run(server.mesh.changes()) == []


def test_a_missing_namespace_can_be_created_on_the_way(server: MeshServer, file: Path) -> None:
    file.write_text(slots(1))
    answer = bring_in(file, "--create-namespace", "locality", "--ticket", "CHG-1")
    assert (answer.exit, answer.err) == (Exit.OK, "Created namespace orders (locality).\n")
    assert server.run(server.mesh.namespace("orders")).strategy == "locality"
    assert server.run(server.mesh.changes())[0].change_ticket == "CHG-1"


def test_a_table_made_elsewhere_is_adopted_as_it_is_and_balanced_on_request(server: MeshServer, file: Path) -> None:
    """Three masters own exact ranges of slots; a fourth joins."""
    why = ("--reason", "adopt")
    for number in range(1, 5):
        omnirelay("mesh", "nodes", "register", f"m{number}", *why)
    rows = (f"orders,slot-{slot:03},m{1 + slot // 100}" for slot in range(300))
    file.write_text("\n".join(["namespace,shardId,ownerNodeId", *rows]) + "\n")
    assert bring_in(file, "--create-namespace", "sticky").exit == Exit.OK
    before = owners(server)
    nothing = omnirelay("mesh", "rebalance", "plan", "--json", *why).document
    assert (nothing["moves"], nothing["violations"]) == ([], [])
    balanced = omnirelay("mesh", "rebalance", "plan", "--threshold", 4, "--json", *why).document
    assert (len(balanced["moves"]), balanced["threshold"]) == (72, 4)
    assert {move["to_node_id"] for move in balanced["moves"]} == {"m4"}
    assert owners(server) == before


@pytest.mark.usefixtures("server")
def test_a_strategy_that_is_not_there_is_invalid(file: Path) -> None:
    file.write_text(slots(1))
    answer = bring_in(file, "--create-namespace", "rign")
    assert answer.exit == Exit.INVALID
    assert "did you mean ring?" in answer.err


def test_a_dry_run_counts_and_writes_nothing(orders: MeshServer, file: Path) -> None:
    before = orders.run(orders.mesh.changes())
    file.write_text(f"{slots(2)}orders,s1,node-9\nother,s1,node-9\n")
    answer = bring_in(file, "--dry-run", "--create-namespace", "ring")
    assert answer.err == "Would create namespace other (ring).\n"
    assert answer.out == f"4 rows of {file}: 3 would be created, 1 would be updated, 0 equal already.\n"
    assert orders.run(orders.mesh.changes()) == before


def test_batches_are_as_large_as_asked_for(orders: MeshServer, file: Path) -> None:
    file.write_text(slots(25))
    assert len(bring_in(file, "--batch-size", 10, "--json").document["changes"]) == 3
    assert [change.shard_count for change in orders.run(orders.mesh.changes())[-3:]] == [10, 10, 5]


def on_the_second_batch(monkeypatch: pytest.MonkeyPatch, happening: Callable[[], None], *, before: bool) -> None:
    """Let something happen right before or right after the second batch is carried out."""
    send = api_module.ApiClient.change
    batches: list[str] = []

    def interfered(self: api_module.ApiClient, name: str, given: dict[str, Any]) -> dict[str, Any]:
        batches.append(name)
        if len(batches) == 2 and before:
            happening()
        answer = send(self, name, given)
        if len(batches) == 2 and not before:
            happening()
        return answer

    monkeypatch.setattr(api_module.ApiClient, "change", interfered)


def test_a_conflict_stops_says_how_far_it_got_and_is_mended_by_running_it_again(
    orders: MeshServer, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def somebody_else() -> None:
        orders.run(orders.mesh.create(new("slot-00012", "node-x", namespace="orders")))

    file.write_text(slots(25))
    with monkeypatch.context() as meanwhile:
        on_the_second_batch(meanwhile, somebody_else, before=True)
        answer = bring_in(file, "--batch-size", 10)
    assert answer.exit == Exit.REFUSED
    lines = answer.err.splitlines()
    assert lines[0].startswith("Refused: shard orders/slot-00012 exists already, at version 1: ops created it at ")
    assert lines[1] == "Written before that: 10 shards (change 3)."
    assert lines[2].startswith("Run the same command again to go on")
    document = bring_in(file, "--batch-size", 10, "--json").document
    assert (document["created"], document["updated"], document["equal"]) == (14, 1, 10)


def test_an_import_that_is_larger_than_the_budget_says_in_which_batches_it_fits(server: MeshServer, file: Path) -> None:
    server.run(server.mesh.configure("orders", policy=NamespacePolicy(move_budget_percent=10)))
    file.write_text(slots(25))
    assert bring_in(file).exit == Exit.OK
    file.write_text(slots(25, "node-b"))
    refused = bring_in(file)
    assert refused.exit == Exit.REFUSED
    assert "Run the same command again" not in refused.err
    smaller = next(line for line in refused.err.splitlines() if line.startswith("  omnirelay "))
    assert " --batch-size 3 " in smaller
    assert omnirelay(*shlex.split(smaller)[1:]).exit == Exit.OK
    assert set(owners(server).values()) == {"node-b"}


@pytest.mark.parametrize("before", [True, False], ids=["before a batch is made", "before its answer arrives"])
def test_an_import_that_was_interrupted_goes_on_when_it_is_run_again(
    orders: MeshServer, file: Path, monkeypatch: pytest.MonkeyPatch, *, before: bool
) -> None:
    def ctrl_c() -> None:
        raise KeyboardInterrupt

    file.write_text(slots(25))
    with monkeypatch.context() as meanwhile:
        on_the_second_batch(meanwhile, ctrl_c, before=before)
        answer = bring_in(file, "--batch-size", 10)
    assert answer.exit == Exit.INTERRUPTED
    assert answer.err.startswith("Written before that: 10 shards (change 3).\nRun the same command again to go on")
    written = 10 if before else 20
    document = bring_in(file, "--batch-size", 10, "--json").document
    assert (document["created"], document["equal"]) == (25 - written, written)
    assert len(owners(orders)) == 25 + 3


def test_a_batch_that_was_under_way_is_recognised(
    orders: MeshServer, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run is killed; its last batch commits only after the second run has compared."""
    held: list[Command] = []
    execute = CommandExecutor.execute

    async def hold(_self: CommandExecutor, command: Command) -> Outcome:
        held.append(command)
        raise ConnectionError("killed while the request was under way")

    file.write_text(slots(5))
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(CommandExecutor, "execute", hold)
        assert bring_in(file).exit == Exit.INTERNAL

    async def commit_first(self: CommandExecutor, command: Command) -> Outcome:
        while held:
            await execute(self, held.pop())
        return await execute(self, command)

    monkeypatch.setattr(CommandExecutor, "execute", commit_first)
    document = bring_in(file, "--json").document
    assert (document["created"], document["changes"]) == (0, [])
    assert len(orders.run(orders.mesh.changes())) == 3


def test_an_import_that_was_undone_since_can_be_made_again(orders: MeshServer, file: Path) -> None:
    file.write_text(slots(3))
    bring_in(file)
    table = orders.run(orders.mesh.table())
    orders.run(orders.mesh.delete(*(shard for key, shard in table.items() if key.shard_id.startswith("slot"))))
    document = bring_in(file, "--json").document
    assert (document["created"], len(document["changes"])) == (3, 1)
    assert len(owners(orders)) == 3 + 3


def test_few_rows_of_a_large_namespace_are_compared_without_reading_all_of_it(
    orders: MeshServer, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders.run(orders.mesh.create(*(new(f"slot-{number:05}", namespace="orders") for number in range(2_000))))
    file.write_text(slots(600, owner="node-b"))
    read: list[int] = []
    reader = type(orders.mesh.store.shards)
    page = reader.page

    async def counted(*arguments: Any) -> Any:
        found = await page(*arguments)
        read.append(len(found.value.items))
        return found

    monkeypatch.setattr(reader, "page", counted)
    assert bring_in(file, "--json").document["updated"] == 600
    assert sum(read) == 600


@pytest.mark.usefixtures("server")
def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    answer = bring_in(tmp_path / "missing.csv")
    assert answer.exit == Exit.INVALID
    assert "does not exist" in answer.err


def test_what_a_file_does_not_name_is_pruned_in_its_namespaces_and_nowhere_else(orders: MeshServer, file: Path) -> None:
    orders.run(orders.mesh.configure("other"))
    orders.run(orders.mesh.create(new("s1", namespace="other"), new("s4", namespace="orders")))
    file.write_text("namespace,shardId,ownerNodeId\norders,s1,node-1\norders,s9,node-1\n")
    dry = bring_in(file, "--prune", "--dry-run")
    assert dry.err.splitlines() == [f"Would delete orders/{shard}." for shard in ("s2", "s3", "s4")]
    assert dry.out.endswith("1 would be created, 0 would be updated, 3 would be deleted, 1 equal already.\n")
    assert found(orders, "s2").version == 1
    done = bring_in(file, "--prune", "--batch-size", 2)
    assert done.out.endswith("1 created, 0 updated, 3 deleted, 1 equal already, in 3 changes.\n")
    keys = {"/".join(key) for key in orders.run(orders.mesh.table())}
    assert keys == {"orders/s1", "orders/s9", "other/s1"}
    assert bring_in(file, "--prune", "--json").document["deleted"] == 0


def test_a_file_without_shards_prunes_nothing(orders: MeshServer, file: Path) -> None:
    file.write_text("namespace,shardId,ownerNodeId\n")
    answer = bring_in(file, "--prune")
    assert answer.exit == Exit.INVALID
    assert "names no shard" in answer.err
    assert len(owners(orders)) == 3
