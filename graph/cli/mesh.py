"""`omnirelay mesh`: everything that asks a running server, and the audit of what it holds."""

import click

from graph.cli.lazy_commands import LazyCommands


@click.group(
    commands=LazyCommands(
        {
            "shards": "graph.cli.shards:shards",
            "namespaces": "graph.cli.namespaces:namespaces",
            "nodes": "graph.cli.nodes:nodes",
            "rebalance": "graph.cli.rebalance:rebalance",
            "audit": "graph.cli.audit:audit",
        }
    )
)
def mesh() -> None:
    """Ask a running server, or change what it holds. Each command takes --server; `audit` reads the database."""
