"""One shard changed, and shown as it is then: what `set`, `pin` and `unpin` come to."""

from graph.cli.again import command_again
from graph.cli.api import Api
from graph.cli.exits import Failure
from graph.cli.output import Json, print_json
from graph.cli.refusals import committed, refused
from graph.cli.shards.facts import shard_facts
from graph.cli.tables import fact_lines, print_facts
from graph.client.address import Address


def update_shard(patch: Json, change: Json, server: Address, *, as_json: bool) -> None:
    """Raises Failure if it is refused; for a stale version, with the command that would go through."""
    with Api(server) as api:
        answer = api.change("UpdateShard", patch | {"change": change})
    if answer["__typename"] == "VersionConflict":
        raise _conflict(answer)
    done = committed(answer)
    (record,) = done["shards"]
    if as_json:
        print_json({"shard": record, "change": done["change"], "revision": done["revision"]})
    else:
        print_facts(shard_facts(record, done["change"]))


def _conflict(answer: Json) -> Failure:
    (stale,) = answer["conflicts"]
    now, change = stale["current"], stale["lastChange"]
    if now is None or change is None:
        return refused(answer)
    facts = [f"  {line}" for line in fact_lines(shard_facts(now, change))]
    again = command_again(expected_version=now["version"])
    advice = ["It is now:", *facts, "If your change still is the right one:", f"  {again}"]
    return refused(answer, advice)
