"""Rows of history made up on the spot, where only their place in the stream matters."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from persistence.model.records import (
    NO_CHANGE,
    Change,
    ChangeKind,
    ChangeMark,
    DiffKind,
    Shard,
    ShardDiff,
    ShardStatus,
    StreamPosition,
)

HISTORY: Final = "as it went on"
"""Histories of other names have other changes at the same revisions."""

MOMENT: Final = datetime(2026, 1, 1, tzinfo=UTC)


def mark_at(revision: int, history: str = HISTORY) -> ChangeMark:
    """Of the change that made one revision, that one."""
    return ChangeMark(revision, _hash(revision, history)[:8]) if revision else NO_CHANGE


def position(revision: int, epoch: str = "one", history: str = HISTORY) -> StreamPosition:
    """In a stream of changes of one revision each."""
    return StreamPosition(epoch, revision, mark_at(revision, history))


def history_row(
    revision: int,
    *,
    namespace: str = "billing",
    owner: str = "node-a",
    change: Change | None = None,
    history: str = HISTORY,
) -> ShardDiff:
    shard = Shard(
        namespace, f"s{revision}", "rendezvous", owner, None, 1.0, None, ShardStatus.ACTIVE, None, None,
        1, 1, "0" * 32, revision, MOMENT, MOMENT,
    )  # fmt: skip
    change = change or _change(revision, revision, (namespace,), history)
    return ShardDiff(revision, DiffKind.CREATED, namespace, shard.shard_id, 1, (), None, shard, change)


def rows_of_one_change(first: int, shards: Sequence[tuple[str, str]], history: str = HISTORY) -> list[ShardDiff]:
    """From revision `first` on, one for each namespace and owner. The change has the number of its first revision."""
    if not shards:
        return []
    change = _change(first, first + len(shards) - 1, tuple(sorted({namespace for namespace, _ in shards})), history)
    return [
        history_row(revision, namespace=namespace, owner=owner, change=change)
        for revision, (namespace, owner) in enumerate(shards, first)
    ]


def _hash(change_id: int, history: str) -> bytes:
    return hashlib.sha256(f"{history} {change_id}".encode()).digest()


def _change(first: int, last: int, namespaces: tuple[str, ...], history: str) -> Change:
    return Change(
        first, ChangeKind.CREATE_SHARDS, "ops", "why", None, None, namespaces, first, last, last - first + 1,
        MOMENT, _hash(first, history).hex(), None,
    )  # fmt: skip
