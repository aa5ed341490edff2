"""Tables of other systems, by way of a server: in, out again equal, and wrong ones refused with their lines."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

import pytest

from graph.cli.errors import Exit
from graph.cli.formats.registry import FOREIGN
from tests.support.command_line import Answer, omnirelay
from tests.support.mesh_server import MeshServer

TABLES: Final = Path(__file__).parents[2] / "golden" / "tables"

NAMES: Final = ("redis.txt", "kafka.json", "elasticsearch.txt", "cassandra.txt", "ceph.txt")


def bring_in(name: str, *options: object) -> Answer:
    form = Path(name).stem
    create = ("--create-namespace", "sticky", "--namespace", form, "--reason", "adopt")
    return omnirelay("mesh", "shards", "import", TABLES / name, "--format", form, *create, *options)


@pytest.mark.usefixtures("server")
def test_the_tables_of_five_systems_come_in_and_go_out_again_equal() -> None:
    for name in NAMES:
        form = Path(name).stem
        assert bring_in(name).exit == Exit.OK, name
        like = ("--like", TABLES / name) if FOREIGN[form].has_more else ()
        out = omnirelay("mesh", "shards", "export", "--namespace", form, "--format", form, *like)
        assert out.exit == Exit.OK, name
        assert out.out == (TABLES / name).read_text("utf-8")
        again = bring_in(name, "--json").document
        assert (again["created"], again["updated"]) == (0, 0), name


def test_ids_of_other_systems_can_be_looked_up_moved_and_typed_as_they_are_printed(server: MeshServer) -> None:
    for name in ("elasticsearch.txt", "cassandra.txt"):
        assert bring_in(name).exit == Exit.OK
    for shard in ("elasticsearch/orders[0]/1", "cassandra/-9223372036854775808", "elasticsearch/.kibana_1[0]"):
        got = omnirelay("mesh", "shards", "get", shard)
        assert got.exit == Exit.OK
        assert shard in got.out
    moved = omnirelay(
        *("mesh", "shards", "set", "--expected-version", 1, "--owner", "10.0.0.12", "--reason", "try"),
        *("--", "cassandra", "-9223372036854775808"),
    )
    assert moved.exit == Exit.OK
    stale = omnirelay(
        *("mesh", "shards", "set", "--expected-version", 1, "--owner", "10.0.0.13", "--reason", "try"),
        *("--", "cassandra", "-9223372036854775808"),
    )
    assert stale.exit == Exit.REFUSED
    retry = shlex.split(stale.err.splitlines()[-1])
    assert omnirelay(*retry[1:]).exit == Exit.OK
    found = server.run(server.mesh.shard("-9223372036854775808", "cassandra"))
    assert found is not None
    assert found.owner_node_id == "10.0.0.13"


@pytest.mark.usefixtures("server")
def test_a_csv_of_wild_ids_is_read_back_whether_a_spreadsheet_is_kept_off_them_or_not(tmp_path: Path) -> None:
    assert bring_in("cassandra.txt").exit == Exit.OK
    for options in ((), ("--raw",)):
        file = tmp_path / "table.csv"
        file.write_text(omnirelay("mesh", "shards", "export", *options).out)
        again = omnirelay("mesh", "shards", "import", file, "--reason", "again", "--json").document
        assert (again["rows"], again["equal"]) == (5, 5)


@pytest.mark.usefixtures("server")
def test_a_table_with_a_bad_line_writes_nothing_and_names_it(tmp_path: Path) -> None:
    for name in NAMES:
        form = Path(name).stem
        file = tmp_path / name
        file.write_text((TABLES / name).read_text("utf-8") + "and what is this?\n")
        answer = omnirelay("mesh", "shards", "import", file, "--format", form, "--namespace", form, "--reason", "r")
        assert answer.exit == Exit.INVALID, name
        last = len(file.read_text().splitlines())
        assert f"  line {last}" in answer.err, answer.err
        if FOREIGN[form].has_more:
            out = omnirelay("mesh", "shards", "export", "--namespace", "none", "--format", form, "--like", file)
            assert (out.exit, out.out) == (Exit.INVALID, "")
            assert out.err.startswith(f"{file} cannot be used: 1 problem.")


@pytest.mark.usefixtures("orders")
def test_options_that_do_not_go_together_are_wrong_usage() -> None:
    for words in (
        ("import", TABLES / "redis.txt", "--format", "redis", "--reason", "r"),
        ("export", "--format", "redis"),
        ("export", "--format", "redis", "--namespace", "orders", "--json"),
        ("export", "--format", "kafka", "--namespace", "orders", "--like", TABLES / "kafka.json"),
        ("export", "--like", TABLES / "kafka.json"),
    ):
        assert omnirelay("mesh", "shards", *words).exit == Exit.INVALID
    out = omnirelay("mesh", "shards", "export", "--format", "redis", "--namespace", "orders")
    assert (out.exit, out.out) == (Exit.INVALID, "")
    assert out.err.startswith("orders/s1 cannot be written in this format: slots are numbers from 0 to 16383.\n")
