"""Options of whatever computes a plan or shows one."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from graph.cli.output import Json
from persistence.fields import MAX_SHARDS_PER_CHANGE

F = TypeVar("F", bound=Callable[..., Any])


def planning_options(command: F) -> F:
    """--namespace, --max-moves."""
    command = click.option(
        "--max-moves",
        type=click.IntRange(1, MAX_SHARDS_PER_CHANGE),
        help="At most this many moves, the most urgent ones.",
    )(command)
    return click.option("--namespace", multiple=True, help="Only shards of this namespace. May be repeated.")(command)


def all_option(command: F) -> F:
    """--all, for what is shown to people; JSON has everything anyway."""
    return click.option("--all", "everything", is_flag=True, help="Show every row, however many.")(command)


def planning_input(namespace: tuple[str, ...], max_moves: int | None) -> Json:
    """What the inputs of planRebalance and simulateRebalance have in common. Null stands for all."""
    return {"namespaces": list(namespace) or None, "maxMoves": max_moves}
