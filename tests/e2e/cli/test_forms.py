"""In which form and order lists are printed; shards named as they are printed; servers by name; completion."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from click.shell_completion import get_completion_class

from graph.cli.errors import Exit
from graph.cli.program import omnirelay as program
from tests.support.command_line import omnirelay
from tests.support.mesh_server import MeshServer


@pytest.mark.usefixtures("orders")
def test_yaml_is_what_json_is() -> None:
    for command in (["shards", "list"], ["shards", "get", "orders/s1"], ["namespaces", "list"], ["shards", "history"]):
        written = omnirelay("mesh", *command, "-o", "yaml").out
        assert written.startswith("---\n")
        assert list(yaml.safe_load_all(written)) == omnirelay("mesh", *command, "--json").documents


@pytest.mark.usefixtures("placed")
def test_a_plan_as_yaml_is_the_plan_as_json() -> None:
    made = omnirelay("mesh", "rebalance", "plan", "--reason", "try", "--json").document
    again = omnirelay("mesh", "rebalance", "plan", "--reason", "try", "-o", "yaml").out
    (plan,) = omnirelay("mesh", "rebalance", "list", "-o", "name").out.split()
    shown = omnirelay("mesh", "rebalance", "show", plan, "-o", "yaml").out
    simulated = omnirelay("mesh", "shards", "simulate", "-o", "yaml").out
    assert [text[:4] for text in (again, shown, simulated)] == ["---\n"] * 3
    assert yaml.safe_load(again) == yaml.safe_load(shown) == yaml.safe_load(simulated) == made


@pytest.mark.usefixtures("orders")
def test_names_are_what_other_commands_take() -> None:
    names = omnirelay("mesh", "shards", "list", "-o", "name").out.split()
    assert names == ["orders/s1", "orders/s2", "orders/s3"]
    assert omnirelay("mesh", "shards", "get", names[2], "--json").document["shard"]["ownerNodeId"] == "node-2"


@pytest.mark.usefixtures("orders")
def test_a_wide_table_has_more_columns() -> None:
    narrow = omnirelay("mesh", "shards", "list").out.splitlines()[0].split()
    wide = omnirelay("mesh", "shards", "list", "-o", "wide").out.splitlines()[0].split()
    assert set(wide) - set(narrow) == {"GROUP", "STRATEGY", "REVISION", "CHECKSUM", "CREATED"}


@pytest.mark.usefixtures("placed")
def test_rows_are_in_the_order_of_a_column() -> None:
    omnirelay("mesh", "nodes", "register", "node-10", "--weight", 9, "--reason", "room")

    def nodes(*sort: str) -> list[str]:
        return omnirelay("mesh", "nodes", "list", "-o", "name", "--sort", *sort).out.split()

    assert nodes("node") == ["node-1", "node-2", "node-3", "node-10"]
    assert nodes("-SHARDS") == ["node-1", "node-10", "node-2", "node-3"]
    assert nodes("zone") == ["node-1", "node-3", "node-2", "node-10"]  # without a zone last
    assert nodes("-zone") == ["node-2", "node-1", "node-3", "node-10"]
    answer = omnirelay("mesh", "nodes", "list", "--sort", "size")
    assert (answer.exit, "size is no column: it is one of node, status," in answer.err) == (Exit.INVALID, True)


@pytest.mark.usefixtures("orders")
def test_json_is_in_that_order_too() -> None:
    document = omnirelay("mesh", "shards", "list", "--json", "--sort", "-shard").document
    assert [shard["shardId"] for shard in document["shards"]] == ["s3", "s2", "s1"]
    rows = omnirelay("mesh", "shards", "history", "--json", "--sort", "revision").documents
    assert [row["revision"] for row in rows] == ["1", "2", "3"]


@pytest.mark.usefixtures("orders")
def test_the_summary_of_a_difference_is_not_among_names() -> None:
    answer = omnirelay("mesh", "shards", "diff", "0", "-o", "name", "--sort", "-shard")
    assert answer.out.split() == ["orders/s3", "orders/s2", "orders/s1"]
    assert answer.err.startswith("Revision 0 to 3: 3 created")


@pytest.mark.usefixtures("orders")
def test_one_form_is_asked_for() -> None:
    answer = omnirelay("mesh", "shards", "list", "--json", "-o", "yaml")
    assert (answer.exit, "Say --json or -o yaml, not both." in answer.err) == (Exit.INVALID, True)


@pytest.mark.usefixtures("placed")
def test_every_command_takes_a_shard_as_it_is_printed() -> None:
    why = ("--reason", "x")
    assert omnirelay("mesh", "shards", "explain", "orders/s01").exit == Exit.OK
    assert omnirelay("mesh", "shards", "pin", "orders/s01", "--expected-version", 1, *why).exit == Exit.OK
    assert omnirelay("mesh", "shards", "unpin", "orders/s01", "--expected-version", 2, *why).exit == Exit.OK
    changed = omnirelay("mesh", "shards", "set", "orders/s01", "--expected-version", 3, "--owner", "node-2", *why)
    assert changed.exit == Exit.OK
    assert len(omnirelay("mesh", "shards", "history", "orders/s01", "--json").documents) == 4
    assert len(omnirelay("mesh", "shards", "history", "orders", "--json").documents) == 33
    stale = omnirelay("mesh", "shards", "set", "orders/s01", "--expected-version", 1, "--owner", "node-3", *why)
    assert "omnirelay mesh shards set orders/s01 --expected-version 4" in stale.err
    without = omnirelay("mesh", "shards", "get", "orders")
    assert (without.exit, "NAMESPACE/SHARD" in without.err) == (Exit.INVALID, True)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the contexts of a user who has none."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "omnirelay" / "contexts.json"


def test_a_server_is_asked_by_its_name(orders: MeshServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMNIRELAY_SERVER")
    assert omnirelay("context", "set", "prod", "--server", orders.url).exit == Exit.OK
    assert omnirelay("context", "set", "lost", "--server", "http://127.0.0.1:1").exit == Exit.OK
    assert stat.S_IMODE(home.stat().st_mode) == 0o600
    listing = ("mesh", "shards", "list", "-o", "name")
    assert omnirelay(*listing).exit == Exit.OK  # the first one is in use
    assert omnirelay(*listing, "--context", "lost").exit == Exit.UNAVAILABLE
    omnirelay("context", "use", "lost")
    assert [(one["name"], one["current"]) for one in omnirelay("context", "list", "--json").documents] == [
        ("lost", True),
        ("prod", False),
    ]
    assert omnirelay(*listing).exit == Exit.UNAVAILABLE
    assert omnirelay(*listing, "--context", "prod").exit == Exit.OK
    assert omnirelay(*listing, "--server", orders.url).exit == Exit.OK
    assert omnirelay(*listing, "--server", orders.url, "--context", "prod").exit == Exit.INVALID
    monkeypatch.setenv("OMNIRELAY_CONTEXT", "prod")
    assert omnirelay(*listing).exit == Exit.OK
    monkeypatch.setenv("OMNIRELAY_SERVER", "http://127.0.0.1:1")
    assert omnirelay(*listing).exit == Exit.UNAVAILABLE
    assert omnirelay(*listing, "--context", "prod").exit == Exit.OK
    assert omnirelay(*listing, "--context", "nope").exit == Exit.NOT_FOUND
    assert omnirelay("context", "remove", "lost").exit == Exit.OK
    assert [one["current"] for one in omnirelay("context", "list", "--json").documents] == [False]
    assert omnirelay("context", "use", "lost").exit == Exit.NOT_FOUND


@pytest.mark.parametrize("content", [b"", b"[]", b'{"contexts": 1}', b"\xff", b'{"contexts": {"a": {"server": "x"}}}'])
def test_a_file_of_contexts_that_is_none_is_named(home: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMNIRELAY_SERVER", raising=False)
    home.parent.mkdir()
    home.write_bytes(content)
    answer = omnirelay("mesh", "shards", "list")
    assert (answer.exit, str(home) in answer.err) == (Exit.INVALID, True)


def complete(words: list[str], incomplete: str) -> list[str]:
    """What the shell would offer."""
    of_bash = get_completion_class("bash")
    assert of_bash is not None
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("_OMNIRELAY_COMPLETE", "bash_complete")  # as the script of the shell does
        found = of_bash(program, {}, "omnirelay", "_OMNIRELAY_COMPLETE").get_completions(words, incomplete)
    return [item.value for item in found]


@pytest.mark.usefixtures("placed")
def test_names_of_the_mesh_are_completed() -> None:
    assert complete(["mesh", "shards", "get"], "o") == ["orders"]
    assert complete(["mesh", "shards", "get", "orders"], "s1") == [f"s{number}" for number in range(10, 20)]
    assert complete(["mesh", "shards", "get"], "orders/s2") == [f"orders/s{number}" for number in range(20, 30)]
    assert complete(["mesh", "shards", "list", "--owner"], "") == ["node-1", "node-2", "node-3"]
    assert complete(["mesh", "nodes", "get"], "node-2") == ["node-2"]
    assert complete(["mesh", "freeze"], "") == ["orders"]
    assert complete(["mesh", "nodes", "list", "--sort"], "s") == ["status", "shards"]
    plan = omnirelay("mesh", "rebalance", "plan", "--reason", "x", "-o", "json").document
    (plan_id,) = complete(["mesh", "rebalance", "show"], "")
    assert omnirelay("mesh", "rebalance", "show", plan_id[:6], "--json").document == plan


@pytest.mark.parametrize("server", ["http://127.0.0.1:1", "no address", ""])
def test_what_cannot_be_asked_completes_nothing(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIRELAY_SERVER", server)
    assert complete(["mesh", "shards", "get"], "o") == []
    assert complete(["mesh", "shards", "get", "orders"], "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(shell: str) -> None:
    answer = omnirelay("completion", shell)
    assert answer.exit == Exit.OK
    assert f"_OMNIRELAY_COMPLETE={shell}_complete" in answer.out


@pytest.mark.usefixtures("placed")
def test_the_script_of_a_shell_works_and_says_nothing_else() -> None:
    script = omnirelay("completion", "bash").out
    typed = "COMP_WORDS=(omnirelay mesh nodes get node-3); COMP_CWORD=4; _omnirelay_completion omnirelay"
    asked = f'{script}\n{typed}; echo "$COMPREPLY"'
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(  # noqa: S603 - what we print
        ["/bin/bash", "--norc", "-c", asked],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("node-3\n", "")
