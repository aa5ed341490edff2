"""A group's commands, each imported when it is used: no command waits for what another one needs."""

from collections import UserDict
from importlib import import_module
from typing import Any

import click


class LazyCommands(UserDict[str, Any]):
    """For `commands` of a click group: the name of each command, and `module:variable` where it is defined.

    Names are there at once, in the order given. Looking a command up imports its module.
    """

    def __getitem__(self, name: str) -> click.Command:
        """Raises KeyError if the group has no such command."""
        command = self.data[name]
        if isinstance(command, str):
            module, _, variable = command.partition(":")
            command = self.data[name] = getattr(import_module(module), variable)
        return command  # type: ignore[no-any-return]
