"""Options that several commands share, with the same words in each."""

import getpass
from collections.abc import Callable
from typing import Any, TypeVar

import click

from graph.cli.address import AddressParameter
from graph.cli.output import Json

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_SERVER = "http://127.0.0.1:8080"


def server_options(command: F) -> F:
    """--server, --json: for every command that asks a server."""
    command = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")(command)
    return click.option(
        "--server",
        type=AddressParameter(),
        envvar="OMNIRELAY_SERVER",
        show_envvar=True,
        default=DEFAULT_SERVER,
        show_default=True,
        help="Address of the server.",
    )(command)


def change_options(command: F) -> F:
    """--reason, --ticket, --actor: for every command that changes something."""
    command = click.option(
        "--actor",
        envvar="OMNIRELAY_ACTOR",
        show_envvar=True,
        default=_user,
        show_default="the user running this",
        help="Who is responsible.",
    )(command)
    command = click.option("--ticket", help="Ticket the change is made under.")(command)
    return click.option("--reason", required=True, help="Why. Kept with the change for good.")(command)


def force_option(command: F) -> F:
    """--force-reason: for every command that changes shards."""
    return click.option(
        "--force-reason",
        help="Why it shall be done past budgets, freezes, pins and anti-affinity. Kept with the change as forced.",
    )(command)


def change_input(reason: str, ticket: str | None, actor: str, force_reason: str | None = None) -> Json:
    """GraphQL's `ChangeInput`."""
    given: Json = {"reason": reason, "changeTicket": ticket, "actor": actor}
    return given if force_reason is None else given | {"force": {"reason": force_reason}}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an id without a name, as containers like to have
        raise click.UsageError("This user has no name: say who is responsible with --actor.") from None
