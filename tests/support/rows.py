"""Rows of history made up on the spot, where only their place in the stream matters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from persistence.records import Change, ChangeKind, DiffKind, Shard, ShardDiff, ShardStatus

MOMENT: Final = datetime(2026, 1, 1, tzinfo=UTC)


def history_row(
    revision: int, *, namespace: str = "billing", owner: str = "node-a", change: Change | None = None
) -> ShardDiff:
    shard = Shard(
        namespace, f"s{revision}", "rendezvous", owner, None, 1.0, None, ShardStatus.ACTIVE, None, None,
        1, 1, "0" * 32, revision, MOMENT, MOMENT,
    )  # fmt: skip
    change = change or _change(revision, revision, (namespace,))
    return ShardDiff(revision, DiffKind.CREATED, namespace, shard.shard_id, 1, (), None, shard, change)


def rows_of_one_change(first: int, shards: Sequence[tuple[str, str]]) -> list[ShardDiff]:
    """From revision `first` on, one for each namespace and owner."""
    if not shards:
        return []
    change = _change(first, first + len(shards) - 1, tuple(sorted({namespace for namespace, _ in shards})))
    return [
        history_row(revision, namespace=namespace, owner=owner, change=change)
        for revision, (namespace, owner) in enumerate(shards, first)
    ]


def _change(first: int, last: int, namespaces: tuple[str, ...]) -> Change:
    return Change(
        first, ChangeKind.CREATE_SHARDS, "ops", "why", None, None, namespaces, first, last, last - first + 1,
        MOMENT, "0" * 64, None,
    )  # fmt: skip
