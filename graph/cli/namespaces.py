"""`omnirelay mesh namespaces`: one module a command."""

import click

from graph.cli.lazy_commands import LazyCommands

__all__ = ["namespaces"]


@click.group(
    commands=LazyCommands(
        {
            "list": "graph.cli.namespaces.listing:list_namespaces",
            "apply": "graph.cli.namespaces.applying:apply_namespaces",
            "strategies": "graph.cli.namespaces.strategies:list_strategies",
        }
    )
)
def namespaces() -> None:
    """Families of shards, each with one placement strategy."""
