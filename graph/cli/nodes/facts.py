"""One node, line by line."""

from collections.abc import Mapping

from graph.cli.changes import made_by
from graph.cli.output import Json
from graph.cli.text import NOTHING, shown_time


def node_facts(node: Json, change: Json | None = None) -> list[tuple[str, object]]:
    """`change` is the one that left the node as it is, where that is known."""
    facts: list[tuple[str, object]] = [
        ("node", node["nodeId"]),
        ("status", node["status"]),
        ("region", node["region"]),
        ("zone", node["zone"]),
        ("labels", shown_labels(node["labels"])),
        ("weight", node["weight"]),
        ("shards", node["shardCount"]),
        ("version", node["version"]),
        ("ticket", node["changeTicket"]),
        ("created", shown_time(node["createdAt"])),
        ("updated", shown_time(node["updatedAt"])),
    ]
    return facts if change is None else [*facts, ("changed by", made_by(change))]


def shown_labels(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items())) or NOTHING
