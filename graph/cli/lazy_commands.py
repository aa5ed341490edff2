"""A group's commands, each imported when it is used: a command should not wait for what the others need."""

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Final

import click


class LazyCommands(MutableMapping[str, click.Command]):
    """For `commands` of a click group. Names are there at once; a command is imported when it is looked up.

    `homes`: the name of each command, and where it is defined: `module:variable`, the module relative to `package` if
    it begins with a dot. The order is kept.
    """

    def __init__(self, package: str, homes: Mapping[str, str]) -> None:
        self._package: Final = package
        self._homes: Final = dict(homes)
        self._loaded: Final[dict[str, click.Command]] = {}

    def __getitem__(self, name: str) -> click.Command:
        """Raises KeyError if the group has no such command."""
        if name not in self._loaded:
            module, _, variable = self._homes[name].partition(":")
            self._loaded[name] = getattr(import_module(module, self._package), variable)
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._homes.setdefault(name, "")
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._homes[name]
        self._loaded.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._homes

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)
