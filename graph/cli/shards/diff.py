"""`omnirelay mesh shards diff`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import click

from graph.cli.errors import ApiClient, Exit, newest_revision
from graph.cli.listing import Listing, list_options
from graph.cli.output import Column, format_percent, moved_percent, print_json
from graph.cli.points_in_time import POINT_IN_TIME, PointInTime, as_of
from graph.cli.shards.shared import is_move, other_changes, owner_change, shard_name
from graph.client.address import Address
from graph.client.http import pages
from graph.client.records import Json

_COLUMNS: Final = (
    Column("SHARD", shard_name),
    Column("KIND", "kind"),
    Column("OWNER", owner_change),
    Column("MOVE REASON", "moveReason"),
    Column("OTHER CHANGES", other_changes),
    Column("REVISION", "revision"),
    Column("MOVED %", "change", moved_percent),
    Column("ACTOR", "change.actor"),
    Column("TICKET", "change.changeTicket"),
    Column("REASON", "change.reason"),
)


@dataclass(frozen=True, slots=True)
class Summary:
    """`shards` counts those there were at the end that the difference is from, null where there are too many to be
    counted; `movedPercent` is null then, and if there were none."""

    created: int
    moved: int
    changed: int
    deleted: int
    shards: int | None
    movedPercent: float | None  # noqa: N815 - as it is called in the JSON this becomes

    @classmethod
    def of(cls, diffs: Sequence[Json], shards: int | None) -> "Summary":
        kinds = [diff["kind"] for diff in diffs]
        moved = sum(map(is_move, diffs))
        return cls(
            created=kinds.count("CREATED"),
            moved=moved,
            changed=kinds.count("UPDATED") - moved,
            deleted=kinds.count("DELETED"),
            shards=shards,
            movedPercent=round(100 * moved / shards, 6) if shards else None,
        )

    def __str__(self) -> str:
        counts = f"{self.created:,} created, {self.moved:,} moved, {self.changed:,} changed, {self.deleted:,} deleted"
        if self.movedPercent is None:
            return counts
        return f"{counts}; {format_percent(self.movedPercent)} of {self.shards:,} shards moved"


# A revision so many ago looks like an option to the parser; POINT_IN_TIME refuses what is neither.
@click.command("diff", context_settings={"ignore_unknown_options": True})
@click.argument("start", metavar="FROM", type=POINT_IN_TIME)
@click.argument("end", metavar="[TO]", type=POINT_IN_TIME, required=False)
@click.option("--namespace", help="Only shards of this namespace.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if there is a difference, as git does.")
@list_options(_COLUMNS, shard_name)
def diff_shards(
    *,
    start: PointInTime,
    end: PointInTime | None,
    namespace: str | None,
    exit_code: bool,
    server: Address,
    listing: Listing,
) -> Exit:
    """Show the net difference between two moments: FROM and TO (by default now).

    Each is a revision, -N for N revisions ago, a time such as 2026-01-31T09:30:00Z, or 15m, 2h, 3d for so long ago.

    With --json one document: from, to, summary and diffs.
    """
    with ApiClient(server) as api:
        first = _position(api, start, namespace)
        variables: Json = {"from": first["revision"], "namespace": namespace}
        if end is not None:
            variables["to"] = _position(api, end, namespace)["revision"]
        found = list(pages(api, "DiffShards", variables))
        diffs = listing.arranged(diff for page in found for diff in page["nodes"])
        to = found[0]["revision"]
        exact = first["totalCountIsExact"]
        shards = first["totalCount"] if exact else _count_before(api, diffs, to, namespace)
    summary = Summary.of(diffs, shards)
    if listing.as_json:
        print_json({"from": first["revision"], "to": to, "summary": asdict(summary), "diffs": diffs})
    else:
        listing.print_rows(diffs)
        click.echo(f"Revision {first['revision']} to {to}: {summary}.", err=listing.is_for_programs)
    return Exit.NO if diffs and exit_code else Exit.OK


def _position(api: ApiClient, point: PointInTime, namespace: str | None) -> Json:
    """The revision of a point in time, and how many shards there were."""
    when = as_of(point, lambda: newest_revision(api))
    return dict(api.execute("CountShards", {"filter": {"namespace": namespace}, "asOf": when})["shards"])


def _count_before(api: ApiClient, diffs: Sequence[Json], to: str, namespace: str | None) -> int | None:
    """How many shards there were before these diffs, which lead to the revision `to`, from how many there are now: of
    the past no more than a thousand are counted. Null where the server does not have them in memory, and stops too."""
    now = dict(api.execute("CountShards", {"filter": {"namespace": namespace}})["shards"])
    if not now["totalCountIsExact"]:
        return None
    since = {"from": to, "to": now["revision"], "namespace": namespace}
    later = [diff for page in pages(api, "DiffShards", since) for diff in page["nodes"]]
    kinds = Counter(diff["kind"] for diff in (*diffs, *later))
    return int(now["totalCount"]) - kinds["CREATED"] + kinds["DELETED"]
