"""`omnirelay mesh namespaces list`."""

import json
from typing import Final

import click

from graph.cli.api import Api
from graph.cli.options import server_options
from graph.cli.output import print_json, tell
from graph.cli.tables import print_table
from graph.cli.text import counted, shown_time
from graph.client.address import Address
from graph.client.pages import rows

_COLUMNS: Final = ("NAMESPACE", "STRATEGY", "PARAMETERS", "VERSION", "SHARDS", "REVISION", "UPDATED")


@click.command("list")
@server_options
def list_namespaces(*, server: Address, as_json: bool) -> None:
    """List all namespaces.

    With --json JSON Lines: a namespace each.
    """
    with Api(server) as api:
        found = list(rows(api, "ListNamespaces", {}))
    if as_json:
        for item in found:
            print_json(item)
        return
    if found:
        print_table(
            _COLUMNS,
            [
                (
                    item["name"],
                    item["strategy"],
                    json.dumps(item["strategyParameters"], sort_keys=True),
                    item["version"],
                    item["shardCount"],
                    item["revision"],
                    shown_time(item["updatedAt"]),
                )
                for item in found
            ],
        )
    tell(f"{counted(len(found), 'namespace')}.")
