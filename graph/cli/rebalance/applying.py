"""`omnirelay mesh rebalance apply`."""

from typing import Final

import click

from graph.cli.again import command_next
from graph.cli.api import Api
from graph.cli.options import change_input, change_options, server_options
from graph.cli.output import Json, print_json
from graph.cli.plans.document import named_plan
from graph.cli.plans.reading import read_plan
from graph.cli.progress import waiting
from graph.cli.refusals import committed
from graph.cli.text import counted, shown_percent
from graph.client.address import Address

_FEW: Final = 10


@click.command("apply")
@click.argument("plan", metavar="PLAN")
@change_options
@server_options
def apply_plan(
    *, plan: str, reason: str, ticket: str | None, actor: str | None, server: Address, as_json: bool
) -> None:
    """Make every move of a plan as one change, if nothing that it relies on has changed since; otherwise none.

    PLAN is its id, a file that `plan --json` wrote, or - for such a file on stdin.

    With --json one document: plan, change and revision. The last two are null for a plan without moves.
    """
    wanted = named_plan(plan)
    with Api(server) as api:
        found = read_plan(api, wanted)
        if not found["moveCount"]:
            _report(found, None, as_json=as_json)
            return
        given = {"planId": wanted.id, "change": change_input(reason, ticket, actor)}
        with waiting(f"Applying {counted(found['moveCount'], 'move')}"):
            answer = api.change("ApplyPlan", given)
    done = committed(answer, _how_to_go_on(answer))
    _report(done["plan"], done, as_json=as_json)


def _how_to_go_on(answer: Json) -> list[str]:
    if answer["__typename"] != "StalePlan":
        return []
    again = command_next("omnirelay mesh rebalance plan", *_namespaces(answer["plan"]))
    return ["Nothing was moved. Plan again, and apply what comes out:", f"  {again}"]


def _namespaces(plan: Json) -> list[str]:
    """The options that ask for them; none where they are so many that all of them will have been meant."""
    names = plan["namespaces"]
    return [word for name in names for word in ("--namespace", name)] if len(names) <= _FEW else []


def _report(plan: Json, done: Json | None, *, as_json: bool) -> None:
    """`done` is null where there was nothing to do."""
    if as_json:
        without_moves = {name: value for name, value in plan.items() if name != "proposal"}
        print_json(
            {
                "plan": without_moves,
                "change": done and done["change"],
                "revision": done and done["revision"],
            }
        )
        return
    if done is None:
        click.echo(f"Plan {plan['id']} has no moves: there is nothing to apply.")
        return
    click.echo(
        f"Plan {plan['id']} is applied: {plan['moveCount']:,} of {counted(plan['shardCount'], 'shard')} moved "
        f"({shown_percent(plan['movedPercent'])}), revision {done['revision']}, change {done['change']['id']}."
    )
