"""`omnirelay mesh shards explain`."""

import json
from typing import Final

import click

from graph.cli.errors import ApiClient
from graph.cli.options import server_options
from graph.cli.output import NOTHING, print_json, printable
from graph.cli.plans import all_option, first, print_rest, print_violations, read_violation
from graph.cli.progress import waiting
from graph.cli.tables import print_facts, print_table
from graph.client.address import Address
from graph.client.records import Json

_COLUMNS: Final = ("RANK", "NODE", "STATUS", "WEIGHT", "REGION", "ZONE", "OBSTACLE")


@click.command("explain")
@click.argument("namespace")
@click.argument("shard")
@all_option
@server_options
def explain_shard(*, namespace: str, shard: str, everything: bool, server: Address, as_json: bool) -> None:
    """Say why a shard is where it is, where its strategy wants it, and what the next plan does about that.

    With --json one document: the explanation, with every node and its rank or what speaks against it.
    """
    with ApiClient(server) as api, waiting("Explaining"):
        found = api.ask("ExplainShard", {"namespace": namespace, "shardId": shard})["explainShard"]
    if as_json:
        print_json(found)
        return
    click.echo(f"{printable(found['summary'])}\n")
    print_facts(_facts(found))
    if found["violations"]:
        click.echo()
        print_violations([read_violation(one) for one in found["violations"]], everything=everything)
    if found["candidates"]:
        click.echo()
        listed = first(found["candidates"], everything=everything)
        print_table(_COLUMNS, [_cells(candidate) for candidate in listed])
        print_rest(len(found["candidates"]) - len(listed), " nodes")


def _facts(explanation: Json) -> list[tuple[str, object]]:
    space, move = explanation["namespace"], explanation["move"]
    return [
        ("owner", explanation["ownerNodeId"]),
        ("target", explanation["targetNodeId"]),
        ("moves because", move and move["reason"]),
        ("stays because", explanation["stays"]),
        ("replicas", ", ".join(explanation["replicaNodeIds"]) or NOTHING),
        ("strategy", f"{space['strategy']} (algorithm version {space['algorithmVersion']})"),
        ("parameters", json.dumps(space["strategyParameters"], sort_keys=True)),
    ]


def _cells(candidate: Json) -> tuple[object, ...]:
    return (
        candidate["rank"],
        candidate["nodeId"],
        candidate["status"],
        candidate["weight"],
        candidate["region"],
        candidate["zone"],
        candidate["obstacle"],
    )
