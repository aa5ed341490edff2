"""Commands to type next: the one under way with other values, or one that follows from it.

Each is complete, and ready for a shell: every option that is required is in it, and a value that begins with a dash
is no option. tests/support/command_line.py holds all that any test prints to that.
"""

import shlex
from collections.abc import Sequence
from typing import Final

import click
from click.core import ParameterSource

from graph.client.address import Address

WAVE: Final = 1_000
"""Moves of a wave that is suggested, within the budgets."""

_TAKEN_OVER: Final = ("reason", "ticket", "actor", "server", "context", "token_file")

_OF_ANYONE: Final = ("reason", "ticket")


def suggest_retry(**changed: object) -> str:
    """The command under way with some of its values changed or added; null leaves one out."""
    context = click.get_current_context()
    options: list[str] = []
    arguments: list[str] = []
    for parameter in context.command.params:
        name = str(parameter.name)
        if name in changed or _typed(context, name):
            words = arguments if isinstance(parameter, click.Argument) else options
            words += _words(parameter, changed.get(name, context.params[name]))
    return _command(context.command_path, arguments, options)


def suggest_next(path: str, *options: str, arguments: Sequence[str] = (), without: Sequence[str] = ()) -> str:
    """Another command, with the reason, ticket, actor and server of this one, but for those in `without`."""
    context = click.get_current_context()
    return _command(path, arguments, [*options, *_taken_over(context, [n for n in _TAKEN_OVER if n not in without])])


def suggest_to_another(path: str, *options: str, arguments: Sequence[str] = (), server: Address) -> str:
    """A command for another operator: with the reason and ticket of this one, at the same server, without a name, a
    token or a context that are this operator's own."""
    context = click.get_current_context()
    words = [*options, *_taken_over(context, _OF_ANYONE)]
    if _typed(context, "server") or _typed(context, "context"):
        words += ["--server", server.url]
    return _command(path, arguments, words)


def _taken_over(context: click.Context, names: Sequence[str]) -> list[str]:
    found = {str(parameter.name): parameter for parameter in context.command.params}
    taken = [name for name in found if name in names and _typed(context, name)]
    return [word for name in taken for word in _words(found[name], context.params[name])]


def _command(path: str, arguments: Sequence[str], options: Sequence[str]) -> str:
    """Arguments first, as they are typed; but last where one may be taken for an option."""
    if any(argument.startswith("-") and argument != "-" for argument in arguments):
        return shlex.join([*path.split(), *options, "--", *arguments])
    return shlex.join([*path.split(), *arguments, *options])


def _typed(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _words(parameter: click.Parameter, value: object) -> list[str]:
    if value is None:
        return []
    values = value if isinstance(value, tuple) and (parameter.multiple or parameter.nargs != 1) else (value,)
    if not isinstance(parameter, click.Option):
        return [str(one) for one in values]
    option = parameter.opts[-1]
    if parameter.is_flag:
        return [option] if value else list(parameter.secondary_opts[-1:])
    return [word for one in values for word in (option, str(one))]
