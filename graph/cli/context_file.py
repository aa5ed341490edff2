"""Servers by name, in a file of the user's: which there are, and which of them commands are for.

The file names files with tokens, not tokens; still it is for its user's eyes alone (mode 0600).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import click

from graph.cli.errors import Exit, Failure
from graph.cli.output import printable
from graph.client.address import read_address
from graph.client.cache_file import replacing

LIST_CONTEXTS: Final = "Which there are: omnirelay context list"

_NAME: Final = "contexts.json"


@dataclass(frozen=True, slots=True)
class Context:
    """A server by name. `token_file` holds the token that is shown to it, if there is one."""

    server: str
    token_file: str | None = None


@dataclass(frozen=True, slots=True)
class Contexts:
    """`current` is null where none is in use."""

    current: str | None = None
    named: Mapping[str, Context] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Context:
        """Raises Failure if there is none of this name."""
        found = self.named.get(name)
        if found is None:
            raise Failure(Exit.NOT_FOUND, f"There is no context {printable(name)}.", [LIST_CONTEXTS])
        return found

    def use(self, name: str) -> Contexts:
        """Raises Failure if there is none of this name."""
        self[name]
        return replace(self, current=name)

    def having(self, name: str, context: Context) -> Contexts:
        return replace(self, named={**self.named, name: context})

    def without(self, name: str) -> Contexts:
        """Raises Failure if there is none of this name. If it was in use, none is."""
        self[name]
        left = {other: context for other, context in self.named.items() if other != name}
        return Contexts(None if self.current == name else self.current, left)


def path() -> Path:
    """Where the file is: in the folder where programs of this system have the settings of a user."""
    return Path(click.get_app_dir("omnirelay"), _NAME)


def read() -> Contexts:
    """None, if there is no file. Raises Failure if it cannot be read, or is not such a file."""
    try:
        text = path().read_text(encoding="utf-8")
    except FileNotFoundError:
        return Contexts()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise Failure(Exit.INVALID, f"{printable(path())} cannot be read: {why}.") from error
    try:
        return _contexts(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        advice = ["Mend it, or take it away and name your servers anew with 'omnirelay context set'."]
        raise Failure(Exit.INVALID, f"{printable(path())} is no list of contexts.", advice) from error


def _contexts(document: Any) -> Contexts:
    named = {name: Context(given["server"], given.get("tokenFile")) for name, given in document["contexts"].items()}
    for context in named.values():
        read_address(context.server)
        if not isinstance(context.token_file, str | None):
            raise TypeError
    current = document.get("current")
    if current is not None and current not in named:
        raise ValueError
    return Contexts(current, named)


def write(contexts: Contexts) -> None:
    """Whole, or not at all. Raises Failure."""
    document = {
        "current": contexts.current,
        "contexts": {
            name: {"server": context.server, "tokenFile": context.token_file}
            for name, context in sorted(contexts.named.items())
        },
    }
    try:
        path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(path()) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(json.dumps(document, indent=2).encode() + b"\n")
    except OSError as error:
        raise Failure(Exit.INVALID, f"{printable(path())} cannot be written: {error.strerror}.") from error
