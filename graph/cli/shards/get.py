"""`omnirelay mesh shards get`."""

import click

from graph.cli.errors import ApiClient, Exit, Failure, newest_revision
from graph.cli.options import server_options, shard_arguments
from graph.cli.output import print_fields, print_json
from graph.cli.points_in_time import PointInTime, as_of, as_of_option
from graph.cli.shards.shared import shard_fields, shard_name
from graph.client.address import Address
from graph.client.http import rows
from graph.client.records import Json


@click.command("get")
@shard_arguments
@as_of_option
@server_options
def get_shard(*, namespace: str, shard: str, point: PointInTime | None, server: Address, as_json: bool) -> None:
    """Show one shard, and who changed it last and why.

    With --json one document: shard and lastChange.
    """
    with ApiClient(server) as api:
        variables: Json = {"namespace": namespace, "shardId": shard}
        if point is not None:
            variables["asOf"] = as_of(point, lambda: newest_revision(api))
        record = api.execute("ShardDetails", variables)["shard"]
        if record is None:
            raise _not_found(namespace, shard, past=point is not None)
        change = _change_of(api, record)
    if as_json:
        print_json({"shard": record, "lastChange": change})
    else:
        print_fields(shard_fields(record, change))


def _change_of(api: ApiClient, shard: Json) -> Json:
    """The change that left the shard as it is: the newest of its history, or of the past an older one."""
    where = {"namespace": shard["namespace"], "shardId": shard["shardId"]}
    history = rows(api, "ShardHistory", {"filter": where})
    found = next((row["change"] for row in history if row["revision"] == shard["revision"]), None)
    if found is None:
        raise Failure(Exit.INTERNAL, f"History does not know revision {shard['revision']} of {shard_name(shard)}.")
    return dict(found)


def _not_found(namespace: str, shard: str, *, past: bool) -> Failure:
    return Failure(
        Exit.NOT_FOUND,
        f"There {'was' if past else 'is'} no shard {shard} in namespace {namespace}.",
        [
            f"What became of it, if there ever was one: omnirelay mesh shards history {namespace} {shard}",
            f"What there is: omnirelay mesh shards list --namespace {namespace}",
        ],
    )
