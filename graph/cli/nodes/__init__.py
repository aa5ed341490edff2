"""`omnirelay mesh nodes`: one module a command."""

import click

from graph.cli.program import LazyCommands

__all__ = ["nodes"]


@click.group(
    commands=LazyCommands(
        {
            "list": "graph.cli.nodes.list:list_nodes",
            "get": "graph.cli.nodes.get:get_node",
            "register": "graph.cli.nodes.register:register_node",
            "import": "graph.cli.nodes.import_:import_nodes",
            "set": "graph.cli.nodes.set:set_node",
            "drain": "graph.cli.nodes.drain:drain_node",
            "evacuate": "graph.cli.nodes.evacuate:evacuate_nodes",
            "cordon": "graph.cli.nodes.cordon:cordon_nodes",
            "uncordon": "graph.cli.nodes.cordon:uncordon_nodes",
            "undrain": "graph.cli.nodes.cordon:undrain_nodes",
            "remove": "graph.cli.nodes.remove:remove_node",
        }
    )
)
def nodes() -> None:
    """The mesh nodes that may own shards: where they are, how much they take, whether they are in use."""
