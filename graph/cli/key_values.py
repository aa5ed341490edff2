"""Options of the form key=value, one at a time: labels, parameters."""

from collections.abc import Iterable
from typing import NamedTuple

import click

from graph.cli.text import shown


class KeyValue(NamedTuple):
    key: str
    value: str

    def __str__(self) -> str:
        return f"{self.key}={self.value}"


class KeyValueParameter(click.ParamType[KeyValue, object]):
    name = "key=value"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> KeyValue:
        if isinstance(value, KeyValue):
            return value
        key, equals, rest = str(value).partition("=")
        if not key or not equals:
            self.fail(f"{shown(value)} is not of the form key=value.", param, ctx)
        return KeyValue(key, rest)


def as_map(pairs: Iterable[KeyValue]) -> dict[str, str]:
    """Raises UsageError for a key that is given two values."""
    found: dict[str, str] = {}
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            raise click.UsageError(f"{shown(key)} is given twice: {shown(found[key])} and {shown(value)}.")
    return found
