"""`omnirelay mesh nodes get`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Final

import click

from graph.cli.errors import ApiClient
from graph.cli.lookups import unknown_node
from graph.cli.nodes.shared import node_fields
from graph.cli.options import server_options
from graph.cli.output import NOTHING, Column, arrow, format_time, print_documents, print_fields, print_json
from graph.client.address import Address
from graph.client.records import Json
from persistence.model.records import ChangeKind

_KINDS: Final = (ChangeKind.REGISTER_NODE, ChangeKind.UPDATE_NODE, ChangeKind.DRAIN_NODE)

_PAGE: Final = 50

_PAGES: Final = 100
"""Of changes of nodes, which are looked at for those of one."""

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
    Column("FIELDS", "configuration", _changed),
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
        history = list(islice(_history(api, found), min(limit, int(found["version"]))))
    if as_json:
        print_json({**found, "history": history})
        return
    print_fields(node_fields(found, found["lastChange"]))
    if history:
        click.echo()
        print_documents(_HISTORY, history)


def _history(api: ApiClient, node: Json) -> Iterator[Json]:
    """Its changes, the newest first. It was registered when it was created, and not before."""
    where = {"kinds": [*map(str, _KINDS)], "since": node["createdAt"], "until": None}
    after = None
    for _ in range(_PAGES):
        page = api.execute("ListChanges", {"filter": where, "first": _PAGE, "after": after})["changes"]
        yield from (change for change in page["nodes"] if change["configuration"]["nodeId"] == node["nodeId"])
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return
