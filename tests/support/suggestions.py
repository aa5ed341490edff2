"""Commands that the command line prints to be typed next: found in its output, and held to what the program takes.

On a line of its own, or behind a colon at the end of one, a command is complete: it can be typed as it is. In quotes or
brackets it is named, and may lack what is required.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from functools import cache
from typing import Final

import click
from graphql import GraphQLInputObjectType, GraphQLObjectType, build_schema

from graph.cli.errors import Failure
from graph.cli.program import omnirelay
from tests.support.fork_server import ROOT

_COMPLETE: Final = re.compile(r"^(?!Usage: )(?:.*: | *)omnirelay (\S.*)$", re.MULTILINE)

_NAMED: Final = re.compile(r"'omnirelay ([^']+)'|\(omnirelay ([^)]+)\)")

_CAMEL: Final = re.compile(r"(?<![\w.\"'/-])[a-z]+[A-Z]\w*")

_OF_PROTOCOL: Final = "The answer is not what was requested"
"""What is wrong with an answer is told in its words."""

PRINTED: Final[list[str]] = []
"""What was printed since it was emptied, without the program's name."""


def check(out: str, err: str) -> None:
    """Raises AssertionError for a command that the program does not take, or words of the API on stderr."""
    is_for_programs = out.startswith(("{", "---"))
    complete = suggestions(err) + ([] if is_for_programs else suggestions(out))
    for command in complete:
        why = refusal_of(shlex.split(command))
        assert why is None, f"printed as the next command: omnirelay {command}: {why}"
    for found in _NAMED.finditer(err):
        why = refusal_of([*shlex.split(found[1] or found[2]), "--help"])
        assert why is None, f"named: omnirelay {found[1] or found[2]}: {why}"
    lines = [line for line in err.splitlines() if not line.startswith(_OF_PROTOCOL)]
    words = [word for line in lines for word in _CAMEL.findall(line) if word in api_words()]
    assert not words, f"words of the API on stderr: {words}:\n{err}"
    PRINTED.extend(complete)


def suggestions(text: str) -> list[str]:
    return [found[1] for found in _COMPLETE.finditer(text)]


def refusal_of(arguments: Sequence[str]) -> str | None:
    """Why the program does not take them; null if it does. Nothing is run."""
    command: click.Command = omnirelay
    rest = list(arguments)
    context = click.Context(omnirelay)
    try:
        while isinstance(command, click.Group):
            _, found, rest = command.resolve_command(context, rest)
            assert found is not None
            command, context = found, click.Context(found, parent=context)
            if rest == ["--help"]:
                return None
        with context:
            context.resilient_parsing = "--help" in rest
            command.parse_args(context, [word for word in rest if word != "--help"])
    except (click.ClickException, Failure) as error:
        return error.format_message() if isinstance(error, click.ClickException) else str(error)
    return None


@cache
def api_words() -> frozenset[str]:
    """Operations, and what only their inputs have. Fields of records are columns and keys of files, too."""
    schema = build_schema((ROOT / "frontend-queries" / "schema.graphql").read_text(encoding="utf-8"))
    roots = (schema.query_type, schema.mutation_type, schema.subscription_type)
    operations = {name for root in roots if root is not None for name in root.fields}
    kinds = schema.type_map.values()
    given = {name for kind in kinds if isinstance(kind, GraphQLInputObjectType) for name in kind.fields}
    shown = {
        name for kind in kinds if isinstance(kind, GraphQLObjectType) and kind not in roots for name in kind.fields
    }
    return frozenset(operations | (given - shown))
