"""`omnirelay mesh changes`: one module a command."""

import click

from graph.cli.program import LazyCommands

__all__ = ["changes"]


@click.group(
    commands=LazyCommands(
        {
            "list": "graph.cli.changes.list:list_changes",
            "show": "graph.cli.changes.show:show_change",
        }
    )
)
def changes() -> None:
    """What was done to the mesh: who changed what, when, why, and under which ticket."""
