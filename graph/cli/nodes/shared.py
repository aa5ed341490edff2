"""What is said of a node, in the same words wherever it is."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from persistence.fields import weight_problem
from persistence.records import MAX_COUNTER, NodeStatus

F = TypeVar("F", bound=Callable[..., Any])

GIVEN_STATUSES: Final = [status for status in NodeStatus if status is not NodeStatus.REMOVED]
"""REMOVED is what `remove` is for."""


def place_options(command: F) -> F:
    """--region, --zone."""
    command = click.option("--zone", help="The zone it is in, as locality hints name it.")(command)
    return click.option("--region", help="The region it is in, as locality hints name it.")(command)


def use_options(*, weight: int | None) -> Callable[[F], F]:
    """--weight with this default, --status."""

    def decorate(command: F) -> F:
        command = click.option(
            "--status",
            type=click.Choice(GIVEN_STATUSES, case_sensitive=False),
            help="Whether it may own shards from now on.",
        )(command)
        return click.option(
            "--weight",
            type=int,
            default=weight,
            show_default=weight is not None,
            callback=_weight,
            help="How much it takes, relative to other nodes.",
        )(command)

    return decorate


def version_option(command: F) -> F:
    """--expected-version, where it may be left out."""
    return click.option(
        "--expected-version",
        type=click.IntRange(1, MAX_COUNTER),
        help="The version you have seen. By default the one it is at.",
    )(command)


def _weight(_context: click.Context, _parameter: click.Parameter, value: int | None) -> int | None:
    problem = None if value is None else weight_problem(value)
    if problem is not None:
        raise click.BadParameter(f"It {problem}.")
    return value
