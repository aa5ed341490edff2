"""`omnirelay mesh changes show`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import click

from graph.cli.changes.shared import about
from graph.cli.errors import ApiClient, Exit, Failure
from graph.cli.options import server_options
from graph.cli.output import (
    NOTHING,
    Column,
    Field,
    format_percent,
    format_time,
    print_documents,
    print_fields,
    print_json,
    print_status,
    print_table,
    printable,
)
from graph.cli.shards.shared import other_changes, owner_change, shard_name
from graph.client.address import Address
from graph.client.http import pages
from graph.client.records import Json
from persistence.model.records import COUNTER_PATTERN

_SHARDS: Final = (
    Column("SHARD", shard_name),
    Column("KIND", "kind"),
    Column("OWNER", owner_change),
    Column("MOVE REASON", "moveReason"),
    Column("OTHER CHANGES", other_changes),
    Column("REVISION", "revision"),
)

_FIELDS: Final = ("FIELD", "BEFORE", "AFTER")


@click.command("show")
@click.argument("change")
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most this many of its shards."
)
@server_options
def show_change(*, change: str, limit: int, server: Address, as_json: bool) -> None:
    """Show one change: who made it, why, and what it changed, field by field or shard by shard.

    CHANGE is its id. With --json one document: change and shards, each before and after.
    """
    with ApiClient(server) as api:
        found = _read(api, change)
        touched = []
        more = False
        if found["shardCount"]:
            for page in pages(api, "ShardHistory", {"filter": {"changeId": change}}, limit):
                touched += page["nodes"]
                more = page["pageInfo"]["hasNextPage"]
    if as_json:
        print_json({"change": found, "shards": touched})
    else:
        print_fields(_fields(found))
        _print_configuration(found["configuration"])
        if touched:
            click.echo()
            print_documents(_SHARDS, touched)
    if more:
        print_status(f"It changed {found['shardCount']:,} shards; for more than {limit:,} raise --limit.")


def _read(api: ApiClient, change: str) -> Json:
    if not re.fullmatch(COUNTER_PATTERN, change):
        raise click.UsageError(f"{printable(change)} is no id of a change, which is a whole number.")
    found = api.execute("ChangeDetails", {"changeId": change})["change"]
    if found is None:
        advice = ["What changes there are: omnirelay mesh changes list"]
        raise Failure(Exit.NOT_FOUND, f"There is no change {change}.", advice)
    return dict(found)


def _fields(change: Json) -> list[Field]:
    rebalance, compaction = change["rebalance"], change["compaction"]
    fields: list[Field] = [
        ("change", change["id"]),
        ("time", format_time(change["committedAt"])),
        ("kind", change["kind"]),
        ("about", about(change)),
        ("actor", change["actor"]),
        ("ticket", change["changeTicket"]),
        ("reason", change["reason"]),
        ("forced", change["forced"]),
        ("metadata", None if change["metadata"] is None else json.dumps(change["metadata"], sort_keys=True)),
        ("revisions", _revisions(change)),
        ("hash", change["hash"]),
    ]
    if rebalance is not None:
        percent = format_percent(rebalance["diffPercent"])
        fields += [
            ("plan", rebalance["planId"]),
            ("moved", f"{rebalance['moved']:,} of {rebalance['shardCount']:,} shards ({percent})"),
            ("supersedes", ", ".join(rebalance["supersedes"]) or None),
        ]
    if compaction is not None:
        fields += [("floor", f"{compaction['previousFloor']} -> {compaction['floor']}")]
        fields += [("rows", f"{compaction['removedRows']} removed, {compaction['keptRows']} kept")]
    return fields


def _revisions(change: Json) -> str:
    first, last = change["firstRevision"], change["lastRevision"]
    if first is None:
        return NOTHING
    return str(first) if first == last else f"{first} to {last}"


def _print_configuration(configuration: Json | None) -> None:
    """The fields that differ; of what is new, all."""
    if configuration is None:
        return
    before, after = _flat(configuration["previous"]), _flat(configuration["current"])
    rows = [
        (field, _shown(before.get(field)), _shown(after.get(field)))
        for field in dict.fromkeys((*before, *after))
        if before.get(field) != after.get(field)
    ]
    if rows:
        click.echo()
        print_table(_FIELDS, rows)


def _flat(document: Mapping[str, Any] | None, prefix: str = "") -> dict[str, object]:
    """Members of objects by their path: `policy.moveBudgetPercent`."""
    found: dict[str, object] = {}
    for name, value in (document or {}).items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def _shown(value: object) -> object:
    return json.dumps(value, sort_keys=True) if isinstance(value, list | dict | bool) else value
