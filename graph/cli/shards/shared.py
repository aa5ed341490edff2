"""One shard, line by line: what `get` and `set` show."""

from graph.cli.differences import shard_name
from graph.cli.output import Json
from graph.cli.text import NOTHING, counted, shown, shown_percent, shown_time


def shard_facts(shard: Json, change: Json) -> list[tuple[str, object]]:
    """`change` is the one that left the shard as it is."""
    return [
        ("shard", shard_name(shard)),
        ("owner", f"{shard['ownerNodeId']} (epoch {shard['ownerEpoch']})"),
        ("leader", shard["leaderId"]),
        ("status", shard["status"]),
        ("capacity", shard["capacityHint"]),
        ("locality", shard["localityHint"]),
        ("pinned", _pin(shard["pinned"])),
        ("group", shard["antiAffinityGroup"]),
        ("strategy", shard["strategy"]),
        ("version", shard["version"]),
        ("revision", shard["revision"]),
        ("checksum", shard["checksum"]),
        ("created", shown_time(shard["createdAt"])),
        ("updated", shown_time(shard["updatedAt"])),
        ("changed by", f"{change['actor']} (change {change['id']})"),
        ("ticket", change["changeTicket"]),
        ("reason", change["reason"]),
        ("forced", change.get("forced")),
        ("rebalance", _rebalance(change.get("rebalance"))),
    ]


def _rebalance(rebalance: Json | None) -> str:
    if rebalance is None:
        return NOTHING
    percent = shown_percent(rebalance["diffPercent"])
    return f"plan {rebalance['planId']}, which moved {percent} of {counted(rebalance['shardCount'], 'shard')}"


def _pin(pin: Json | None) -> str:
    if pin is None:
        return NOTHING
    until = f", until {shown_time(pin['until'])}" if pin["until"] else ""
    return f"by {shown(pin['by'])}: {shown(pin['reason'])}{until}"
