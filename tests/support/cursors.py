"""A cursor of every kind, of things that a small mesh has."""

from __future__ import annotations

from typing import Final

from persistence.codec.cursors import (
    change_cursor,
    history_cursor,
    move_cursor,
    namespace_cursor,
    node_cursor,
    plan_cursor,
    shard_cursor,
    stream_cursor,
)
from persistence.model.records import NO_CHANGE, MoveReason, ShardKey, StreamPosition

CURSORS: Final = [
    shard_cursor(ShardKey("billing", "1")),
    history_cursor(3),
    change_cursor(1),
    namespace_cursor("billing"),
    stream_cursor(StreamPosition("epoch", 0, NO_CHANGE)),
    node_cursor("node-a"),
    plan_cursor(4),
    move_cursor(MoveReason.PLACEMENT_CHANGED, ShardKey("billing", "1")),
]
