"""`omnirelay mesh shards get`."""

import click

from graph.cli.errors import ApiClient, Exit, Failure, newest_revision
from graph.cli.lookups import read_namespace
from graph.cli.options import server_options, shard_arguments
from graph.cli.output import made_by, print_fields, print_json
from graph.cli.points_in_time import PointInTime, as_of, as_of_option
from graph.cli.shards.shared import shard_fields
from graph.client.address import Address
from graph.client.records import Json


@click.command("get")
@shard_arguments
@as_of_option
@server_options
def get_shard(*, namespace: str, shard: str, point: PointInTime | None, server: Address, as_json: bool) -> None:
    """Show one shard, who changed it last and why, and by which change it came to its owner.

    With --json one document: shard, lastChange and ownerChange. A change is null if history does not reach back to it.
    """
    with ApiClient(server) as api:
        variables: Json = {"namespace": namespace, "shardId": shard}
        if point is not None:
            variables["asOf"] = as_of(point, lambda: newest_revision(api))
        found = api.execute("ShardWithChange", variables)["shard"]
        if found is None:
            read_namespace(api, namespace)
            raise _not_found(namespace, shard, past=point is not None)
    changes = {name: found.pop(name) for name in ("lastChange", "ownerChange")}
    if as_json:
        print_json({"shard": found, **changes})
    else:
        name, owner, *rest = shard_fields(found, changes["lastChange"])
        print_fields([name, owner, ("placed by", made_by(changes["ownerChange"])), *rest])


def _not_found(namespace: str, shard: str, *, past: bool) -> Failure:
    return Failure(
        Exit.NOT_FOUND,
        f"There {'was' if past else 'is'} no shard {shard} in namespace {namespace}.",
        [
            f"What became of it, if there ever was one: omnirelay mesh shards history {namespace} {shard}",
            f"What there is: omnirelay mesh shards list --namespace {namespace}",
        ],
    )
