"""`omnirelay mesh shards simulate`."""

import json
from typing import Any, NoReturn

import click

from graph.cli.api import Api
from graph.cli.key_values import KeyValue, KeyValueParameter, as_map
from graph.cli.options import server_options
from graph.cli.output import Json
from graph.cli.plans.options import all_option, planning_input, planning_options
from graph.cli.plans.proposal import print_proposal, proposal_of, summary
from graph.cli.progress import waiting
from graph.cli.shards.supposed import SupposedNode, SupposedNodeParameter
from graph.client.address import Address
from persistence.records import NodeStatus


@click.command("simulate")
@planning_options
@click.option(
    "--node",
    metavar="NODE[,NAME=VALUE...]",
    multiple=True,
    type=SupposedNodeParameter(),
    help="Suppose this node, with this weight, region, zone, status, label.KEY. May be repeated.",
)
@click.option("--without", metavar="NODE", multiple=True, help="Suppose this node were not there. May be repeated.")
@click.option("--strategy", help="Suppose this strategy, in every namespace asked for.")
@click.option(
    "--parameter",
    multiple=True,
    type=KeyValueParameter(),
    help="A parameter of that strategy, as JSON or as text. May be repeated.",
)
@all_option
@server_options
def simulate_rebalance(
    *,
    namespace: tuple[str, ...],
    max_moves: int | None,
    node: tuple[SupposedNode, ...],
    without: tuple[str, ...],
    strategy: str | None,
    parameter: tuple[KeyValue, ...],
    everything: bool,
    server: Address,
    as_json: bool,
) -> None:
    """Show which shards would move if the mesh were different. Nothing is kept, and nothing moves.

    With --json the document that a plan would have.
    """
    given: Json = {
        **planning_input(namespace, max_moves),
        "nodes": _nodes(node, without),
        "strategy": strategy,
        "strategyParameters": {name: parameter_value(value) for name, value in as_map(parameter).items()},
    }
    with Api(server) as api, waiting("Simulating"):
        document = api.ask("SimulateRebalance", {"input": given})["simulateRebalance"]["document"]
    if as_json:
        click.echo(document)
        return
    proposal = proposal_of(document)
    print_proposal(proposal, everything=everything)
    click.echo(summary(proposal, "would move"))


def parameter_value(text: str) -> Any:
    """JSON, or the text itself where it is none: 160, null, "eu", disk=ssd."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def _nodes(supposed: tuple[SupposedNode, ...], without: tuple[str, ...]) -> list[Json]:
    gone = [{"nodeId": node_id, "status": str(NodeStatus.REMOVED)} for node_id in without]
    return [*(node.given for node in supposed), *gone]


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
