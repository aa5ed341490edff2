"""`omnirelay mesh rebalance plan`."""

import click

from graph.cli.errors import LIST_NODES, ApiClient, committed
from graph.cli.options import change_input, change_options, server_options
from graph.cli.output import made_by, print_status
from graph.cli.plans import all_option, planning_input, planning_options, print_proposal, proposal_of, summary
from graph.cli.progress import waiting
from graph.cli.suggestions import suggest_next
from graph.client.address import Address
from graph.client.records import Json


@click.command("plan")
@planning_options
@all_option
@change_options
@server_options
def plan_rebalance(
    *,
    namespace: tuple[str, ...],
    max_moves: int | None,
    everything: bool,
    reason: str,
    ticket: str | None,
    actor: str | None,
    server: Address,
    as_json: bool,
) -> None:
    """Work out which shards have to move to be where their strategies want them, and keep that as a plan.

    Nothing moves before the plan is applied. The same mesh gives the same plan.

    With --json the plan's document, which `show` and `apply` take as a file.
    """
    change = change_input(reason, ticket, actor)
    with ApiClient(server) as api, waiting("Planning"):
        answer = api.change("PlanRebalance", planning_input(namespace, max_moves) | {"change": change})
    made = committed(answer, [LIST_NODES] if answer["__typename"] == "PlacementImpossible" else ())
    plan = made["plan"]
    document = plan["proposal"]["document"]
    proposal = proposal_of(document)
    if as_json:
        click.echo(document)
    else:
        print_proposal(proposal, everything=everything)
        click.echo(summary(proposal, "move"))
    if proposal.moves:
        _tell_how_to_go_on(plan, replayed=made["replayed"])


def _tell_how_to_go_on(plan: Json, *, replayed: bool) -> None:
    if replayed:
        print_status(f"The same plan was made already, by {made_by(plan['created'])}.")
    print_status(f"This is plan {plan['id']}; nothing has moved yet. To apply it:")
    print_status(f"  {suggest_next('omnirelay mesh rebalance apply', plan['id'])}")
