"""`omnirelay mesh shards set`."""

from collections.abc import Mapping

import click

from graph.cli.options import (
    change_input,
    change_options,
    checked_by,
    expected_version_option,
    force_option,
    server_options,
    shard_arguments,
)
from graph.cli.shards.shared import update_shard
from graph.client.address import Address
from graph.client.records import Json
from persistence.model.fields import capacity_problem
from persistence.model.records import ShardStatus


@click.command("set")
@shard_arguments
@expected_version_option
@click.option("--owner", help="The mesh node that shall own it.")
@click.option("--leader", help="The replica that shall lead it.")
@click.option("--no-leader", is_flag=True, help="No replica shall lead it.")
@click.option(
    "--capacity",
    type=float,
    callback=checked_by(capacity_problem),
    help="How much of a node it takes, relative to other shards.",
)
@click.option("--locality", help="Where it would rather be: region, region/zone, zone:x or region:x.")
@click.option("--no-locality", is_flag=True, help="It does not matter where it is.")
@click.option("--group", help="The anti-affinity group: shards of one group are on different nodes.")
@click.option("--no-group", is_flag=True, help="It may be on the same node as any other shard.")
@click.option(
    "--status", type=click.Choice(list(ShardStatus), case_sensitive=False), help="What its owner may do with it."
)
@change_options
@force_option
@server_options
def set_shard(
    *,
    namespace: str,
    shard: str,
    expected_version: int,
    owner: str | None,
    leader: str | None,
    no_leader: bool,
    capacity: float | None,
    locality: str | None,
    no_locality: bool,
    group: str | None,
    no_group: bool,
    status: ShardStatus | None,
    reason: str,
    ticket: str | None,
    actor: str | None,
    force_reason: str | None,
    server: Address,
    as_json: bool,
) -> None:
    """Move one shard, or change it, if it still is at the version you have seen.

    With --json one document: shard, change and revision.
    """
    patch = _patch(
        {
            "ownerNodeId": owner,
            "leaderId": leader,
            "capacityHint": capacity,
            "localityHint": locality,
            "antiAffinityGroup": group,
            "status": None if status is None else str(status),
        },
        {"leaderId": no_leader, "localityHint": no_locality, "antiAffinityGroup": no_group},
    )
    given = {"namespace": namespace, "shardId": shard, "expectedVersion": str(expected_version), **patch}
    update_shard(given, change_input(reason, ticket, actor, force_reason), server, as_json=as_json)


def _patch(values: Json, cleared: Mapping[str, bool]) -> Json:
    """The fields to change. What is not in it is left as it is; null clears."""
    if any(values[field] is not None for field, is_cleared in cleared.items() if is_cleared):
        raise click.UsageError("Give a value or take it away, not both.")
    patch = {field: value for field, value in values.items() if value is not None}
    patch |= {field: None for field, is_cleared in cleared.items() if is_cleared}
    if not patch:
        raise click.UsageError(
            "Nothing to change: give --owner, --leader, --capacity, --locality, --group or --status."
        )
    return patch
