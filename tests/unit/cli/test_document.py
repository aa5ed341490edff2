"""docs/cli.md and the commands agree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest

from graph.cli.errors import Exit
from graph.cli.program import omnirelay

DOCUMENT: Final = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
ASKING: Final = "Options of every command that asks a server"
LISTING: Final = "Options of every command that lists"
CHANGING: Final = "Options of every command that changes something"

Table = dict[tuple[str, ...], str]


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """(what to type, command) of every command that does something."""
    if isinstance(command, click.Group):
        for name, member in command.commands.items():
            yield from commands(member, f"{path} {name}")
    else:
        yield path, command


COMMANDS: Final = dict(commands(omnirelay, "omnirelay"))
SECTIONS: Final = {
    match[1].strip("`"): match[2] for match in re.finditer(r"^## (.+)$\n((?:(?!^## ).*\n)*)", DOCUMENT, re.MULTILINE)
}


def documented(section: str) -> Table:
    """The options in the tables of a section, with the description of each."""
    rows = re.finditer(r"^\| (`-.+?`) \| (.+) \|$", SECTIONS[section], re.MULTILINE)
    return {tuple(re.findall(r"--?[a-z-]+", row[1])): row[2] for row in rows}


def options(command: click.Command) -> Table:
    return {
        (*option.opts, *option.secondary_opts): option.help or ""
        for option in command.params
        if isinstance(option, click.Option)
    }


def test_every_command_has_a_section_and_every_section_of_one_a_command() -> None:
    assert [title for title in SECTIONS if title.startswith("omnirelay")] == list(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_is_documented_in_the_words_of_its_help_and_no_other_is(path: str) -> None:
    shared: Table = {}
    if ("--context",) in options(COMMANDS[path]):
        shared |= documented(ASKING)
    if ("--sort",) in options(COMMANDS[path]):
        shared |= documented(LISTING)
    if ("--reason",) in options(COMMANDS[path]):
        shared |= documented(CHANGING)
    assert options(COMMANDS[path]) == shared | documented(path)


@pytest.mark.parametrize("path", COMMANDS)
def test_every_argument_is_documented(path: str) -> None:
    for argument in COMMANDS[path].params:
        if isinstance(argument, click.Argument):
            assert argument.make_metavar(click.Context(COMMANDS[path])).strip("[]") in SECTIONS[path]


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_says_what_it_is_and_under_mesh_what_json_looks_like(path: str) -> None:
    text = COMMANDS[path].help or ""
    assert text
    if path.startswith("omnirelay mesh"):
        assert "json" in text
        assert "json" in SECTIONS[path]


def test_the_exit_codes_are_those_there_are() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (.+) \|$", SECTIONS["Exit codes"], re.MULTILINE)
    assert rows == [(str(int(code)), code.name, code.meaning) for code in Exit]
