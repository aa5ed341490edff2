"""With --json, what is refused, or fails otherwise, is written as JSON too, by every command that has the option."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest
import yaml  # type: ignore[import-untyped]

from graph.cli.errors import Exit
from graph.cli.program import omnirelay as program
from persistence.model.policy import NamespacePolicy
from tests.support.command_line import omnirelay
from tests.support.mesh_server import MeshServer

_PLAN: Final = "0" * 32

_WHY: Final = ("--reason", "x")

COMMANDS: Final[dict[str, tuple[object, ...]]] = {
    "context list": (),
    "db check": (),
    "db compact": ("--before", "1h", *_WHY),
    "mesh audit check": (),
    "mesh audit verify": (),
    "mesh changes list": (),
    "mesh changes show": (1,),
    "mesh freeze": (),
    "mesh namespaces apply": ("FILE.toml", *_WHY),
    "mesh namespaces get": ("orders",),
    "mesh namespaces list": (),
    "mesh namespaces strategies": (),
    "mesh nodes cordon": ("node-1", *_WHY),
    "mesh nodes drain": ("node-1", *_WHY),
    "mesh nodes evacuate": ("node-1", *_WHY),
    "mesh nodes get": ("node-1",),
    "mesh nodes import": ("FILE.nodes.csv", *_WHY),
    "mesh nodes list": (),
    "mesh nodes register": ("node-1", *_WHY),
    "mesh nodes remove": ("node-1", *_WHY),
    "mesh nodes set": ("node-1", "--expected-version", 1, "--weight", 2, *_WHY),
    "mesh nodes uncordon": ("node-1", *_WHY),
    "mesh nodes undrain": ("node-1", *_WHY),
    "mesh policy set": ("orders", "--ticket-required", *_WHY),
    "mesh policy show": ("orders",),
    "mesh rebalance apply": (_PLAN, *_WHY),
    "mesh rebalance approve": (_PLAN, *_WHY),
    "mesh rebalance list": (),
    "mesh rebalance plan": _WHY,
    "mesh rebalance reject": (_PLAN, *_WHY),
    "mesh rebalance rollback": ("--of-change", 1, *_WHY),
    "mesh rebalance show": (_PLAN,),
    "mesh rebalance stop": (_PLAN, *_WHY),
    "mesh refusals list": (),
    "mesh shards delete": ("orders/s1", *_WHY),
    "mesh shards diff": ("-1",),
    "mesh shards explain": ("orders/s1",),
    "mesh shards export": (),
    "mesh shards get": ("orders/s1",),
    "mesh shards history": (),
    "mesh shards import": ("FILE.csv", *_WHY),
    "mesh shards list": (),
    "mesh shards pin": ("orders/s1", "--expected-version", 1, *_WHY),
    "mesh shards set": ("orders/s1", "--expected-version", 1, "--owner", "node-2", *_WHY),
    "mesh shards simulate": (),
    "mesh shards unpin": ("orders/s1", "--expected-version", 1, *_WHY),
    "mesh shards watch": ("--limit", 1),
    "mesh status": (),
    "mesh thaw": ("orders", *_WHY),
}

NO_JSON: Final = {"mesh audit export"}
"""Its --json is a form of the file, whose lines are verified."""


def commands_with_json(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name in command.commands:
            yield from commands_with_json(command.commands[name], (*path, name))
    elif any("--json" in parameter.opts for parameter in command.params):
        yield " ".join(path)


def test_no_command_is_left_out() -> None:
    assert set(commands_with_json(program)) - NO_JSON == COMMANDS.keys()


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files that commands read, where there is no server, no store, and no good file of contexts."""
    (tmp_path / "omnirelay").mkdir()
    (tmp_path / "omnirelay" / "contexts.json").write_text("[]")
    (tmp_path / "FILE.toml").write_text('[namespaces.orders]\nstrategy = "ring"\n')
    (tmp_path / "FILE.csv").write_text("namespace,shardId,ownerNodeId\norders,s1,node-2\n")
    (tmp_path / "FILE.nodes.csv").write_text("nodeId,weight\nnode-1,3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("OMNIRELAY_SERVER", "http://127.0.0.1:1")
    monkeypatch.setenv("OMNIRELAY_DATA_DIR", str(tmp_path / "store"))
    monkeypatch.delenv("OMNIRELAY_DATABASE_URL", raising=False)
    return tmp_path


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"mesh shards watch"}))  # which waits for a server
def test_every_command_ends_with_an_error_in_json(command: str) -> None:
    answer = omnirelay(*command.split(), *COMMANDS[command], "--json")
    assert answer.exit in (Exit.UNAVAILABLE, Exit.NOT_FOUND, Exit.INVALID), answer
    error = (
        answer.documents[-1]["error"] if "error" in answer.documents[-1] else answer.documents[-1]["refusal"]["error"]
    )
    codes = {int(code): code.name for code in Exit}
    assert (error["code"], error["exitCode"]) == (codes[answer.exit], answer.exit)
    assert error["message"] in answer.err


REFUSED: Final[dict[str, tuple[object, ...]]] = {
    "mesh freeze": ("orders", "--every", "0 25 * * *", "--for", "PT1H", "--zone", "UTC", *_WHY),
    "mesh namespaces apply": ("FILE.toml", *_WHY),
    "mesh nodes cordon": ("node-3", *_WHY),
    "mesh nodes drain": ("node-1", *_WHY),
    "mesh nodes evacuate": ("node-1", *_WHY),
    "mesh nodes register": ("node-1", *_WHY),
    "mesh nodes remove": ("node-1", *_WHY),
    "mesh nodes set": ("node-1", "--expected-version", 9, "--weight", 2, *_WHY),
    "mesh nodes uncordon": ("node-3", *_WHY),
    "mesh policy set": ("orders", "--move-budget-percent", 0, *_WHY),
    "mesh rebalance approve": (_PLAN, *_WHY),
    "mesh rebalance plan": ("--vacate", "nope", *_WHY),
    "mesh rebalance reject": (_PLAN, *_WHY),
    "mesh rebalance rollback": ("--of-change", 99, *_WHY),
    "mesh rebalance stop": (_PLAN, *_WHY),
    "mesh shards delete": ("orders/s01", *_WHY),
    "mesh shards import": ("FILE.csv", *_WHY),
    "mesh shards pin": ("orders/s01", "--expected-version", 9, *_WHY),
    "mesh shards set": ("orders/s01", "--expected-version", 9, "--owner", "node-2", *_WHY),
    "mesh shards unpin": ("orders/s01", "--expected-version", 9, *_WHY),
}


@pytest.fixture
def strict(placed: MeshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MeshServer:
    """The server, whose namespace requires a ticket, and whose s00 is pinned to node-1; node-3 is DRAINING."""
    omnirelay("mesh", "shards", "pin", "orders/s00", "--expected-version", 1, *_WHY)
    omnirelay("mesh", "nodes", "drain", "node-3", *_WHY)
    placed.run(placed.mesh.configure("orders", expected=1, policy=NamespacePolicy(ticket_required=True)))
    (tmp_path / "FILE.toml").write_text('[namespaces.orders]\nstrategy = "ring"\nparameters = {virtualNodes = -1}\n')
    (tmp_path / "FILE.csv").write_text("namespace,shardId,ownerNodeId\norders,s01,node-2\n")
    monkeypatch.chdir(tmp_path)
    return placed


@pytest.mark.usefixtures("strict")
def test_a_refused_write_answers_in_json() -> None:
    for command, arguments in REFUSED.items():
        answer = omnirelay(*command.split(), *arguments, "--json")
        assert answer.exit in (Exit.REFUSED, Exit.INVALID, Exit.NOT_FOUND), (command, answer)
        refusal = answer.documents[-1].get("refusal", answer.documents[-1])
        assert "__typename" in refusal or refusal["error"]["code"] == "REFUSED", (command, answer.out)


@pytest.mark.usefixtures("strict")
def test_each_of_several_that_is_refused_is_written() -> None:
    frozen = omnirelay("mesh", "freeze", "--all", "--until", "2h", "--reason", "x" * 2_000, "--json")
    (written,) = frozen.documents
    assert (frozen.exit, written["name"], written["action"]) == (Exit.INVALID, "orders", "refused")
    assert written["refusal"]["__typename"] == "InvalidInput"
    cordoned = omnirelay("mesh", "nodes", "cordon", "node-2", "node-3", *_WHY, "--json")
    assert [document["node"]["nodeId"] for document in cordoned.documents] == ["node-2", "node-3"]
    assert cordoned.documents[1]["refusal"]["error"]["message"] == "node-3 is DRAINING, not ACTIVE: it stays as it is."


@pytest.mark.usefixtures("strict")
def test_a_watch_of_what_there_is_not_ends_with_an_error_in_json() -> None:
    for missing in (("--owner", "nope"), ("--namespace", "ordres")):
        answer = omnirelay("mesh", "shards", "watch", *missing, "--json")
        assert (answer.exit, answer.document["error"]["code"]) == (Exit.NOT_FOUND, "NOT_FOUND")


@pytest.mark.usefixtures("strict")
def test_a_refusal_is_written_as_yaml_where_that_is_wanted() -> None:
    answer = omnirelay("mesh", "shards", "list", "--namespace", "ordres", "-o", "yaml")
    (document,) = yaml.safe_load_all(answer.out)
    as_json = omnirelay("mesh", "shards", "list", "--namespace", "ordres", "--json")
    assert document == json.loads(as_json.out)
    assert document["error"]["code"] == "NOT_FOUND"
    assert omnirelay("mesh", "shards", "list", "--namespace", "ordres").out == ""
