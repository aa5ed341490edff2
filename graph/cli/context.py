"""`omnirelay context`: servers by name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from graph.cli import context_file
from graph.cli.context_file import Context
from graph.cli.options import Parsed, json_option
from graph.cli.output import Column, print_list, print_status, printable
from graph.client.address import Address, read_address, without_password
from persistence.model.fields import line_problem

_COLUMNS: Final = (
    Column("CONTEXT", "name"),
    Column("IN USE", "current", lambda current: "yes" if current else None),
    Column("SERVER", "server"),
    Column("TOKEN FILE", "tokenFile"),
)


@click.group()
def context() -> None:
    """Servers by name: which there are, and which one commands are for."""


@context.command("list")
@json_option
def list_contexts(*, as_json: bool) -> None:
    """List the servers that have a name.

    With --json JSON Lines: a context each.
    """
    contexts = context_file.read()
    documents = [
        {
            "name": name,
            "current": name == contexts.current,
            "server": without_password(one.server),
            "tokenFile": one.token_file,
        }
        for name, one in contexts.named.items()
    ]
    print_list(_COLUMNS, documents, "context", as_json=as_json)


@context.command("use")
@click.argument("name")
def use_context(*, name: str) -> None:
    """Have commands ask this server, unless they say otherwise."""
    context_file.write(context_file.read().use(name))
    print_status(f"Commands are for {printable(name)} now.")


def _name(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    if problem := line_problem(name):
        raise click.BadParameter(f"It {problem}.")
    return name


@context.command("set")
@click.argument("name", callback=_name)
@click.option("--server", type=Parsed("url", read_address), required=True, help="Address of the server.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that holds the bearer token to show to the server.",
)
def set_context(*, name: str, server: Address, token_file: Path | None) -> None:
    """Give a server a name, or the name another server. The first one is in use at once."""
    contexts = context_file.read()
    token = None if token_file is None else str(token_file.absolute())
    after = contexts.having(name, Context(server.url, token))
    context_file.write(after if contexts.named else after.use(name))
    print_status(f"{printable(name)} is {server} now.")


@context.command("remove")
@click.argument("name")
def remove_context(*, name: str) -> None:
    """Forget a name. The server, and its token file, stay as they are."""
    context_file.write(context_file.read().without(name))
    print_status(f"{printable(name)} is forgotten.")
