"""`omnirelay mesh`: everything that asks a running server, and the audit of what it holds."""

import click

from graph.cli.audit import audit
from graph.cli.namespaces import namespaces
from graph.cli.nodes import nodes
from graph.cli.rebalance import rebalance
from graph.cli.shards import shards


@click.group(commands=[shards, namespaces, nodes, rebalance, audit])
def mesh() -> None:
    """Ask a running server, or change what it holds. Each command takes --server; `audit` reads the database."""
