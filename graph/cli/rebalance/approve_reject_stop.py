"""`omnirelay mesh rebalance approve`, `reject` and `stop`: what is decided on a plan beside applying it."""

import click

from graph.cli.errors import ApiClient, committed
from graph.cli.options import change_input, change_options, server_options
from graph.cli.output import pluralized, print_json, print_status
from graph.cli.plans import named_plan
from graph.cli.rebalance.shared import how_to_apply, how_to_resume
from graph.client.address import Address
from graph.client.records import Json


@click.command("approve")
@click.argument("plan", metavar="PLAN")
@change_options
@server_options
def approve_plan(
    *, plan: str, reason: str, ticket: str | None, actor: str | None, server: Address, as_json: bool
) -> None:
    """Say that a plan may be applied. It is refused if anything that the plan relies on has changed since it was made.

    Where a policy asks for approval, it takes somebody else than whoever made the plan. PLAN is its id or how that
    begins, a file that `plan --json` wrote, or - for such a file on stdin.

    With --json one document: plan and change.
    """
    wanted = named_plan(plan, server)
    with ApiClient(server) as api:
        done = _decided(api, "ApprovePlan", wanted.id, change_input(reason, ticket, actor))
    _report(done, "is approved", as_json=as_json)
    print_status("To apply it:")
    print_status(f"  {how_to_apply(done['plan'])}")


@click.command("reject")
@click.argument("plan", metavar="PLAN")
@change_options
@server_options
def reject_plan(
    *, plan: str, reason: str, ticket: str | None, actor: str | None, server: Address, as_json: bool
) -> None:
    """Keep a plan from being applied, or from being applied any further, for good.

    PLAN is its id or how that begins, a file that `plan --json` wrote, or - for such a file on stdin.

    With --json one document: plan and change.
    """
    wanted = named_plan(plan, server)
    with ApiClient(server) as api:
        done = _decided(api, "RejectPlan", wanted.id, change_input(reason, ticket, actor))
    _report(done, "is rejected", as_json=as_json)


@click.command("stop")
@click.argument("plan", metavar="PLAN")
@change_options
@server_options
def stop_plan(*, plan: str, reason: str, ticket: str | None, actor: str | None, server: Address, as_json: bool) -> None:
    """Keep a plan that is being applied in waves from going on, whoever applies it, until it is resumed.

    PLAN is its id or how that begins, a file that `plan --json` wrote, or - for such a file on stdin.

    With --json one document: plan and change.
    """
    wanted = named_plan(plan, server)
    with ApiClient(server) as api:
        done = _decided(api, "StopPlan", wanted.id, change_input(reason, ticket, actor))
        _report(done, "is stopped", as_json=as_json)
        print_status("To go on with it in waves, once what it was stopped for is settled:")
        print_status(f"  {how_to_resume(api, done['plan'])}")


def _decided(api: ApiClient, operation: str, plan_id: str, change: Json) -> Json:
    return committed(api.change(operation, {"planId": plan_id, "change": change}))


def _report(done: Json, what: str, *, as_json: bool) -> None:
    plan = done["plan"]
    if as_json:
        print_json({"plan": plan, "change": done["change"]})
        return
    made = f"{plan['movesMade']:,} of {pluralized(plan['moveCount'], 'move')} made"
    click.echo(f"Plan {plan['id']} {what}: {made}, change {done['change']['id']}.")
