"""A cursor of every kind, of things that a small mesh has."""

from __future__ import annotations

from typing import Final

from persistence.codec import cursors
from persistence.model.records import NO_CHANGE, MoveReason, ShardKey, StreamPosition

CURSORS: Final[list[str]] = [
    cursors.SHARDS.write(ShardKey("billing", "1")),
    cursors.HISTORY.write(3),
    cursors.CHANGES.write(1),
    cursors.NAMESPACES.write("billing"),
    cursors.STREAM.write(StreamPosition("epoch", 0, NO_CHANGE)),
    cursors.NODES.write("node-a"),
    cursors.PLANS.write(4),
    cursors.MOVES.write((MoveReason.PLACEMENT_CHANGED, ShardKey("billing", "1"))),
]
