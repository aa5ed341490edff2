"""`omnirelay mesh nodes get`."""

import click

from graph.cli.errors import ApiClient
from graph.cli.nodes.shared import node_fields, read_node
from graph.cli.options import server_options
from graph.cli.output import print_fields, print_json
from graph.client.address import Address


@click.command("get")
@click.argument("node")
@server_options
def get_node(*, node: str, server: Address, as_json: bool) -> None:
    """Show one node; one that was removed too.

    With --json one document: the node.
    """
    with ApiClient(server) as api:
        found = read_node(api, node)
    if as_json:
        print_json(found)
    else:
        print_fields(node_fields(found))
