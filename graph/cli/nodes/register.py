"""`omnirelay mesh nodes register`."""

from collections.abc import Sequence
from typing import Final

import click
from click.core import ParameterSource

from graph.cli.errors import ApiClient, Failure, committed, refused
from graph.cli.nodes.shared import now_is, place_options, print_node, use_options
from graph.cli.options import KEY_VALUE, KeyValue, as_map, change_input, change_options, server_options
from graph.cli.suggestions import suggest_next
from graph.client.address import Address
from graph.client.records import Json
from persistence.model.records import NodeStatus

_OF_SET: Final = ("region", "zone", "label", "weight", "status")
"""Options that `nodes set` has as well."""


@click.command("register")
@click.argument("node")
@place_options
@click.option("--label", multiple=True, type=KEY_VALUE, help="Something selectors can match it by. May be repeated.")
@use_options(weight=1)
@change_options
@server_options
def register_node(
    *,
    node: str,
    region: str | None,
    zone: str | None,
    label: tuple[KeyValue, ...],
    weight: int,
    status: NodeStatus | None,
    reason: str,
    ticket: str | None,
    actor: str | None,
    server: Address,
    as_json: bool,
) -> None:
    """Add a node to the mesh, or one that was removed again. It is ACTIVE unless --status says otherwise.

    It owns nothing until a plan that counts on it is applied.

    With --json one document: node and change.
    """
    given = {
        "nodeId": node,
        "region": region,
        "zone": zone,
        "labels": as_map(label),
        "weight": weight,
        "status": str(status or NodeStatus.ACTIVE),
        "change": change_input(reason, ticket, actor),
    }
    with ApiClient(server) as api:
        answer = api.change("RegisterNode", given)
    if answer["__typename"] == "NodeVersionConflict" and answer["current"] is not None:
        raise _there_already(answer)
    print_node(committed(answer), as_json=as_json)


def _there_already(answer: Json) -> Failure:
    """With the command that changes it as was requested, if anything was."""
    now = answer["current"]
    context = click.get_current_context()
    typed = [name for name in _OF_SET if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    words = [word for name in typed for one in _values(context.params[name]) for word in (f"--{name}", str(one))]
    advice = now_is(now, answer["lastChange"])
    if words:
        at = ("--expected-version", now["version"])
        change = suggest_next("omnirelay mesh nodes set", *at, *words, arguments=[now["nodeId"]])
        advice += ["To change it to what was given:", f"  {change}"]
    return refused(answer, advice)


def _values(value: object) -> Sequence[object]:
    return value if isinstance(value, tuple) and not isinstance(value, KeyValue) else (value,)
