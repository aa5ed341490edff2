"""`omnirelay mesh refusals`: one module a command."""

import click

from graph.cli.program import LazyCommands

__all__ = ["refusals"]


@click.group(commands=LazyCommands({"list": "graph.cli.refusals.list:list_refusals"}))
def refusals() -> None:
    """What was tried and refused: who asked for what, when, and why it was not done."""
