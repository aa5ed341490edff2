"""Shards as JSON documents: the full before and after that history keeps, byte for byte reproducible.

A document holds the record without its revision and times; those stand in history's own columns. It is stored
as text (PostgreSQL `json`, not `jsonb`), because the audit hash is taken over these very bytes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import orjson

from persistence.records import Pin, Shard, ShardContent, ShardKey, ShardStatus

# Time travel reads images by the thousand: a look-up costs a quarter of the enumeration's own.
_STATUSES: Final = dict(ShardStatus.__members__)


def write_image(key: ShardKey, content: ShardContent, version: int, owner_epoch: int, checksum: str) -> str:
    """The document of one shard: members sorted by name, no spaces."""
    pin = content.pinned
    document = {
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
    # Left out where there is none: rows of before there were groups have the same bytes as ever, and the same digests.
    if content.anti_affinity_group is not None:
        document["antiAffinityGroup"] = content.anti_affinity_group
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z).decode()


def read_image(image: str, revision: int, created_at: datetime, updated_at: datetime) -> Shard:
    """The record a document stands for, as of `revision`."""
    document: dict[str, Any] = orjson.loads(image)
    return Shard(
        document["namespace"],
        document["shardId"],
        document["strategy"],
        document["ownerNodeId"],
        document["leaderId"],
        float(document["capacityHint"]),
        document["localityHint"],
        _STATUSES[document["status"]],
        _pin(document["pinned"]),
        document["changeTicket"],
        document["version"],
        document["ownerEpoch"],
        document["checksum"],
        revision,
        created_at,
        updated_at,
        document.get("antiAffinityGroup"),
    )


def image_of(shard: Shard) -> str:
    return write_image(shard.key, shard.content, shard.version, shard.owner_epoch, shard.checksum)


def _pin(document: dict[str, Any] | None) -> Pin | None:
    if document is None:
        return None
    until = document["until"]
    return Pin(document["by"], document["reason"], datetime.fromisoformat(until) if until else None)
