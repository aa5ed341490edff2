"""`omnirelay mesh nodes`: one module a command."""

import click

from graph.cli.lazy_commands import LazyCommands

__all__ = ["nodes"]


@click.group(
    commands=LazyCommands(
        {
            "list": "graph.cli.nodes.listing:list_nodes",
            "get": "graph.cli.nodes.getting:get_node",
            "register": "graph.cli.nodes.registering:register_node",
            "set": "graph.cli.nodes.setting:set_node",
            "drain": "graph.cli.nodes.draining:drain_node",
            "remove": "graph.cli.nodes.removing:remove_node",
        }
    )
)
def nodes() -> None:
    """The mesh nodes that may own shards: where they are, how much they take, whether they are in use."""
