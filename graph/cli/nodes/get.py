"""`omnirelay mesh nodes get`."""

from __future__ import annotations

import json
from typing import Final

import click

from graph.cli.errors import ApiClient
from graph.cli.lookups import unknown_node
from graph.cli.nodes.shared import node_fields
from graph.cli.options import server_options
from graph.cli.output import NOTHING, Column, arrow, format_time, print_documents, print_fields, print_json
from graph.client.address import Address
from graph.client.http import rows
from graph.client.records import Json

_UNSHOWN: Final = ("version", "changeTicket")
"""Fields that have a column, or change with every change."""


def _changed(configuration: Json) -> str:
    """`weight 1 -> 3, zone a -> b`; of a node that is new, what it has."""
    before, after = configuration["previous"] or {}, configuration["current"]
    names = [name for name in after if name not in _UNSHOWN and before.get(name) != after[name]]
    return ", ".join(f"{name} {arrow(_shown(before.get(name)), _shown(after[name]))}" for name in names) or NOTHING


def _shown(value: object) -> object:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value


_HISTORY: Final = (
    Column("TIME", "committedAt", format_time),
    Column("CHANGE", "id"),
    Column("KIND", "kind"),
    Column("CHANGES", "configuration", _changed),
    Column("ACTOR", "actor"),
    Column("TICKET", "changeTicket"),
    Column("REASON", "reason"),
)


@click.command("get")
@click.argument("node")
@click.option(
    "--limit", type=click.IntRange(min=0), default=10, show_default=True, help="At most this many of its changes."
)
@server_options
def get_node(*, node: str, limit: int, server: Address, as_json: bool) -> None:
    """Show one node, who changed it last and why, and its newest changes; one that was removed too.

    With --json one document: the node, with lastChange and history.
    """
    with ApiClient(server) as api:
        found = api.execute("NodeWithChange", {"nodeId": node})["node"]
        if found is None:
            raise unknown_node(api, node)
        history = list(rows(api, "ListChanges", {"filter": {"nodeId": node}}, limit))
    if as_json:
        print_json({**found, "history": history})
        return
    print_fields(node_fields(found, found["lastChange"]))
    if history:
        click.echo()
        print_documents(_HISTORY, history)
