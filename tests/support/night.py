"""docs/operations/a-night.md: its commands, typed in the order of the page at a server of their own.

The page is the source of the commands, and what it prints is what a run printed (`make transcripts`). A plan's id in a
command, or `PLAN` before the first recording, stands for the id that was printed last.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Final
from unittest import mock

from graph.auth.principal import Scope
from tests.support.command_line import Answer, omnirelay
from tests.support.fork_server import ROOT
from tests.support.own_postgres import own_postgres
from tests.support.real_server import real_server
from tests.support.secret_file import write_secret
from tests.support.tokens import SECRET, token

PAGE: Final = ROOT / "docs" / "operations" / "a-night.md"

_BLOCK: Final = re.compile(r"(?<=```console\n)(.*?)(?=```\n)", re.DOTALL)

_COMMAND: Final = re.compile(r"^(\w+)\$ omnirelay (.*)$", re.MULTILINE)

_SCOPES: Final[Mapping[str, tuple[Scope, ...]]] = {
    "alice": (Scope.OPERATE,),
    "bob": (Scope.OPERATE, Scope.APPROVE),
    "carol": (Scope.OPERATE, Scope.APPROVE, Scope.ADMIN),
    "dora": (Scope.READ,),
}

_HEAD, _TAIL = 8, 6
"""Lines of an output that are shown, if it has more than both and one."""

_VOLATILE: Final = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "SHA"),
    (re.compile(r" {2,}"), "  "),
)
"""What differs between two runs."""

_NAMESPACE: Final = """
[namespaces.orders]
strategy = "rendezvous"
[namespaces.orders.policy]
ticketRequired = true
ticketPattern = "CHG-[0-9]+"
approvalRequired = true
windowMoves = 35
moveBudgetPercent = 25
"""

Type = Callable[[str, str], Answer]


@contextmanager
def evening(database_url: str, folder: Path) -> Iterator[Type]:
    """A server with the mesh as it is in the evening, and a function that types a command as one of the operators."""
    for name, scopes in _SCOPES.items():
        write_secret(folder / f"{name}.token", token(*scopes, sub=name))
    with real_server(database_url, environment={"OMNIRELAY_AUTH_SECRET": SECRET.decode()}) as server, chdir(folder):

        def type_in(name: str, command: str) -> Answer:
            environment = {
                **{key: value for key, value in os.environ.items() if not key.startswith("OMNIRELAY_")},
                "OMNIRELAY_SERVER": server.url,
                "OMNIRELAY_TOKEN_FILE": str(folder / f"{name}.token"),
                "OMNIRELAY_DATABASE_URL": database_url,
            }
            with mock.patch.dict(os.environ, environment, clear=True):
                return omnirelay(*shlex.split(command))

        _set_up(folder, type_in)
        yield type_in


def _set_up(folder: Path, type_in: Type) -> None:
    """Forty shards where their strategy has them, but for the plan that fills node-4, which has joined last."""
    folder.joinpath("orders.toml").write_text(_NAMESPACE, encoding="utf-8")
    rows = [f"orders,slot-{number:02},node-{number % 3 + 1}" for number in range(40)]
    folder.joinpath("slots.csv").write_text("\n".join(["namespace,shardId,ownerNodeId", *rows, ""]), encoding="utf-8")
    why = "--reason 'the mesh as it is' --ticket CHG-600"
    commands = [f"mesh nodes register node-{number} --zone {zone} {why}" for number, zone in enumerate("abca", start=1)]
    commands += [
        f"mesh shards import slots.csv --create-namespace rendezvous {why}",
        "mesh rebalance plan --namespace orders --reason 'where they belong' --ticket CHG-601",
    ]
    for command in commands:
        done = type_in("carol", command)
        assert done.exit == 0, (command, done)
    plan = re.findall(r"rebalance apply (\w+)", done.err)[-1]
    for command in (
        f"mesh rebalance apply {plan} --wave-size 1000 --reason 'where they belong' --ticket CHG-601",
        f"mesh namespaces apply orders.toml {why}",
    ):
        done = type_in("carol", command)
        assert done.exit == 0, (command, done)


def lived(page: str, type_in: Type) -> Iterator[str]:
    """The blocks of the page, as they come out now."""
    plan = ""
    for block in _BLOCK.findall(page):
        lines = []
        for name, command in _COMMAND.findall(block):
            typed = re.sub(r"\bPLAN\b|\b[0-9a-f]{32}\b", plan, command)
            answer = type_in(name, typed)
            output = (answer.out + answer.err).rstrip("\n")
            plan = next(iter(re.findall(r"\b[0-9a-f]{32}\b", output)), plan)
            lines += ["", f"{name}$ omnirelay {typed}", *_shortened(output.splitlines())]
        yield "\n".join(lines[1:]) + "\n"


def _shortened(lines: list[str]) -> list[str]:
    return [*lines[:_HEAD], "...", *lines[-_TAIL:]] if len(lines) > _HEAD + _TAIL + 1 else lines


def blocks(page: str) -> list[str]:
    return _BLOCK.findall(page)


def comparable(block: str) -> str:
    for volatile, name in _VOLATILE:
        block = volatile.sub(name, block)
    return block


def record() -> None:
    page = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, own_postgres(Path(folder, "data")) as postgres:
        home = Path(folder, "home")
        home.mkdir()
        with evening(postgres.url, home) as type_in:
            recorded = lived(page, type_in)
            written = _BLOCK.sub(lambda _block: next(recorded), page)
    PAGE.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    record()
