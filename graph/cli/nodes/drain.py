"""`omnirelay mesh nodes drain`."""

import click

from graph.cli.again import command_again, command_next
from graph.cli.api import Api
from graph.cli.exits import Exit, Failure
from graph.cli.nodes.facts import node_facts
from graph.cli.nodes.options import version_option
from graph.cli.nodes.preflight import Preflight, ask_preflight, complete_preflight, first_page, print_preflight
from graph.cli.nodes.reading import version_of
from graph.cli.nodes.writing import changed_node
from graph.cli.options import change_input, change_options, server_options
from graph.cli.output import Json, print_json, tell
from graph.cli.plans.options import all_option
from graph.cli.progress import waiting
from graph.cli.tables import print_facts
from graph.cli.text import shown
from graph.client.address import Address


@click.command("drain")
@click.argument("node")
@version_option
@click.option("--dry-run", is_flag=True, help="Say what would move and what would not; write nothing.")
@click.option("--accept-blockers", is_flag=True, help="Drain it although some of its shards have to stay.")
@all_option
@change_options
@server_options
def drain_node(
    *,
    node: str,
    expected_version: int | None,
    dry_run: bool,
    accept_blockers: bool,
    everything: bool,
    reason: str,
    ticket: str | None,
    actor: str | None,
    server: Address,
    as_json: bool,
) -> Exit:
    """Take a node out of use, so that the next plan moves its shards away. Shows what that plan would move where.

    Refused where shards have to stay, because they are pinned or fit nowhere else, unless that is accepted. With
    --dry-run the exit code is 1 then.

    With --json one document: preflight, node and change. The last two are null for a dry run.
    """
    with Api(server) as api:
        if dry_run:
            with waiting("Looking at what would move"):
                preflight = ask_preflight(api, node)
            _report(preflight, None, everything=everything, as_json=as_json)
            return Exit.NO if preflight.blockers else Exit.OK
        given = {
            "nodeId": node,
            "expectedVersion": version_of(api, node, expected_version),
            "acceptBlockers": accept_blockers,
            "change": change_input(reason, ticket, actor),
        }
        with waiting("Draining"):
            answer = api.change("DrainNode", given)
            done = changed_node(answer, _how_to_insist(answer))
            preflight, unread = _all_that_can_be_read(api, done["preflight"])
    _report(preflight, done, everything=everything, as_json=as_json)
    if unread is not None:
        tell(f"{shown(node)} is DRAINING. Not all of what would move could be read: {shown(unread.message)}")
    return Exit.OK


def _all_that_can_be_read(api: Api, answer: Json) -> tuple[Preflight, Failure | None]:
    """The node is being drained, whatever comes of asking for the rest."""
    try:
        return complete_preflight(api, answer), None
    except Failure as failure:
        return first_page(answer), failure


def _how_to_insist(answer: Json) -> list[str]:
    if answer["__typename"] != "DrainBlocked":
        return []
    return [
        "To drain it all the same, and leave those shards where they are:",
        f"  {command_again(accept_blockers=True)}",
    ]


def _report(preflight: Preflight, done: Json | None, *, everything: bool, as_json: bool) -> None:
    """`done` is null for a dry run."""
    if as_json:
        node, change = (None, None) if done is None else (done["node"], done["change"])
        print_json({"preflight": preflight.document, "node": node, "change": change})
        return
    print_preflight(preflight, everything=everything)
    if done is None:
        return
    click.echo()
    print_facts(node_facts(done["node"], done["change"]))
    if preflight.moves:
        tell("Nothing has moved yet. To have its shards moved away, and then apply the plan:")
        tell(f"  {command_next('omnirelay mesh rebalance plan')}")
