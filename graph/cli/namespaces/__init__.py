"""`omnirelay mesh namespaces`: one module a command."""

import click

from graph.cli.namespaces.applying import apply_namespaces
from graph.cli.namespaces.listing import list_namespaces
from graph.cli.namespaces.strategies import list_strategies

__all__ = ["namespaces"]


@click.group(commands=[list_namespaces, apply_namespaces, list_strategies])
def namespaces() -> None:
    """Families of shards, each with one placement strategy."""
