"""`omnirelay mesh shards pin` and `unpin`."""

import click

from graph.cli.options import change_input, change_options, expected_version_option, server_options, shard_arguments
from graph.cli.points_in_time import DEADLINE, Time
from graph.cli.shards.shared import update_shard
from graph.client.address import Address
from graph.client.records import Json


@click.command("pin")
@shard_arguments
@expected_version_option
@click.option("--until", type=DEADLINE, help="When the pin ends: a time, or 15m, 2h, 3d from now. By default never.")
@change_options
@server_options
def pin_shard(
    *,
    namespace: str,
    shard: str,
    expected_version: int,
    until: Time | None,
    reason: str,
    ticket: str | None,
    actor: str | None,
    server: Address,
    as_json: bool,
) -> None:
    """Pin one shard to the node it is on: until the pin ends, no plan moves it and nobody else does.

    The reason of the change is that of the pin. With --json one document: shard, change and revision.
    """
    pin = {"reason": reason, "until": None if until is None else str(until)}
    update_shard(
        _patch(namespace, shard, expected_version, pin), change_input(reason, ticket, actor), server, as_json=as_json
    )


@click.command("unpin")
@shard_arguments
@expected_version_option
@change_options
@server_options
def unpin_shard(
    *,
    namespace: str,
    shard: str,
    expected_version: int,
    reason: str,
    ticket: str | None,
    actor: str | None,
    server: Address,
    as_json: bool,
) -> None:
    """Take the pin off one shard: plans and operators may move it again.

    With --json one document: shard, change and revision.
    """
    update_shard(
        _patch(namespace, shard, expected_version, None), change_input(reason, ticket, actor), server, as_json=as_json
    )


def _patch(namespace: str, shard: str, expected_version: int, pin: Json | None) -> Json:
    return {"namespace": namespace, "shardId": shard, "expectedVersion": str(expected_version), "pin": pin}
