"""`omnirelay mesh nodes`: one module a command."""

import click

from graph.cli.nodes.draining import drain_node
from graph.cli.nodes.getting import get_node
from graph.cli.nodes.listing import list_nodes
from graph.cli.nodes.registering import register_node
from graph.cli.nodes.removing import remove_node
from graph.cli.nodes.setting import set_node

__all__ = ["nodes"]


@click.group(commands=[list_nodes, get_node, register_node, set_node, drain_node, remove_node])
def nodes() -> None:
    """The mesh nodes that may own shards: where they are, how much they take, whether they are in use."""
