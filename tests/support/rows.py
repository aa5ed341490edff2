"""Rows of history made up on the spot, where only their place in the stream matters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from persistence.records import Change, ChangeKind, DiffKind, Shard, ShardDiff, ShardStatus

MOMENT: Final = datetime(2026, 1, 1, tzinfo=UTC)


def history_row(revision: int, *, namespace: str = "billing", owner: str = "node-a") -> ShardDiff:
    shard = Shard(
        namespace, f"s{revision}", "rendezvous", owner, None, 1.0, None, ShardStatus.ACTIVE, None, None,
        1, 1, "0" * 32, revision, MOMENT, MOMENT,
    )  # fmt: skip
    change = Change(
        revision, ChangeKind.CREATE_SHARDS, "ops", "why", None, None, (namespace,), revision, revision, 1,
        MOMENT, "0" * 64, None,
    )  # fmt: skip
    return ShardDiff(revision, DiffKind.CREATED, namespace, shard.shard_id, 1, (), None, shard, change)
