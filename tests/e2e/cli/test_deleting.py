"""delete: several shards at once, at the versions they are at."""

from __future__ import annotations

from pathlib import Path

import pytest

from graph.cli.errors import Exit
from tests.support.command_line import Answer, omnirelay
from tests.support.mesh import new
from tests.support.mesh_server import MeshServer


def delete(*words: object, stdin: bytes = b"") -> Answer:
    return omnirelay("mesh", "shards", "delete", "--reason", "merged away", *words, stdin=stdin)


def left(server: MeshServer) -> set[str]:
    return {"/".join(key) for key in server.run(server.mesh.table())}


@pytest.mark.parametrize("words", [("orders", "s1", "s3"), ("orders/s1", "orders/s3", "orders/s1")])
def test_shards_are_deleted_in_one_change(orders: MeshServer, words: tuple[str, ...]) -> None:
    answer = delete(*words, "--ticket", "CHG-1")
    assert (answer.exit, answer.out) == (Exit.OK, "Deleted 2 shards (change 3).\n")
    assert left(orders) == {"orders/s2"}
    change = orders.run(orders.mesh.changes())[-1]
    assert (change.reason, change.change_ticket, change.shard_count) == ("merged away", "CHG-1", 2)


def test_they_are_named_by_a_file_as_a_list_names_them(orders: MeshServer, tmp_path: Path) -> None:
    orders.run(orders.mesh.create(new("index[3]/1", namespace="orders")))
    file = tmp_path / "names"
    file.write_text(omnirelay("mesh", "shards", "list", "--namespace", "orders", "-o", "name").out)
    assert delete("--file", file, "--json").document["deleted"] == 4
    assert left(orders) == set()


def test_ids_of_one_namespace_come_on_stdin(orders: MeshServer) -> None:
    assert delete("orders", "s1", "--file", "-", stdin=b"s2\n\ns3\n").exit == Exit.OK
    assert left(orders) == set()


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        ((), Exit.INVALID, "Which shards?"),
        (("orders",), Exit.INVALID, "Which shards?"),
        (("orders/s1", "s2"), Exit.INVALID, "s2 is not of the form NAMESPACE/SHARD."),
        (("orders", "s1", "s11"), Exit.NOT_FOUND, "There is no shard orders/s11, and never was one."),
        (("order", "s1"), Exit.NOT_FOUND, "There is no namespace order.\nDid you mean orders?"),
        (("orders", "two words"), Exit.INVALID, "'two words' is not an identifier"),
    ],
)
def test_what_is_not_there_is_named_and_nothing_is_deleted(
    orders: MeshServer, words: tuple[str, ...], exit_code: Exit, message: str
) -> None:
    answer = delete(*words)
    assert answer.exit == exit_code
    assert message in answer.err
    assert len(left(orders)) == 3


def test_what_was_deleted_before_is_not_there_any_more(orders: MeshServer) -> None:
    assert delete("orders/s1").exit == Exit.OK
    answer = delete("orders", "s2", "s1")
    assert (answer.exit, answer.err) == (
        Exit.NOT_FOUND,
        "Not there any more: orders/s1. Nothing was deleted.\n",
    )
    assert len(left(orders)) == 2


def test_every_bad_line_of_a_file_is_named(orders: MeshServer) -> None:
    answer = delete("--file", "-", stdin=b"orders/s1\ns2\norders/a b\n\xff\n")
    assert answer.exit == Exit.INVALID
    assert [line.split(":")[0] for line in answer.err.splitlines()[1:]] == ["  line 2", "  line 3", "  line 4"]
    assert len(left(orders)) == 3


@pytest.mark.parametrize(("typed", "exit_code", "count"), [("n", Exit.NO, 3), ("y", Exit.OK, 1)])
def test_several_are_confirmed_on_a_terminal(
    orders: MeshServer, monkeypatch: pytest.MonkeyPatch, typed: str, exit_code: Exit, count: int
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("graph.cli.shards.delete.on_a_terminal", lambda: True)

    def confirm(text: str, **_: object) -> bool:
        asked.append(text)
        return typed == "y"

    monkeypatch.setattr("click.confirm", confirm)
    assert delete("orders", "s1", "s2").exit == exit_code
    assert asked == ["Delete 2 shards: orders/s1, orders/s2?"]
    assert len(left(orders)) == count
    assert delete("orders", "s3").exit == Exit.OK
    assert len(asked) == 1
