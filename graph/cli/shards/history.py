"""`omnirelay mesh shards history`."""

from typing import Final

import click

from graph.cli.errors import ApiClient
from graph.cli.listing import Listing, list_options
from graph.cli.lookups import require_owners, require_shard
from graph.cli.options import optional_shard_arguments
from graph.cli.output import Column, format_time, moved_percent, print_status
from graph.cli.points_in_time import PAST_TIME, Time
from graph.cli.shards.shared import other_changes, owner_change, shard_name
from graph.client.address import Address
from graph.client.http import pages
from graph.client.records import Json
from persistence.model.records import MoveReason

_COLUMNS: Final = (
    Column("TIME", "change.committedAt", format_time),
    Column("REVISION", "revision"),
    Column("SHARD", shard_name),
    Column("VERSION", "version"),
    Column("KIND", "kind"),
    Column("OWNER", owner_change),
    Column("MOVE REASON", "moveReason"),
    Column("OTHER CHANGES", other_changes),
    Column("MOVED %", "change", moved_percent),
    Column("ACTOR", "change.actor"),
    Column("TICKET", "change.changeTicket"),
    Column("REASON", "change.reason"),
)


@click.command("history")
@optional_shard_arguments
@click.option("--owner", help="Only changes of shards this node owned, before or after.")
@click.option("--ticket", help="Only changes made under this ticket.")
@click.option("--actor", help="Only changes this actor made.")
@click.option(
    "--move-reason",
    multiple=True,
    type=click.Choice(list(MoveReason), case_sensitive=False),
    help="Only moves of a rebalance that were made for this reason. May be repeated.",
)
@click.option("--since", type=PAST_TIME, help="Only changes since a time, or since 15m, 2h, 3d ago.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most this many.")
@list_options(_COLUMNS, shard_name)
def shard_history(
    *,
    namespace: str | None,
    shard: str | None,
    owner: str | None,
    ticket: str | None,
    actor: str | None,
    move_reason: tuple[MoveReason, ...],
    since: Time | None,
    limit: int,
    server: Address,
    listing: Listing,
) -> None:
    """List changes of shards, the newest first: of all, of a namespace, or of one shard.

    With --json JSON Lines: a change of a shard each.
    """
    where = {
        "namespace": namespace,
        "shardId": shard,
        "ownerNodeId": owner,
        "changeTicket": ticket,
        "actor": actor,
        "moveReasons": [*map(str, move_reason)],
        "since": None if since is None else str(since),
    }
    more = False
    found: list[Json] = []
    as_they_come = listing.as_json and listing.sort is None
    with ApiClient(server) as api:
        none = True
        for page in pages(api, "ShardHistory", {"filter": where}, limit):
            none = none and not page["nodes"]
            more = page["pageInfo"]["hasNextPage"]
            if as_they_come:
                listing.print_json(page["nodes"])
            else:
                found += page["nodes"]
        if none and not more:
            if namespace is not None and shard is not None:
                require_shard(api, namespace, shard)
            require_owners(api, () if owner is None else (owner,))
    listing.print_json(found) if listing.as_json else listing.print_rows(listing.arranged(found))
    if not (found or listing.as_json):
        print_status("No change matches.")
    if more:
        print_status(f"These are the newest {limit:,}; for more raise --limit.")
