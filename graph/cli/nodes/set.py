"""`omnirelay mesh nodes set`."""

import click

from graph.cli.errors import ApiClient
from graph.cli.nodes.shared import changed_node, place_options, print_node, read_node, use_options
from graph.cli.options import (
    KEY_VALUE,
    KeyValue,
    as_map,
    change_input,
    change_options,
    expected_version_option,
    server_options,
)
from graph.client.address import Address
from graph.client.records import Json
from persistence.model.records import NodeStatus


@click.command("set")
@click.argument("node")
@expected_version_option
@place_options
@click.option("--no-region", is_flag=True, help="It is in no region that is known.")
@click.option("--no-zone", is_flag=True, help="It is in no zone that is known.")
@click.option("--label", multiple=True, type=KEY_VALUE, help="A label to set; others stay. May be repeated.")
@click.option("--no-label", metavar="KEY", multiple=True, help="A label to take away. May be repeated.")
@use_options(weight=None)
@change_options
@server_options
def set_node(
    *,
    node: str,
    expected_version: int,
    region: str | None,
    zone: str | None,
    no_region: bool,
    no_zone: bool,
    label: tuple[KeyValue, ...],
    no_label: tuple[str, ...],
    weight: int | None,
    status: NodeStatus | None,
    reason: str,
    ticket: str | None,
    actor: str | None,
    server: Address,
    as_json: bool,
) -> None:
    """Change one node, if it still is at the version you have seen. No shard moves before a plan is applied.

    With --json one document: node and change.
    """
    patch = _places(region, zone, no_region=no_region, no_zone=no_zone) | _use(weight, status)
    labels = as_map(label)
    if labels.keys() & set(no_label):
        raise click.UsageError("Set a label or take it away, not both.")
    if not (patch or labels or no_label):
        raise click.UsageError("Nothing to change: give --region, --zone, --label, --weight or --status.")
    given = {"nodeId": node, "expectedVersion": str(expected_version), "change": change_input(reason, ticket, actor)}
    with ApiClient(server) as api:
        if labels or no_label:
            # The API takes all labels at once. Read and written at the same version, or the server refuses.
            before = read_node(api, node)["labels"]
            patch["labels"] = {key: value for key, value in (before | labels).items() if key not in no_label}
        answer = api.change("UpdateNode", given | patch)
    print_node(changed_node(answer), as_json=as_json)


def _places(region: str | None, zone: str | None, *, no_region: bool, no_zone: bool) -> Json:
    """What is not in it is left as it is; null clears."""
    if (region is not None and no_region) or (zone is not None and no_zone):
        raise click.UsageError("Give a value or take it away, not both.")
    values: Json = {field: value for field, value in (("region", region), ("zone", zone)) if value is not None}
    cleared: Json = {field: None for field, clear in (("region", no_region), ("zone", no_zone)) if clear}
    return values | cleared


def _use(weight: int | None, status: NodeStatus | None) -> Json:
    values = {"weight": weight, "status": None if status is None else str(status)}
    return {field: value for field, value in values.items() if value is not None}
