"""Shards as JSON documents, byte for byte reproducible, and how two states of a shard differ.

A document holds the record without its revision and times; those stand in history's own columns. It is stored
as text (PostgreSQL `json`, not `jsonb`), because the audit hash is taken over these very bytes.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from itertools import compress
from operator import ne
from typing import Any, Final

import orjson

from persistence.model.drafts import new_shard, pooled
from persistence.model.records import (
    ADDED_FIELDS,
    CONTENT_FIELDS,
    Change,
    DiffKind,
    MoveReason,
    Pin,
    Shard,
    ShardContent,
    ShardDiff,
    ShardKey,
    ShardStatus,
    content_values,
    public_name,
)

CONTENT: Final = tuple(map(public_name, CONTENT_FIELDS))
"""Members of the content, in its order."""

_ADDED: Final = tuple(map(public_name, ADDED_FIELDS))

_BESIDE: Final = {"revision", "created_at", "updated_at"}

MEMBERS: Final = tuple(
    sorted(public_name(one.name) for one in fields(Shard) if one.name not in {*_BESIDE, *ADDED_FIELDS})
)
"""Members that every document has, in its order. The others are left out where they are null: documents of before there
was such a field have the same bytes as ever, and the same digests."""

# Time travel reads images by the thousand: a look-up costs a quarter of the enumeration's own.
_STATUSES: Final = dict(ShardStatus.__members__)


def write_image(
    key: ShardKey | Shard, content: ShardContent | Shard, version: int, owner_epoch: int, checksum: str
) -> str:
    """The document of one shard: members sorted by name, no spaces."""
    pin = content.pinned
    # The members of the first version, which stay as they are: a literal takes a third of the time of a list of fields.
    document: dict[str, Any] = {
        "capacityHint": content.capacity_hint,
        "changeTicket": content.change_ticket,
        "checksum": checksum,
        "leaderId": content.leader_id,
        "localityHint": content.locality_hint,
        "namespace": key.namespace,
        "ownerEpoch": owner_epoch,
        "ownerNodeId": content.owner_node_id,
        "pinned": {"by": pin.by, "reason": pin.reason, "until": pin.until} if pin else None,
        "shardId": key.shard_id,
        "status": content.status,
        "strategy": content.strategy,
        "version": version,
    }
    for name, member in zip(ADDED_FIELDS, _ADDED, strict=True):
        if (value := getattr(content, name)) is not None:
            document[member] = value
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z).decode()


def read_image(image: str, revision: int, created_at: datetime, updated_at: datetime) -> Shard:
    """The record a document stands for, as of `revision`."""
    document: dict[str, Any] = orjson.loads(image)
    pinned = document["pinned"]
    return new_shard(
        pooled(document["namespace"]),
        document["shardId"],
        pooled(document["strategy"]),
        pooled(document["ownerNodeId"]),
        pooled(document["leaderId"]),
        float(document["capacityHint"]),
        pooled(document["localityHint"]),
        _STATUSES[document["status"]],
        None if pinned is None else _pin(pinned),
        pooled(document["changeTicket"]),
        document["version"],
        document["ownerEpoch"],
        document["checksum"],
        revision,
        created_at,
        updated_at,
        *map(pooled, map(document.get, _ADDED)),
    )


class ShownShard:
    """What a document stands for, to be shown and nothing else: the attributes of a Shard, in a third of the time that
    a frozen record takes. `revision` and times are null where they are not shown."""

    __slots__ = tuple(member.name for member in fields(Shard))

    def __init__(
        self,
        image: str,
        revision: int | None = None,
        created_at: datetime | None = None,
        updated_at: datetime | None = None,
    ) -> None:
        document: dict[str, Any] = orjson.loads(image)
        pinned = document["pinned"]
        self.namespace = document["namespace"]
        self.shard_id = document["shardId"]
        self.strategy = document["strategy"]
        self.owner_node_id = document["ownerNodeId"]
        self.leader_id = document["leaderId"]
        self.capacity_hint = float(document["capacityHint"])
        self.locality_hint = document["localityHint"]
        self.status = _STATUSES[document["status"]]
        self.pinned = None if pinned is None else _pin(pinned)
        self.change_ticket = document["changeTicket"]
        self.version = document["version"]
        self.owner_epoch = document["ownerEpoch"]
        self.checksum = document["checksum"]
        self.revision = revision
        self.created_at = created_at
        self.updated_at = updated_at
        self.anti_affinity_group = document.get("antiAffinityGroup")


def image_of(shard: Shard) -> str:
    return write_image(shard, shard, shard.version, shard.owner_epoch, shard.checksum)


def changed_fields(previous: ShardContent | Shard | None, current: ShardContent | Shard | None) -> tuple[str, ...]:
    """Names (as the API writes them) of the content fields that differ; none where a side is missing."""
    if previous is None or current is None:
        return ()
    return tuple(compress(CONTENT, map(ne, content_values(previous), content_values(current))))


def _pin(document: dict[str, Any]) -> Pin:
    until = document["until"]
    return Pin(document["by"], document["reason"], datetime.fromisoformat(until) if until else None)


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
        changed_fields(previous, current),
        previous,
        current,
        change,
        move_reason,
    )
