"""One shard before and after, in a few words: what a row of history, of a diff and of `watch` says."""

import json
from typing import Final

from graph.cli.output import Json
from graph.cli.text import NOTHING, arrow, shown

_OWNER: Final = "ownerNodeId"
_TOLD_OTHERWISE: Final = (_OWNER, "changeTicket")


def shard_name(row: Json) -> str:
    return f"{row['namespace']}/{row['shardId']}"


def owner_change(diff: Json) -> str:
    """`node-1 -> node-2`, or the one owner it had before and after. Absent is `-`."""
    return arrow(*((diff[side] or {}).get(_OWNER) for side in ("previous", "current")))


def other_changes(diff: Json) -> str:
    """Fields that changed beside owner and ticket, with both values; nothing for a creation or a deletion."""
    if diff["previous"] is None or diff["current"] is None:
        return NOTHING
    fields = [field for field in diff["changedFields"] if field not in _TOLD_OTHERWISE]
    return (
        ", ".join(f"{field} {_value(diff, 'previous', field)} -> {_value(diff, 'current', field)}" for field in fields)
        or NOTHING
    )


def is_move(diff: Json) -> bool:
    """Whether a shard that was there before and after has another owner now."""
    return diff["kind"] == "UPDATED" and _OWNER in diff["changedFields"]


def _value(diff: Json, side: str, field: str) -> str:
    value = diff[side].get(field)
    return json.dumps(value) if isinstance(value, dict) else shown(value)
