"""The command as it was given, to be given again."""

import shlex

import click
from click.core import ParameterSource


def command_again(**changed: object) -> str:
    """The command under way, ready for a shell, with some of its values changed."""
    context = click.get_current_context()
    words = context.command_path.split()
    for parameter in context.command.params:
        name = str(parameter.name)
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value = changed.get(name, context.params[name])
        if isinstance(parameter, click.Option):
            words.append(parameter.opts[-1])
            words += [] if parameter.is_flag else [str(value)]
        else:
            words.append(str(value))
    return shlex.join(words)
