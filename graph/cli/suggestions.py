"""Commands to type next: the one under way with other values, or one that follows from it."""

import shlex
from typing import Final

import click
from click.core import ParameterSource

_TAKEN_OVER: Final = ("reason", "ticket", "actor", "server", "context", "token_file")


def suggest_retry(**changed: object) -> str:
    """The command under way, ready for a shell, with some of its values changed or added; null leaves one out."""
    context = click.get_current_context()
    options: list[str] = []
    arguments: list[str] = []
    for parameter in context.command.params:
        name = str(parameter.name)
        if name in changed or _typed(context, name):
            words = options if isinstance(parameter, click.Option) else arguments
            words += _words(parameter, changed.get(name, context.params[name]))
    if any(argument.startswith("-") for argument in arguments):  # an id that would be taken for an option
        options, arguments = [], [*options, "--", *arguments]
    return shlex.join([*context.command_path.split(), *arguments, *options])


def suggest_next(path: str, *words: str) -> str:
    """Another command, ready for a shell, with the reason, ticket, actor and server of this one."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name = str(parameter.name)
        if name in _TAKEN_OVER and _typed(context, name):
            words += tuple(_words(parameter, context.params[name]))
    return shlex.join([*path.split(), *words])


def _typed(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _words(parameter: click.Parameter, value: object) -> list[str]:
    if value is None:
        return []
    if not isinstance(parameter, click.Option):
        return [str(value)]
    option = parameter.opts[-1]
    if parameter.is_flag:
        return [option] if value else []
    values = value if isinstance(value, tuple) and parameter.multiple else (value,)
    return [word for one in values for word in (option, str(one))]
