"""`omnirelay mesh nodes list`."""

from typing import Final

import click

from graph.cli.errors import ApiClient
from graph.cli.nodes.shared import shown_labels
from graph.cli.options import server_options
from graph.cli.output import pluralized, print_json, print_status, shown_time
from graph.cli.tables import print_table
from graph.client.address import Address
from graph.client.http import rows
from graph.client.records import Json
from persistence.model.records import NodeStatus

_COLUMNS: Final = (
    *("NODE", "STATUS", "REGION", "ZONE", "WEIGHT", "SHARDS", "VERSION", "UPDATED", "TICKET"),
    "LABELS",
)


@click.command("list")
@click.option(
    "--status",
    multiple=True,
    type=click.Choice(list(NodeStatus), case_sensitive=False),
    help="Only nodes in this state. May be repeated. By default all but the removed ones.",
)
@click.option("--region", multiple=True, help="Only nodes in this region. May be repeated.")
@click.option("--zone", multiple=True, help="Only nodes in this zone. May be repeated.")
@server_options
def list_nodes(
    *,
    status: tuple[NodeStatus, ...],
    region: tuple[str, ...],
    zone: tuple[str, ...],
    server: Address,
    as_json: bool,
) -> None:
    """List nodes, by id.

    With --json JSON Lines: a node each.
    """
    where = {"statuses": [*map(str, status)], "regions": region, "zones": zone}
    with ApiClient(server) as api:
        found = list(rows(api, "ListNodes", {"filter": where}))
    if as_json:
        for node in found:
            print_json(node)
        return
    if found:
        print_table(_COLUMNS, [_cells(node) for node in found])
    print_status(f"{pluralized(len(found), 'node')}.")


def _cells(node: Json) -> tuple[object, ...]:
    return (
        node["nodeId"],
        node["status"],
        node["region"],
        node["zone"],
        node["weight"],
        node["shardCount"],
        node["version"],
        shown_time(node["updatedAt"]),
        node["changeTicket"],
        shown_labels(node["labels"]),
    )
