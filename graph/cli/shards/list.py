"""`omnirelay mesh shards list`."""

from typing import Final

import click

from graph.cli.errors import ApiClient, newest_revision
from graph.cli.listing import Listing, list_options
from graph.cli.lookups import require_owners
from graph.cli.output import Column, format_time, pluralized, print_json, print_status
from graph.cli.points_in_time import PointInTime, as_of, as_of_option
from graph.cli.shards.shared import shard_name
from graph.client.address import Address
from graph.client.http import pages
from graph.client.records import Json
from persistence.model.records import ShardStatus

_COLUMNS: Final = (
    Column("NAMESPACE", "namespace"),
    Column("SHARD", "shardId"),
    Column("OWNER", "ownerNodeId"),
    Column("EPOCH", "ownerEpoch"),
    Column("LEADER", "leaderId"),
    Column("STATUS", "status"),
    Column("CAPACITY", "capacityHint"),
    Column("LOCALITY", "localityHint"),
    Column("PINNED", "pinned.by"),
    Column("GROUP", "antiAffinityGroup", wide=True),
    Column("STRATEGY", "strategy", wide=True),
    Column("REVISION", "revision", wide=True),
    Column("CHECKSUM", "checksum", wide=True),
    Column("CREATED", "createdAt", format_time, wide=True),
    Column("VERSION", "version"),
    Column("UPDATED", "updatedAt", format_time),
    Column("TICKET", "changeTicket"),
)


@click.command("list")
@click.option("--namespace", help="Only shards of this namespace.")
@click.option("--owner", multiple=True, help="Only shards this node owns. May be repeated.")
@click.option(
    "--status",
    multiple=True,
    type=click.Choice(list(ShardStatus), case_sensitive=False),
    help="Only shards in this state. May be repeated.",
)
@click.option("--search", help="Only shards whose id contains this, case and all.")
@as_of_option
@click.option("--limit", type=click.IntRange(min=1), help="At most this many. All by default.")
@list_options(_COLUMNS, shard_name)
def list_shards(
    *,
    namespace: str | None,
    owner: tuple[str, ...],
    status: tuple[ShardStatus, ...],
    search: str | None,
    point: PointInTime | None,
    limit: int | None,
    server: Address,
    listing: Listing,
) -> None:
    """List shards, exact at one revision however many there are.

    With --json one document: revision, cursor (follow the list with watch --after) and shards.
    """
    where = {"namespace": namespace, "ownerNodeIds": owner, "statuses": [*map(str, status)], "search": search}
    with ApiClient(server) as api:
        variables: Json = {"filter": where}
        if point is not None:
            variables["asOf"] = as_of(point, lambda: newest_revision(api))
        found = list(pages(api, "ListShards", variables, limit, pinned=True))
        listed = [shard for page in found for shard in page["nodes"]]
        seen = {shard["ownerNodeId"] for shard in listed}
        if missing := [name for name in owner if name not in seen]:
            require_owners(api, missing)
    shards = listing.arranged(listed)
    if listing.as_json:
        print_json({"revision": found[0]["revision"], "cursor": found[0]["cursor"], "shards": shards})
        return
    listing.print_rows(shards)
    print_status(f"{pluralized(len(shards), 'shard')} at revision {found[0]['revision']}.")
    if found[-1]["pageInfo"]["hasNextPage"]:
        print_status("There are more: raise --limit or leave it out.")
