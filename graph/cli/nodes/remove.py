"""`omnirelay mesh nodes remove`."""

import click

from graph.cli.errors import ApiClient
from graph.cli.nodes.shared import changed_node, print_node, version_of, version_option
from graph.cli.options import change_input, change_options, server_options
from graph.cli.suggestions import suggest_next, suggest_retry
from graph.client.address import Address
from graph.client.records import Json
from persistence.model.records import NodeStatus


@click.command("remove")
@click.argument("node")
@version_option
@change_options
@server_options
def remove_node(
    *,
    node: str,
    expected_version: int | None,
    reason: str,
    ticket: str | None,
    actor: str | None,
    server: Address,
    as_json: bool,
) -> None:
    """Take a node out of the mesh. Refused while it owns or leads shards: drain it first.

    With --json one document: node and change.
    """
    change = change_input(reason, ticket, actor)
    with ApiClient(server) as api:
        version = version_of(api, node, expected_version)
        given = {"nodeId": node, "expectedVersion": version, "status": str(NodeStatus.REMOVED), "change": change}
        answer = api.change("UpdateNode", given)
    print_node(changed_node(answer, _how_to_vacate(answer, node)), as_json=as_json)


def _how_to_vacate(answer: Json, node: str) -> list[str]:
    if answer["__typename"] != "NodeInUse":
        return []
    evacuate = suggest_next("omnirelay mesh nodes evacuate", arguments=[node])
    again = suggest_retry(expected_version=None)
    return ["Have its shards moved away, and then remove it:", f"  {evacuate}", f"  {again}"]
