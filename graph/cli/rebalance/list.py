"""`omnirelay mesh rebalance list`."""

from typing import Final

import click

from graph.cli.errors import ApiClient
from graph.cli.options import server_options
from graph.cli.output import listed, pluralized, print_json, print_status, shown_percent, shown_time
from graph.cli.tables import print_table
from graph.client.address import Address
from graph.client.http import rows
from graph.client.records import Json
from persistence.model.plans import PlanStatus

_COLUMNS: Final = (
    *("PLAN", "STATUS", "MADE", "NAMESPACES", "MOVES", "DONE", "SHARDS", "MOVED %", "REVISION"),
    *("ACTOR", "TICKET", "REASON"),
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
@server_options
def list_plans(
    *, namespace: str | None, status: tuple[PlanStatus, ...], limit: int, server: Address, as_json: bool
) -> None:
    """List plans, the newest first.

    With --json JSON Lines: a plan each, without its moves.
    """
    where = {"namespace": namespace, "statuses": [*map(str, status)]}
    with ApiClient(server) as api:
        found = list(rows(api, "ListRebalancePlans", {"filter": where}, limit))
    if as_json:
        for plan in found:
            print_json(plan)
        return
    if found:
        print_table(_COLUMNS, [_cells(plan) for plan in found])
    print_status(f"{pluralized(len(found), 'plan')}.")


def _cells(plan: Json) -> tuple[object, ...]:
    change = plan["created"]
    return (
        plan["id"],
        plan["status"],
        shown_time(change["committedAt"]),
        listed(plan["namespaces"]),
        plan["moveCount"],
        plan["movesMade"],
        plan["shardCount"],
        shown_percent(plan["movedPercent"]),
        plan["baseRevision"],
        change["actor"],
        change["changeTicket"],
        change["reason"],
    )
