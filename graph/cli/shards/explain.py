"""`omnirelay mesh shards explain`."""

import json
from typing import Final

import click

from graph.cli.errors import ApiClient
from graph.cli.options import server_options, shard_arguments
from graph.cli.output import NOTHING, Column, Field, print_documents, print_fields, print_json, printable
from graph.cli.plans import all_option
from graph.cli.progress import waiting
from graph.cli.proposals import first, print_rest, print_violations, read_violation
from graph.client.address import Address
from graph.client.records import Json

_CANDIDATES: Final = (
    Column("RANK", "rank"),
    Column("NODE", "nodeId"),
    Column("STATUS", "status"),
    Column("WEIGHT", "weight"),
    Column("REGION", "region"),
    Column("ZONE", "zone"),
    Column("OBSTACLE", "obstacle"),
)


@click.command("explain")
@shard_arguments
@all_option
@server_options
def explain_shard(*, namespace: str, shard: str, everything: bool, server: Address, as_json: bool) -> None:
    """Say why a shard is where it is, where its strategy places it, and what the next plan does about that.

    With --json one document: the explanation, with every node and its rank or what speaks against it.
    """
    with ApiClient(server) as api, waiting("Explaining"):
        found = api.execute("ExplainShard", {"namespace": namespace, "shardId": shard})["explainShard"]
    if as_json:
        print_json(found)
        return
    click.echo(f"{printable(found['summary'])}\n")
    print_fields(_fields(found))
    if found["violations"]:
        click.echo()
        print_violations([read_violation(one) for one in found["violations"]], everything=everything)
    if found["candidates"]:
        click.echo()
        listed = first(found["candidates"], everything=everything)
        print_documents(_CANDIDATES, listed)
        print_rest(len(found["candidates"]) - len(listed), " nodes")


def _fields(explanation: Json) -> list[Field]:
    space, move = explanation["namespace"], explanation["move"]
    return [
        ("owner", explanation["ownerNodeId"]),
        ("target", explanation["targetNodeId"]),
        ("moves because", move and move["reason"]),
        ("stays because", explanation["stays"]),
        ("move", _position(explanation)),
        ("waits for", ", ".join(broken["rule"] for broken in explanation["waits"]) or NOTHING),
        ("replicas", ", ".join(explanation["replicaNodeIds"]) or NOTHING),
        ("strategy", f"{space['strategy']} (algorithm version {space['algorithmVersion']})"),
        ("parameters", json.dumps(space["strategyParameters"], sort_keys=True)),
    ]


def _position(explanation: Json) -> str | None:
    """`57 of 120, in wave 3 of 7`"""
    if explanation["number"] is None:
        return None
    number, planned, wave, waves = (explanation[name] for name in ("number", "planned", "wave", "waves"))
    return f"{number:,} of {planned:,}, in wave {wave:,} of {waves:,}"
