"""`omnirelay mesh rebalance list`."""

from typing import Final

import click

from graph.cli.errors import ApiClient
from graph.cli.listing import Listing, list_options
from graph.cli.output import (
    Column,
    format_percent,
    format_time,
    listed,
)
from graph.client.address import Address
from graph.client.http import rows
from persistence.model.plans import PlanStatus

_COLUMNS: Final = (
    Column("PLAN", "id"),
    Column("STATUS", "status"),
    Column("CREATED", "created.committedAt", format_time),
    Column("NAMESPACES", "namespaces", listed),
    Column("MOVES", "moveCount"),
    Column("DONE", "movesMade"),
    Column("SHARDS", "shardCount"),
    Column("MOVED %", "movedPercent", format_percent),
    Column("REVISION", "baseRevision"),
    Column("EXPIRES", "expiresAt", format_time, wide=True),
    Column("ACTOR", "created.actor"),
    Column("TICKET", "created.changeTicket"),
    Column("REASON", "created.reason"),
)


@click.command("list")
@click.option("--namespace", help="Only plans that cover this namespace.")
@click.option(
    "--status",
    multiple=True,
    type=click.Choice(list(PlanStatus), case_sensitive=False),
    help="Only plans that have come this far. May be repeated.",
)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most this many.")
@list_options(_COLUMNS, "id")
def list_plans(
    *, namespace: str | None, status: tuple[PlanStatus, ...], limit: int, server: Address, listing: Listing
) -> None:
    """List plans, the newest first.

    With --json JSON Lines: a plan each, without its moves.
    """
    where = {"namespace": namespace, "statuses": [*map(str, status)]}
    with ApiClient(server) as api:
        found = list(rows(api, "ListRebalancePlans", {"filter": where}, limit))
    listing.print(found, "plan")
