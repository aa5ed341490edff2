"""What commands for shards share: a shard line by line, a change of one shard, and a shard before and after."""

import json
from typing import Final

from graph.cli.errors import ApiClient, Failure, committed, refused
from graph.cli.output import (
    NOTHING,
    Field,
    arrow,
    field_lines,
    format_percent,
    format_time,
    pluralized,
    print_fields,
    print_json,
    printable,
)
from graph.cli.suggestions import suggest_retry
from graph.client.address import Address
from graph.client.records import Json


def shard_fields(shard: Json, change: Json | None) -> list[Field]:
    """`change` is the one that left the shard as it is; null where history does not reach back to it."""
    by = NOTHING if change is None else f"{change['actor']} (change {change['id']})"
    change = change or {"changeTicket": shard["changeTicket"], "reason": None}
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
        ("created", format_time(shard["createdAt"])),
        ("updated", format_time(shard["updatedAt"])),
        ("changed by", by),
        ("ticket", change["changeTicket"]),
        ("reason", change["reason"]),
        ("forced", change.get("forced")),
        ("rebalance", _rebalance(change.get("rebalance"))),
    ]


def _rebalance(rebalance: Json | None) -> str:
    if rebalance is None:
        return NOTHING
    percent = format_percent(rebalance["diffPercent"])
    return f"plan {rebalance['planId']}, which moved {percent} of {pluralized(rebalance['shardCount'], 'shard')}"


def _pin(pin: Json | None) -> str:
    if pin is None:
        return NOTHING
    until = f", until {format_time(pin['until'])}" if pin["until"] else ""
    return f"by {printable(pin['by'])}: {printable(pin['reason'])}{until}"


def update_shard(patch: Json, change: Json, server: Address, *, as_json: bool) -> None:
    """Raises Failure if it is refused; for a stale version, with the command that would go through."""
    with ApiClient(server) as api:
        answer = api.change("UpdateShard", patch | {"change": change})
    if answer["__typename"] == "VersionConflict":
        raise _conflict(answer)
    done = committed(answer)
    (record,) = done["shards"]
    if as_json:
        print_json({"shard": record, "change": done["change"], "revision": done["revision"]})
    else:
        print_fields(shard_fields(record, done["change"]))


def _conflict(answer: Json) -> Failure:
    (stale,) = answer["conflicts"]
    now, change = stale["current"], stale["lastChange"]
    if now is None or change is None:
        return refused(answer)
    fields = [f"  {line}" for line in field_lines(shard_fields(now, change))]
    retry = suggest_retry(expected_version=now["version"])
    advice = ["It is now:", *fields, "If your change still is the right one:", f"  {retry}"]
    return refused(answer, advice)


_OWNER: Final = "ownerNodeId"

_HAVE_COLUMNS: Final = (_OWNER, "changeTicket")


def shard_name(row: Json) -> str:
    return f"{row['namespace']}/{row['shardId']}"


def owner_change(diff: Json) -> str:
    """`node-1 -> node-2`, or the one owner it had before and after. Absent is `-`."""
    return arrow(*((diff[side] or {}).get(_OWNER) for side in ("previous", "current")))


def other_changes(diff: Json) -> str:
    """Fields that changed beside owner and ticket, with both values; nothing for a creation or a deletion."""
    if diff["previous"] is None or diff["current"] is None:
        return NOTHING
    fields = [field for field in diff["changedFields"] if field not in _HAVE_COLUMNS]
    return (
        ", ".join(f"{field} {_value(diff, 'previous', field)} -> {_value(diff, 'current', field)}" for field in fields)
        or NOTHING
    )


def is_move(diff: Json) -> bool:
    """Whether a shard that was there before and after has another owner now."""
    return diff["kind"] == "UPDATED" and _OWNER in diff["changedFields"]


def _value(diff: Json, side: str, field: str) -> str:
    value = diff[side].get(field)
    return json.dumps(value) if isinstance(value, dict) else printable(value)
