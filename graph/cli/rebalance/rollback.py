"""`omnirelay mesh rebalance rollback`."""

import click

from graph.cli.errors import ApiClient, committed
from graph.cli.options import change_input, change_options, server_options
from graph.cli.plans import all_option
from graph.cli.progress import waiting
from graph.cli.proposals import print_planned
from graph.cli.rebalance.shared import print_how_to_apply
from graph.client.address import Address
from persistence.model.fields import MAX_SHARDS_PER_CHANGE


@click.command("rollback")
@click.option("--of-change", metavar="ID", help="Take back what this change did.")
@click.option("--of-ticket", metavar="TICKET", help="Take back what all changes under this ticket did.")
@click.option("--since", metavar="REVISION", help="Take back everything after this revision.")
@click.option("--namespace", help="Only what was done in this namespace.")
@click.option("--max-moves", type=click.IntRange(1, MAX_SHARDS_PER_CHANGE), help="Give at most this many shards back.")
@all_option
@change_options
@server_options
def rollback_change(
    *,
    of_change: str | None,
    of_ticket: str | None,
    since: str | None,
    namespace: str | None,
    max_moves: int | None,
    everything: bool,
    reason: str,
    ticket: str | None,
    actor: str | None,
    server: Address,
    as_json: bool,
) -> None:
    """Work out a plan that gives shards back what they had before changes, and keep it. Nothing moves yet.

    Shards that others have changed since are left as they are, and listed; so are those that were created or deleted.

    With --json the plan's document, which `show` and `apply` take as a file.
    """
    if sum(value is not None for value in (of_change, of_ticket, since)) != 1:
        raise click.UsageError("Say what to take back: one of --of-change, --of-ticket and --since.")
    given = {
        "changeId": of_change,
        "changeTicket": of_ticket,
        "sinceRevision": since,
        "namespace": namespace,
        "maxMoves": max_moves,
        "change": change_input(reason, ticket, actor),
    }
    with ApiClient(server) as api:
        with waiting("Planning"):
            plan = committed(api.change("RollbackChange", given, details=False))["plan"]
        if print_planned(plan, everything=everything, as_json=as_json).moves:
            print_how_to_apply(api, plan, server)
