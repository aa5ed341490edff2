"""A node as it might be, as it is typed: node-7,weight=2,zone=b,label.disk=ssd."""

from dataclasses import dataclass
from typing import Final

import click

from graph.cli.output import Json
from graph.cli.text import shown
from persistence.fields import weight_problem
from persistence.records import NodeStatus

_LABEL: Final = "label."
_EXAMPLE: Final = "write for example node-7,weight=2,zone=b,label.disk=ssd"


@dataclass(frozen=True, slots=True)
class SupposedNode:
    """`text` as it was typed; `given` is GraphQL's `SupposedNodeInput`."""

    text: str
    given: Json

    def __str__(self) -> str:
        return self.text


def read_supposed_node(text: str) -> SupposedNode:
    """Raises ValueError with a sentence."""
    node_id, *members = text.split(",")
    if not node_id or "=" in node_id:
        raise ValueError(f"{shown(text)} does not begin with the id of a node: {_EXAMPLE}")
    values: Json = {}
    for member in members:
        name, equals, value = member.partition("=")
        if not equals:
            raise ValueError(f"{shown(member)} is not of the form name=value: {_EXAMPLE}")
        if name in values:
            raise ValueError(f"{shown(name)} is given twice")
        values[name] = _value(name, value)
    fields = {name: value for name, value in values.items() if not name.startswith(_LABEL)}
    labels = {name.removeprefix(_LABEL): value for name, value in values.items() if name.startswith(_LABEL)}
    return SupposedNode(text, {"nodeId": node_id, **fields} | ({"labels": labels} if labels else {}))


class SupposedNodeParameter(click.ParamType[SupposedNode, object]):
    name = "node"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> SupposedNode:
        try:
            return value if isinstance(value, SupposedNode) else read_supposed_node(str(value))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


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
                raise ValueError(f"{shown(value)} is no status: {', '.join(NodeStatus)}")
            return value.upper()
    if name.startswith(_LABEL):
        return value
    raise ValueError(f"{shown(name)} is nothing a node has: weight, region, zone, status, label.KEY")
