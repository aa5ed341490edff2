"""`omnirelay mesh nodes list`."""

from typing import Final

import click

from graph.cli.errors import ApiClient
from graph.cli.listing import Listing, list_options
from graph.cli.nodes.shared import format_labels
from graph.cli.output import Column, format_time
from graph.client.address import Address
from graph.client.http import rows
from persistence.model.records import NodeStatus

_COLUMNS: Final = (
    Column("NODE", "nodeId"),
    Column("STATUS", "status"),
    Column("REGION", "region"),
    Column("ZONE", "zone"),
    Column("WEIGHT", "weight"),
    Column("SHARDS", "shardCount"),
    Column("LEADS", "leaderCount"),
    Column("VERSION", "version"),
    Column("CREATED", "createdAt", format_time, wide=True),
    Column("UPDATED", "updatedAt", format_time),
    Column("TICKET", "changeTicket"),
    Column("LABELS", "labels", format_labels),
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
@list_options(_COLUMNS, "nodeId")
def list_nodes(
    *,
    status: tuple[NodeStatus, ...],
    region: tuple[str, ...],
    zone: tuple[str, ...],
    server: Address,
    listing: Listing,
) -> None:
    """List nodes, by id.

    With --json JSON Lines: a node each.
    """
    where = {"statuses": [*map(str, status)], "regions": region, "zones": zone}
    with ApiClient(server) as api:
        found = list(rows(api, "ListNodes", {"filter": where}))
    listing.print(found, "node")
