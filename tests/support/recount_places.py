"""What an auditor holds moves against: pins in force, and groups whose shards are on different nodes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime

from persistence.model.records import Change, GroupKey, Shard, ShardDiff


class PlaceAuditor:
    """Fed with all changes in order. What was forced is counted, and breaks nothing."""

    def __init__(self) -> None:
        self._owners: dict[GroupKey, Counter[str]] = defaultdict(Counter)
        """How many shards of each group each node has."""

    def broken(self, change: Change, rows: Sequence[ShardDiff]) -> Iterator[str]:
        """The rules that this change broke."""
        for row in rows:
            self._count(row.previous, -1)
            self._count(row.current, 1)
        if change.forced is not None:
            return
        for row in rows:
            name = f"{row.namespace}/{row.shard_id}"
            if row.moves and _pinned(row, change.committed_at):
                yield f"PIN of {name}"
            if row.current is not None and _brought(row) and self._beside(row.current) > 1:
                yield f"ANTI_AFFINITY of {name}"

    def _count(self, shard: Shard | None, by: int) -> None:
        if shard is not None and shard.anti_affinity_group is not None:
            self._owners[GroupKey(shard.namespace, shard.anti_affinity_group)][shard.owner_node_id] += by

    def _beside(self, shard: Shard) -> int:
        """How many of its group its node has, itself among them."""
        if shard.anti_affinity_group is None:
            return 0
        return self._owners[GroupKey(shard.namespace, shard.anti_affinity_group)][shard.owner_node_id]


def _pinned(row: ShardDiff, committed_at: datetime) -> bool:
    """Whether it was pinned to where it was, and the change left the pin."""
    before = row.previous.pinned if row.previous else None
    if before is None or row.current is None or row.current.pinned is None:
        return False
    return before.until is None or before.until > committed_at


def _brought(row: ShardDiff) -> bool:
    """Whether the change brought the shard to its node, or into its group."""
    before, after = row.previous, row.current
    if before is None or after is None:
        return after is not None
    places = [(shard.owner_node_id, shard.anti_affinity_group) for shard in (before, after)]
    return places[0] != places[1]
