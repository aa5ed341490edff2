"""The output of commands that README.md prints: recorded from a run on the demo mesh (`make transcripts`), and compared
with README.md and with the program without one (`--check`, part of `make lint`).

Of a recording `--check` requires that README.md has it word for word, that the program takes every command of it, and
that every table in it has the columns that the program prints now.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

import click

from graph.cli.output import Column
from tests.support.suggestions import refusal_of

ROOT: Final = Path(__file__).parents[2]

README: Final = ROOT / "README.md"

RECORDED: Final = ROOT / "docs" / "transcripts" / "README.txt"

PROGRAM: Final = Path(sys.executable).with_name("omnirelay")

_PROMPT: Final = "$ omnirelay "

_HEADER: Final = re.compile(r"[A-Z][A-Z %]*(?:  +[A-Z][A-Z %]*)+(?: \(.*\))?")

_BESIDE: Final = {"LOAD (= kept, + gained, - lost)"}
"""A column that is a bar."""


@dataclass(frozen=True)
class Shown:
    """A command and what is shown of its output: so many lines of its beginning, and its end from a line that begins
    so. What is between is `...`. All of it by default."""

    command: str
    head: int | None = None
    tail: str | None = None

    def of(self, output: str) -> str:
        lines = output.rstrip("\n").splitlines()
        if self.head is not None:
            begin = next((index for index, line in enumerate(lines) if self.tail and line.startswith(self.tail)), None)
            lines = [*lines[: self.head], "...", *(lines[begin:] if begin is not None else ())]
        return "\n".join([f"{_PROMPT}{self.command}", *lines])


SHOWN: Final = (
    Shown("mesh namespaces list"),
    Shown(
        "mesh shards set orders orders-007 --expected-version 1 --owner node-eu-1 --reason undo",
        1,
        "If your change still",
    ),
    Shown('mesh rebalance plan --namespace orders --reason "fill node-eu-3" --ticket CHG-2002', 4, "and "),
    Shown("mesh shards explain orders orders-007", 1),
)

MOVED: Final = (
    "mesh shards set orders orders-007 --expected-version 1 --owner node-eu-2 --ticket CHG-2001 "
    "--reason 'see a live diff'"
)
"""Comes after the first command: the move that `make live` makes."""


def record() -> str:
    with tempfile.TemporaryDirectory() as folder, _serving(Path(folder)) as url:
        environment = {**os.environ, "OMNIRELAY_SERVER": url, "OMNIRELAY_ACTOR": "alice"}
        first, *others = SHOWN
        shown = [first.of(_output(first.command, environment))]
        _output(MOVED, environment)
        shown += [command.of(_output(command.command, environment)) for command in others]
    return "\n\n".join(shown) + "\n"


def _output(command: str, environment: Mapping[str, str]) -> str:
    done = subprocess.run(  # noqa: S603 - our own program
        [PROGRAM, *shlex.split(command)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    command = [str(PROGRAM), "serve", "--port", "0", "--demo", "--data-dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 - our own program
        try:
            assert server.stdout is not None
            yield server.stdout.readline().split()[1].removesuffix("/graphql")
        finally:
            server.send_signal(signal.SIGINT)


def problems(recorded: str, readme: str) -> Iterator[str]:
    """What is not as it was recorded, a line each."""
    if f"```console\n{recorded}```\n" not in readme:
        yield "README.md does not print what was recorded"
    commands = [line.removeprefix(_PROMPT) for line in recorded.splitlines() if line.startswith(_PROMPT)]
    if commands != [shown.command for shown in SHOWN]:
        yield "other commands were recorded than there are to be shown"
    for command in commands:
        if why := refusal_of(shlex.split(command)):
            yield f"the program does not take {command!r}: {why}"
    titles = _titles() | _BESIDE
    for line in filter(_HEADER.fullmatch, recorded.splitlines()):
        yield from (f"no table has the column {title!r}" for title in re.split("  +", line) if title not in titles)


def _titles() -> set[str]:
    """Of every column that a command of the program prints."""
    titles = set()
    for file in (ROOT / "graph" / "cli").rglob("*.py"):
        module = import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
        for value in vars(module).values():
            if isinstance(value, tuple | list):
                titles |= {each.title if isinstance(each, Column) else each for each in value if _is_title(each)}
    return titles


def _is_title(value: object) -> bool:
    return isinstance(value, Column | str)


def main(arguments: Sequence[str]) -> int:
    if "--check" in arguments:
        found = list(problems(RECORDED.read_text(encoding="utf-8"), README.read_text(encoding="utf-8")))
        for problem in found:
            click.echo(f"{RECORDED.relative_to(ROOT)}: {problem}. Record it anew: make transcripts", err=True)
        return bool(found)
    before = RECORDED.read_text(encoding="utf-8") if RECORDED.exists() else ""
    recorded = record()
    RECORDED.write_text(recorded, encoding="utf-8")
    readme = README.read_text(encoding="utf-8")
    README.write_text(readme.replace(f"```console\n{before}```\n", f"```console\n{recorded}```\n"), encoding="utf-8")
    click.echo(f"Wrote {RECORDED.relative_to(ROOT)} and README.md.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
