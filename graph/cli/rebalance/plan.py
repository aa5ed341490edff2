"""`omnirelay mesh rebalance plan`."""

from typing import Unpack

import click

from graph.cli.errors import LIST_NODES, ApiClient, committed
from graph.cli.options import change_input, change_options, server_options
from graph.cli.output import made_by, print_status
from graph.cli.plans import PlanningOptions, all_option, planning_input, planning_options
from graph.cli.progress import waiting
from graph.cli.proposals import print_planned
from graph.cli.rebalance.shared import print_how_to_apply
from graph.client.address import Address


@click.command("plan")
@planning_options
@all_option
@change_options
@server_options
def plan_rebalance(
    *,
    everything: bool,
    reason: str,
    ticket: str | None,
    actor: str | None,
    server: Address,
    as_json: bool,
    **options: Unpack[PlanningOptions],
) -> None:
    """Work out which shards have to move to be where their strategies want them, and keep that as a plan.

    Nothing moves before the plan is applied. The same mesh gives the same plan.

    With --vacate, --zone, --region or --only all other shards stay where they are. Nodes to be vacated have to be
    DRAINING, DOWN or gone: 'omnirelay mesh nodes drain' comes first.

    With --json the plan's document, which `show` and `apply` take as a file.
    """
    change = change_input(reason, ticket, actor)
    with ApiClient(server) as api:
        with waiting("Planning"):
            answer = api.change("PlanRebalance", planning_input(options) | {"change": change}, details=False)
        made = committed(answer, [LIST_NODES] if answer["__typename"] == "PlacementImpossible" else ())
        plan = made["plan"]
        if print_planned(plan, everything=everything, as_json=as_json).moves:
            if made["replayed"]:
                print_status(f"The same plan was made already, by {made_by(plan['created'])}.")
            print_how_to_apply(api, plan, server)
