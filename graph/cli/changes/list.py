"""`omnirelay mesh changes list`."""

from __future__ import annotations

from itertools import islice
from typing import Final

import click

from graph.cli.changes.shared import about, filter_input, filter_options, literal_part, of_tickets
from graph.cli.errors import ApiClient
from graph.cli.listing import Listing, list_options
from graph.cli.lookups import require_nodes
from graph.cli.output import Column, format_time, print_status
from graph.cli.plans import full_plan_id
from graph.cli.points_in_time import Time
from graph.client.address import Address
from graph.client.http import rows
from persistence.model.records import ChangeKind

_COLUMNS: Final = (
    Column("CHANGE", "id"),
    Column("TIME", "committedAt", format_time),
    Column("KIND", "kind"),
    Column("ABOUT", about),
    Column("REVISION", "lastRevision", wide=True),
    Column("FORCED", "forced"),
    Column("ACTOR", "actor"),
    Column("TICKET", "changeTicket"),
    Column("REASON", "reason"),
)


@click.command("list")
@filter_options
@click.option(
    "--kind",
    multiple=True,
    type=click.Choice(list(ChangeKind), case_sensitive=False),
    help="Only changes of this kind. May be repeated.",
)
@click.option("--plan", help="Only about this plan.")
@click.option("--node", help="Only by which this node was registered, changed or drained.")
@click.option("--forced", is_flag=True, help="Only those that were made past rules of a policy.")
@click.option("--search", help="Only with this in reason, actor, ticket, or why it was forced.")
@list_options(_COLUMNS, "id")
def list_changes(
    *,
    namespace: str | None,
    actor: str | None,
    ticket: str | None,
    since: Time | None,
    until: Time | None,
    kind: tuple[ChangeKind, ...],
    plan: str | None,
    node: str | None,
    forced: bool,
    search: str | None,
    limit: int,
    server: Address,
    listing: Listing,
) -> None:
    """List committed changes, the newest first.

    With --json JSON Lines: a change each.
    """
    where = filter_input(namespace, actor, ticket, since, until)
    where |= {
        "kinds": [*map(str, kind)],
        "planId": None if plan is None else full_plan_id(server, plan),
        "nodeId": node,
        "forced": True if forced else None,
        "search": search or literal_part(ticket),
    }
    with ApiClient(server) as api:
        if node is not None:
            require_nodes(api, [node])
        matching = of_tickets(ticket, rows(api, "ListChanges", {"filter": where}))
        found = list(islice(matching, limit))
        more = next(matching, None) is not None
    listing.print(found, "change")
    if more:
        print_status(f"These are the newest {limit:,}; for more raise --limit.")
