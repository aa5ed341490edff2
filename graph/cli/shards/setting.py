"""`omnirelay mesh shards set`."""

import click

from graph.cli.again import command_again
from graph.cli.api import Api
from graph.cli.exits import Failure
from graph.cli.options import change_input, change_options, force_option, server_options
from graph.cli.output import Json, print_json
from graph.cli.refusals import committed, refused
from graph.cli.shards.facts import shard_facts
from graph.cli.tables import fact_lines, print_facts
from graph.client.address import Address
from persistence.fields import MAX_COUNTER, capacity_problem
from persistence.records import ShardStatus


def _capacity(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    problem = None if value is None else capacity_problem(value)
    if problem is not None:
        raise click.BadParameter(f"It {problem}.")
    return value


@click.command("set")
@click.argument("namespace")
@click.argument("shard")
@click.option(
    "--expected-version", type=click.IntRange(1, MAX_COUNTER), required=True, help="The version you have seen."
)
@click.option("--owner", help="The mesh node that shall own it.")
@click.option("--leader", help="The replica that shall lead it.")
@click.option("--no-leader", is_flag=True, help="No replica shall lead it.")
@click.option(
    "--capacity", type=float, callback=_capacity, help="How much of a node it takes, relative to other shards."
)
@click.option("--locality", help="Where it would rather be: region, region/zone, zone:x or region:x.")
@click.option("--no-locality", is_flag=True, help="It does not matter where it is.")
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
    status: ShardStatus | None,
    reason: str,
    ticket: str | None,
    actor: str,
    force_reason: str | None,
    server: Address,
    as_json: bool,
) -> None:
    """Move one shard, or change it, if it still is at the version you have seen.

    With --json one document: shard, change and revision.
    """
    patch = _patch(owner, leader, no_leader, capacity, locality, no_locality, status)
    given = {"namespace": namespace, "shardId": shard, "expectedVersion": str(expected_version), **patch}
    with Api(server) as api:
        answer = api.change("UpdateShard", given | {"change": change_input(reason, ticket, actor, force_reason)})
    if answer["__typename"] == "VersionConflict":
        raise _conflict(answer)
    done = committed(answer)
    (record,) = done["shards"]
    if as_json:
        print_json({"shard": record, "change": done["change"], "revision": done["revision"]})
    else:
        print_facts(shard_facts(record, done["change"]))


def _patch(
    owner: str | None,
    leader: str | None,
    no_leader: bool,  # noqa: FBT001 - in the order of the options
    capacity: float | None,
    locality: str | None,
    no_locality: bool,  # noqa: FBT001 - same
    status: ShardStatus | None,
) -> Json:
    """The fields to change. What is not in it is left as it is; null clears."""
    if (leader is not None and no_leader) or (locality is not None and no_locality):
        raise click.UsageError("Give a value or take it away, not both.")
    values = {
        "ownerNodeId": owner,
        "leaderId": leader,
        "capacityHint": capacity,
        "localityHint": locality,
        "status": None if status is None else str(status),
    }
    patch: Json = {field: value for field, value in values.items() if value is not None}
    patch |= {field: None for field, cleared in (("leaderId", no_leader), ("localityHint", no_locality)) if cleared}
    if not patch:
        raise click.UsageError("Nothing to change: give --owner, --leader, --capacity, --locality or --status.")
    return patch


def _conflict(answer: Json) -> Failure:
    (stale,) = answer["conflicts"]
    now, change = stale["current"], stale["lastChange"]
    if now is None or change is None:
        return refused(answer)
    facts = [f"  {line}" for line in fact_lines(shard_facts(now, change))]
    again = command_again(expected_version=now["version"])
    advice = ["It is now:", *facts, "If your change still is the right one:", f"  {again}"]
    return refused(answer, advice)
