"""Options that several commands share: the server and its token, what a change carries, and a server's settings.

A value with a form of its own has one type, `Parsed`, with the function that reads it.
"""

from __future__ import annotations

import functools
import getpass
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

import click

from graph.cli.errors import Exit, Failure
from graph.cli.output import print_status, printable
from graph.client.address import Address, TokenSource, read_address
from graph.client.credentials import fixed_token, token_file
from graph.client.records import Json
from persistence.model.records import MAX_COUNTER

if TYPE_CHECKING:
    from graph.settings import Settings


F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

DEFAULT_SERVER = "http://127.0.0.1:8080"

_TOKEN: Final = "OMNIRELAY_TOKEN"  # noqa: S105 - the name of the variable


class Parsed(click.ParamType[T, object]):
    """What `parse` returns for the text. Its ValueError is wrong usage; the message ends without a full stop."""

    def __init__(self, name: str, parse: Callable[[str], T]) -> None:
        """`name` stands for the value in help."""
        self.name = name
        self._parse = parse

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> T:
        if not isinstance(value, str):
            return cast("T", value)  # converted already
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


def server_options(command: F) -> F:
    """--server, --token-file, --json: for every command that sends requests. The address carries the token."""
    command = _with_token(command)
    command = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")(command)
    command = click.option(
        "--token-file",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="OMNIRELAY_TOKEN_FILE",
        show_envvar=True,
        is_eager=True,  # the default of --actor depends on it
        help="File that holds the bearer token to show to the server.",
    )(command)
    return click.option(
        "--server",
        type=Parsed("url", read_address),
        envvar="OMNIRELAY_SERVER",
        show_envvar=True,
        default=DEFAULT_SERVER,
        show_default=True,
        help="Address of the server.",
    )(command)


def _with_token(command: F) -> F:
    @functools.wraps(command)
    def with_token(*, server: Address, token_file: Path | None, **options: object) -> object:
        return command(server=replace(server, token=_token(token_file)), **options)

    return cast("F", with_token)


def _token(file: Path | None) -> TokenSource | None:
    """From the file; else, for programs that cannot write files, from the environment. Never from the command line,
    which every process of the machine may read."""
    if file is not None:
        return token_file(file)
    return fixed_token(token) if (token := os.environ.get(_TOKEN)) else None


def change_options(command: F) -> F:
    """--reason, --ticket, --actor: for every command that changes something."""
    return _change_options(command, required=True)


def optional_change_options(command: F) -> F:
    """The same, for a command that changes nothing without further arguments, and then takes no reason."""
    return _change_options(command, required=False)


def _change_options(command: F, *, required: bool) -> F:
    command = click.option(
        "--actor",
        envvar="OMNIRELAY_ACTOR",
        show_envvar=True,
        default=_user,
        show_default="the subject of the token, or the user running this",
        help="Who is responsible.",
    )(command)
    command = click.option("--ticket", help="Ticket the change is made under.")(command)
    return click.option("--reason", required=required, help="Why. Kept with the change for good.")(command)


def force_option(command: F) -> F:
    """--force-reason: for every command that changes shards."""
    return click.option(
        "--force-reason",
        help="Why it shall be done past budgets, freezes, pins and anti-affinity. Kept with the change as forced.",
    )(command)


def change_input(reason: str, ticket: str | None, actor: str | None, force_reason: str | None = None) -> Json:
    """GraphQL's `ChangeInput`. Without an actor it is the subject of the token."""
    change: Json = {"reason": reason, "changeTicket": ticket, "actor": actor}
    return change if force_reason is None else change | {"force": {"reason": force_reason}}


def _user() -> str | None:
    """The user running this; null where there is a token, which has a subject."""
    options = click.get_current_context().params
    if "token_file" in options:
        file = options["token_file"]  # not null yet if it was left out, but click's own mark for that
        if _token(file if isinstance(file, Path) else None) is not None:
            return None
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an id without a name, as containers like to have
        raise click.UsageError("This user has no name: say who is responsible with --actor.") from None


expected_version_option = click.option(
    "--expected-version", type=click.IntRange(1, MAX_COUNTER), required=True, help="The version you have seen."
)
"""For commands that change one record."""


def checked_by(problem_of: Callable[[T], str | None]) -> Callable[[click.Context, click.Parameter, T | None], T | None]:
    """A callback for an option: what `problem_of` returns about its value is wrong usage."""

    def check(_context: click.Context, _parameter: click.Parameter, value: T | None) -> T | None:
        problem = None if value is None else problem_of(value)
        if problem is not None:
            raise click.BadParameter(f"It {problem}.")
        return value

    return check


class KeyValue(NamedTuple):
    key: str
    value: str

    def __str__(self) -> str:
        return f"{self.key}={self.value}"


def _read_key_value(text: str) -> KeyValue:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ValueError(f"{printable(text)} is not of the form key=value")
    return KeyValue(key, value)


KEY_VALUE: Final = Parsed("key=value", _read_key_value)


def as_map(pairs: Iterable[KeyValue]) -> dict[str, str]:
    """Raises UsageError for a key that is given two values."""
    found: dict[str, str] = {}
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            raise click.UsageError(f"{printable(key)} is given twice: {printable(found[key])} and {printable(value)}.")
    return found


def database_options(command: F) -> F:
    """--config, --database-url, --data-dir. The environment is read with the settings, so not here."""
    command = click.option(
        "--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Folder of the embedded PostgreSQL."
    )(command)
    command = click.option(
        "--database-url", metavar="URL", help="A PostgreSQL of yours instead: postgresql://user@host/database."
    )(command)
    return config_option(command)


def config_option(command: F) -> F:
    """--config."""
    return click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="OMNIRELAY_CONFIG",
        show_envvar=True,
        help="TOML file with settings.",
    )(command)


def settings_from(config: Path | None, failing_with: Exit, **options: object) -> Settings:
    """Raises Failure, with the exit code of the command, that names each setting that is wrong and where it was set."""
    from graph.settings import (  # noqa: PLC0415 - clients need not load what checks settings
        SettingsError,
        has_password,
        load_settings,
    )

    if isinstance(url := options.get("database_url"), str) and has_password(url):
        print_status(
            "Warning: --database-url has a password in it, which every user of this machine can read in the list of "
            "processes. Put it in a password file (PGPASSFILE), or the URL in OMNIRELAY_DATABASE_URL."
        )
    try:
        return load_settings(config, os.environ, **options)
    except SettingsError as error:
        lines = [f"  {line}" for line in str(error).splitlines()]
        raise Failure(failing_with, "These settings cannot be used:", lines) from error
