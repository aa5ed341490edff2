"""Rows to records: the columns each record is read from, and how."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Text, cast

from persistence.checksums import format_digest
from persistence.images import read_image
from persistence.postgres.models import ChangeRow, NamespaceHeadRow, NamespaceRow, ShardHistoryRow, ShardRow
from persistence.records import (
    Change,
    ChangeKind,
    ConfigurationChange,
    DiffKind,
    Namespace,
    Pin,
    Shard,
    ShardDiff,
    ShardStatus,
)

SHARD: Final = (
    ShardRow.namespace,
    ShardRow.shard_id,
    ShardRow.strategy,
    ShardRow.owner_node_id,
    ShardRow.leader_id,
    ShardRow.capacity_hint,
    ShardRow.locality_hint,
    ShardRow.status,
    ShardRow.pinned_by,
    ShardRow.pinned_reason,
    ShardRow.pinned_until,
    ShardRow.change_ticket,
    ShardRow.version,
    ShardRow.owner_epoch,
    ShardRow.checksum,
    ShardRow.revision,
    ShardRow.created_at,
    ShardRow.updated_at,
)
NAMESPACE: Final = (
    NamespaceRow.name,
    NamespaceRow.strategy,
    NamespaceRow.strategy_parameters,
    NamespaceRow.algorithm_version,
    NamespaceRow.parameters_digest,
    NamespaceRow.version,
    NamespaceHeadRow.digest_high,
    NamespaceHeadRow.digest_low,
    NamespaceHeadRow.shard_count,
    NamespaceHeadRow.revision,
    NamespaceRow.created_at,
    NamespaceRow.updated_at,
)
CHANGE: Final = (
    ChangeRow.id,
    ChangeRow.kind,
    ChangeRow.actor,
    ChangeRow.reason,
    ChangeRow.change_ticket,
    ChangeRow.change_metadata,
    ChangeRow.namespaces,
    ChangeRow.head_revision,
    ChangeRow.shard_count,
    ChangeRow.committed_at,
    ChangeRow.hash,
    ChangeRow.configuration,
)
# As text: the image is parsed once, by us, and its bytes are what the audit hash covers.
DIFF: Final = (
    ShardHistoryRow.revision,
    ShardHistoryRow.kind,
    ShardHistoryRow.namespace,
    ShardHistoryRow.shard_id,
    ShardHistoryRow.version,
    ShardHistoryRow.changed_fields,
    ShardHistoryRow.previous_revision,
    ShardHistoryRow.previous_updated_at,
    ShardHistoryRow.created_at,
    cast(ShardHistoryRow.previous, Text).label("previous"),
    cast(ShardHistoryRow.current, Text).label("current"),
)


def shard_of(row: Sequence[Any]) -> Shard:
    """From columns in the order of SHARD."""
    namespace, shard_id, strategy, owner, leader, capacity, locality, status = row[:8]
    pinned_by, pinned_reason, pinned_until, ticket, version, epoch, checksum, revision, created_at, updated_at = row[8:]
    pin = None if pinned_by is None else Pin(pinned_by, pinned_reason, pinned_until)
    return Shard(
        namespace,
        shard_id,
        strategy,
        owner,
        leader,
        capacity,
        locality,
        ShardStatus(status),
        pin,
        ticket,
        version,
        epoch,
        checksum,
        revision,
        created_at,
        updated_at,
    )


def namespace_of(row: Sequence[Any]) -> Namespace:
    """From columns in the order of NAMESPACE."""
    name, strategy, parameters, algorithm, digest, version, high, low, count, revision, created_at, updated_at = row
    return Namespace(
        name,
        strategy,
        parameters,
        algorithm,
        digest,
        version,
        join_halves(high, low),
        count,
        revision,
        created_at,
        updated_at,
    )


def change_of(row: Sequence[Any]) -> Change:
    """From columns in the order of CHANGE."""
    id_, kind, actor, reason, ticket, metadata, namespaces, head, count, committed_at, hash_, configuration = row
    return Change(
        id_,
        ChangeKind(kind),
        actor,
        reason,
        ticket,
        metadata,
        tuple(namespaces),
        head - count + 1 if count else None,
        head if count else None,
        count,
        committed_at,
        hash_.hex(),
        None if configuration is None else ConfigurationChange(**configuration),
    )


def diff_of(row: Sequence[Any], change: Change) -> ShardDiff:
    """From columns in the order of DIFF."""
    revision, kind, namespace, shard_id, version, changed, previous_revision, previous_at, created_at, *images = row
    previous, current = images
    return ShardDiff(
        revision,
        DiffKind(kind),
        namespace,
        shard_id,
        version,
        tuple(changed),
        None if previous is None else read_image(previous, previous_revision, created_at, previous_at),
        None if current is None else read_image(current, revision, created_at, change.committed_at),
        change,
    )


def diffs_of(rows: Iterable[Sequence[Any]]) -> list[ShardDiff]:
    """From rows of DIFF followed by CHANGE. Rows of one change share one Change."""
    width = len(DIFF)
    changes: dict[int, Change] = {}
    diffs = []
    for row in rows:
        values = tuple(row)
        change_id = values[width]
        change = changes.get(change_id)
        if change is None:
            change = changes[change_id] = change_of(values[width:])
        diffs.append(diff_of(values[:width], change))
    return diffs


def split_halves(digest: int) -> tuple[int, int]:
    """A 128-bit value as two signed 64-bit halves."""
    return _signed(digest >> 64), _signed(digest & _MASK)


def join_halves(high: int, low: int) -> str:
    return format_digest((high & _MASK) << 64 | (low & _MASK))


_MASK: Final = (1 << 64) - 1


def _signed(half: int) -> int:
    return half - (1 << 64) if half >> 63 else half
