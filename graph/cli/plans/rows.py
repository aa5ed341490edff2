"""As many rows as a person reads."""

from collections.abc import Sequence
from typing import Final, TypeVar

import click

T = TypeVar("T")

LISTED: Final = 20


def print_rest(rest: int, what: str = "") -> None:
    """How many rows were left out, if any were."""
    if rest > 0:
        click.echo(f"and {rest:,} more{what}; --all shows them")


def first(rows: Sequence[T], *, everything: bool) -> Sequence[T]:
    return rows if everything else rows[:LISTED]
