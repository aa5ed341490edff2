"""`omnirelay mesh rebalance show`."""

import click

from graph.cli.errors import ApiClient
from graph.cli.options import server_options
from graph.cli.output import Field, format_time, listed, made_by, print_fields, print_json_text
from graph.cli.plans import all_option, named_plan, read_plan
from graph.cli.proposals import print_proposal, proposal_of, summary
from graph.client.address import Address
from graph.client.records import Json


@click.command("show")
@click.argument("plan", metavar="PLAN")
@all_option
@server_options
def show_plan(*, plan: str, everything: bool, server: Address, as_json: bool) -> None:
    """Show a plan: what it moves and why, and what has become of it.

    PLAN is its id or how that begins, a file that `plan --json` wrote, or - for such a file on stdin.

    With --json the plan's document.
    """
    wanted = named_plan(plan, server)
    with ApiClient(server) as api:
        found = read_plan(api, wanted)
    document = found["proposal"]["document"]
    if as_json:
        print_json_text(document)
        return
    proposal = proposal_of(document)
    print_proposal(proposal, everything=everything)
    print_fields(plan_fields(found))
    click.echo(f"\n{summary(proposal, 'move')}")


def plan_fields(plan: Json) -> list[Field]:
    return [
        ("plan", plan["id"]),
        ("kind", plan["kind"]),
        ("status", plan["status"]),
        ("moves", f"{plan['movesMade']:,} of {plan['moveCount']:,} made"),
        ("namespaces", listed(plan["namespaces"], limit=10)),
        ("revision", plan["baseRevision"]),
        ("expires", format_time(plan["expiresAt"])),
        ("made by", made_by(plan["created"])),
        ("approval", made_by(plan["approved"])),
        ("newest", made_by(plan["latest"])),
        ("applied by", made_by(plan["applied"])),
    ]
