"""Options that several commands share: the server and its token, what a change carries, and a server's settings.

A value with a form of its own has one type, `Parsed`, with the function that reads it.
"""

from __future__ import annotations

import functools
import getpass
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

import click
from click.core import ParameterSource

from graph.cli import context_file
from graph.cli.errors import Exit, Failure, failing
from graph.cli.output import print_json, print_status, printable, write_yaml
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
    """--server, --context, --token-file, --json, -o: for every command that sends requests, but for lists, which have
    `list_options`. The address carries the token."""
    command = _with_form(connection_options(command))
    return json_options(command, ("json", "yaml"), "Write JSON or YAML, for programs.")


def json_options(command: F, forms: Sequence[str], help_text: str) -> F:
    """--json, -o."""
    command = click.option("-o", "--output", type=click.Choice(forms), help=help_text)(command)
    return click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")(command)


def output_form(output: str | None, *, as_json: bool) -> str | None:
    """The requested one, of --json or -o."""
    if as_json and output not in (None, "json"):
        raise click.UsageError(f"Say --json or -o {output}, not both.")
    return "json" if as_json else output


def _with_form(command: F) -> F:
    @functools.wraps(command)
    def with_form(*, as_json: bool, output: str | None, **options: object) -> object:
        form = output_form(output, as_json=as_json)
        if form == "yaml":
            write_yaml()
        with failing_in_json(as_json=form is not None):
            return command(as_json=form is not None, **options)

    return cast("F", with_form)


@contextmanager
def failing_in_json(*, as_json: bool) -> Iterator[None]:
    """A Failure from inside is written to stdout before it goes on, where JSON is wanted: no answer is no JSON."""
    try:
        with failing():
            yield
    except Failure as failure:
        if as_json and not failure.is_written:
            print_json(failure.as_json())
        raise


def json_option(command: F) -> F:
    """--json alone, for commands that ask no server."""

    @functools.wraps(command)
    def with_json(*, as_json: bool, **options: object) -> object:
        with failing_in_json(as_json=as_json):
            return command(as_json=as_json, **options)

    return click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")(cast("F", with_json))


def _complete_contexts(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    try:
        return [name for name in context_file.read().named if name.startswith(incomplete)]
    except Failure:
        return []


def connection_options(command: F) -> F:
    """--server, --context, --token-file. The address carries the token.

    They are eager: the default of --actor, and completion, depend on them."""
    command = _with_token(command)
    command = click.option(
        "--token-file",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="OMNIRELAY_TOKEN_FILE",
        show_envvar=True,
        is_eager=True,
        help="File that holds the bearer token to show to the server.",
    )(command)
    command = click.option(
        "--context",
        envvar="OMNIRELAY_CONTEXT",
        show_envvar=True,
        is_eager=True,
        shell_complete=_complete_contexts,
        help="The server of this name, as `omnirelay context` has it.",
    )(command)
    return click.option(
        "--server",
        type=Parsed("url", read_address),
        envvar="OMNIRELAY_SERVER",
        show_envvar=True,
        show_default=f"the context in use, or {DEFAULT_SERVER}",
        is_eager=True,
        help="Address of the server.",
    )(command)


def _with_token(command: F) -> F:
    @functools.wraps(command)
    def with_token(*, server: Address | None, context: str | None, token_file: Path | None, **rest: object) -> object:
        return command(server=_address(click.get_current_context(), server, context, token_file), **rest)

    return cast("F", with_token)


def address_of(context: click.Context) -> Address:
    """The server that a command is for, while its options are still read. Raises Failure and UsageError."""
    given = context.params
    server, name, file = given.get("server"), given.get("context"), given.get("token_file")
    # What was left out is not null yet, but click's own mark for that.
    return _address(
        context,
        server if isinstance(server, Address) else None,
        name if isinstance(name, str) else None,
        file if isinstance(file, Path) else None,
    )


def _address(command: click.Context, server: Address | None, context: str | None, token: Path | None) -> Address:
    """With its token: of --token-file, of the context, or of the environment, in this order. The token of a context is
    shown to the server of that context and to no other."""
    given = command.get_parameter_source
    of_context = None
    if server is None or (context is not None and _is_typed(given("context"))):
        if server is not None and _is_typed(given("server")):
            raise click.UsageError("Say --server or --context, not both.")
        contexts = context_file.read()
        name = context or contexts.current
        server = read_address(DEFAULT_SERVER if name is None else contexts[name].server)
        of_context = None if name is None else contexts[name].token_file
    if of_context is not None and not _is_typed(given("token_file")):
        token = Path(of_context)
    return replace(server, token=_token(token))


def _is_typed(source: ParameterSource | None) -> bool:
    return source is ParameterSource.COMMANDLINE


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
    context = click.get_current_context()
    if "token_file" in context.params and address_of(context).token is not None:
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


def shard_arguments(command: F) -> F:
    """NAMESPACE SHARD, or both as one word with a slash between them: as they are printed."""
    return _shard_arguments(command, required=True)


def optional_shard_arguments(command: F) -> F:
    """The same, where either may be left out."""
    return _shard_arguments(command, required=False)


def _shard_arguments(command: F, *, required: bool) -> F:
    @functools.wraps(command)
    def with_shard(*, namespace: str | None, shard: str | None, **options: object) -> object:
        if shard is None and namespace is not None:
            namespace, slash, rest = namespace.partition("/")
            shard = rest if slash else None
        if required and not shard:
            raise click.UsageError("Which shard? Name it as NAMESPACE SHARD, or as NAMESPACE/SHARD.")
        return command(namespace=namespace, shard=shard, **options)

    arguments = click.argument("shard", metavar="[SHARD]", required=False)(cast("F", with_shard))
    return click.argument("namespace", metavar="NAMESPACE" if required else "[NAMESPACE]", required=required)(arguments)


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
