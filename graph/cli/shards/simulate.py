"""`omnirelay mesh shards simulate`: a plan for a mesh that might be; its nodes are typed as node-7,weight=2,zone=b."""

import json
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Unpack

import click

from graph.cli.errors import ApiClient
from graph.cli.lookups import require_nodes
from graph.cli.options import KEY_VALUE, KeyValue, Parsed, as_map, server_options
from graph.cli.output import print_json_text, printable
from graph.cli.plans import PlanningOptions, all_option, planning_input, planning_options
from graph.cli.progress import waiting
from graph.cli.proposals import print_proposal, proposal_of, summary
from graph.client.address import Address
from graph.client.records import Json
from persistence.model.fields import weight_problem
from persistence.model.records import NodeStatus


@dataclass(frozen=True, slots=True)
class SupposedNode:
    """`text` as it was typed; `given` is GraphQL's `SupposedNodeInput`."""

    text: str
    given: Json

    def __str__(self) -> str:
        return self.text


_LABEL: Final = "label."

_EXAMPLE: Final = "write for example node-7,weight=2,zone=b,label.disk=ssd"


def read_supposed_node(text: str) -> SupposedNode:
    """Raises ValueError with a message for the operator."""
    node_id, *members = text.split(",")
    if not node_id or "=" in node_id:
        raise ValueError(f"{printable(text)} does not begin with the id of a node: {_EXAMPLE}")
    values: Json = {}
    for member in members:
        name, equals, value = member.partition("=")
        if not equals:
            raise ValueError(f"{printable(member)} is not of the form name=value: {_EXAMPLE}")
        if name in values:
            raise ValueError(f"{printable(name)} is given twice")
        values[name] = _value(name, value)
    fields = {name: value for name, value in values.items() if not name.startswith(_LABEL)}
    labels = {name.removeprefix(_LABEL): value for name, value in values.items() if name.startswith(_LABEL)}
    return SupposedNode(text, {"nodeId": node_id, **fields} | ({"labels": labels} if labels else {}))


def _value(name: str, value: str) -> object:
    match name:
        case "region" | "zone":
            return value
        case "weight":
            weight = int(value) if value.isdecimal() else value
            if problem := weight_problem(weight):
                raise ValueError(f"weight {problem}")
            return weight
        case "status":
            if value.upper() not in set(NodeStatus):
                raise ValueError(f"{printable(value)} is no status: {', '.join(NodeStatus)}")
            return value.upper()
    if name.startswith(_LABEL):
        return value
    raise ValueError(f"{printable(name)} is nothing a node has: weight, region, zone, status, label.KEY")


SUPPOSED_NODE: Final = Parsed("node", read_supposed_node)


@click.command("simulate")
@planning_options
@click.option(
    "--node",
    metavar="NODE[,NAME=VALUE...]",
    multiple=True,
    type=SUPPOSED_NODE,
    help="Suppose this node, with this weight, region, zone, status, label.KEY. May be repeated.",
)
@click.option("--without", metavar="NODE", multiple=True, help="Suppose this node were not there. May be repeated.")
@click.option("--strategy", help="Suppose this strategy, in every namespace asked for.")
@click.option(
    "--parameter",
    multiple=True,
    type=KEY_VALUE,
    help="A parameter of that strategy, as JSON or as text. May be repeated.",
)
@all_option
@server_options
def simulate_rebalance(
    *,
    node: tuple[SupposedNode, ...],
    without: tuple[str, ...],
    strategy: str | None,
    parameter: tuple[KeyValue, ...],
    everything: bool,
    server: Address,
    as_json: bool,
    **options: Unpack[PlanningOptions],
) -> None:
    """Show which shards would move if the mesh were different. Nothing is kept, and nothing moves.

    Nodes of --vacate, --zone and --region are supposed to be DRAINING, and only their shards to move.

    With --json the document that a plan would have.
    """
    given: Json = {
        **planning_input(options),
        "nodes": _nodes(node, without),
        "strategy": strategy,
        "strategyParameters": {name: parameter_value(value) for name, value in as_map(parameter).items()},
    }
    with ApiClient(server) as api, waiting("Simulating"):
        require_nodes(api, without)
        variables = {"input": given, "details": False}
        document = api.execute("SimulateRebalance", variables)["simulateRebalance"]["document"]
    if as_json:
        print_json_text(document)
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
