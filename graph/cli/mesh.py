"""`omnirelay mesh`: everything that asks a running server."""

import click

from graph.cli.namespaces import namespaces
from graph.cli.nodes import nodes
from graph.cli.rebalance import rebalance
from graph.cli.shards import shards


@click.group(commands=[shards, namespaces, nodes, rebalance])
def mesh() -> None:
    """Ask a running server, or change what it holds. Each command takes --server."""
