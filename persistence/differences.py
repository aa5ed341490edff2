"""The net difference of one shard between two states, the same for every backend."""

from __future__ import annotations

from persistence.images import changed_fields
from persistence.records import Change, DiffKind, MoveReason, Shard, ShardDiff


def net_diff(
    revision: int, previous: Shard | None, current: Shard | None, change: Change, move_reason: MoveReason | None
) -> ShardDiff:
    """`revision`, `change` and `move_reason` are those of the last row between the two states; one of them is there."""
    shard = current or previous
    if shard is None:
        raise ValueError("a shard that is at neither end has no difference")
    kind = DiffKind.UPDATED if previous and current else DiffKind.CREATED if current else DiffKind.DELETED
    return ShardDiff(
        revision,
        kind,
        shard.namespace,
        shard.shard_id,
        shard.version,
        changed_fields(previous.content if previous else None, current.content if current else None),
        previous,
        current,
        change,
        move_reason,
    )
