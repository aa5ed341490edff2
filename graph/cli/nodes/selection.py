"""Which nodes a command is for, where it may be several: named one by one, or all of a zone or region."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypedDict, TypeVar

import click

from graph.cli.errors import LIST_NODES, ApiClient, Exit, Failure
from graph.cli.nodes.shared import read_node
from graph.cli.output import printable
from graph.client.http import rows
from graph.client.records import Json

F = TypeVar("F", bound=Callable[..., Any])

MOST: Final = 1_000
"""Nodes at once, as a plan can be narrowed to."""


class Selection(TypedDict):
    """The values of `node_selection`."""

    nodes: tuple[str, ...]
    zone: tuple[str, ...]
    region: tuple[str, ...]


def node_selection(command: F) -> F:
    """[NODE]..., --zone, --region."""
    command = click.option("--region", multiple=True, help="Every node of this region. May be repeated.")(command)
    command = click.option(
        "--zone", metavar="[REGION/]ZONE", multiple=True, help="Every node of this zone. May be repeated."
    )(command)
    return click.argument("nodes", metavar="[NODE]...", nargs=-1)(command)


def selected_nodes(api: ApiClient, selection: Selection) -> Sequence[Json]:
    """Each once, by id; of zones and regions those that are registered. Raises UsageError where nothing is named, and
    Failure for a node that never was, or a zone or region without nodes."""
    names, zones, regions = selection["nodes"], selection["zone"], selection["region"]
    if not (names or zones or regions):
        raise click.UsageError("Say which: nodes, --zone or --region.")
    found = {name: read_node(api, name) for name in dict.fromkeys(names)}
    if zones or regions:
        registered = list(rows(api, "ListNodes", {}))
        for what, places, is_in in (("zone", zones, _is_in_zone), ("region", regions, _is_in_region)):
            for place in places:
                inside = {node["nodeId"]: node for node in registered if is_in(node, place)}
                if not inside:
                    raise Failure(Exit.NOT_FOUND, f"No node is in {what} {printable(place)}.", [LIST_NODES])
                found |= inside
    if len(found) > MOST:
        raise Failure(Exit.INVALID, f"These are {len(found):,} nodes; at most {MOST:,} can be named at once.")
    return [found[node_id] for node_id in sorted(found)]


def _is_in_zone(node: Json, place: str) -> bool:
    region, slash, zone = place.rpartition("/")
    return bool(node["zone"] == zone and (not slash or node["region"] == region))


def _is_in_region(node: Json, place: str) -> bool:
    return bool(node["region"] == place)
