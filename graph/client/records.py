"""The API's documents as records. What many shards have in common is one object: a node holds them by the million."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from persistence.model.records import ADDED_FIELDS, Pin, Shard, ShardStatus, public_name

_STATUSES: Final = dict(ShardStatus.__members__)

_ADDED: Final = tuple(map(public_name, ADDED_FIELDS))


class Diff(NamedTuple):
    """One shard after a change; `current` is null if it was deleted."""

    revision: int
    namespace: str
    shard_id: str
    current: Shard | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Part of the stream: everything after the batch before it, up to and including `revision`."""

    cursor: str
    revision: int
    caught_up: bool
    diffs: Sequence[Diff]


class Fingerprint(NamedTuple):
    """What a namespace holds, in two numbers: equal, and so are the shards and their versions."""

    digest: int
    shards: int


class Claim(NamedTuple):
    """Of a server, about a namespace: its fingerprint as it has been since `revision`."""

    namespace: str
    revision: int
    fingerprint: Fingerprint


Json: TypeAlias = dict[str, Any]


def read_batch(document: Json) -> Batch:
    return Batch(
        document["cursor"],
        int(document["revision"]),
        document["caughtUp"],
        [
            Diff(
                int(diff["revision"]),
                sys.intern(diff["namespace"]),
                diff["shardId"],
                read_shard(diff["current"]) if diff["current"] is not None else None,
            )
            for diff in document["diffs"]
        ],
    )


def read_claim(document: Json) -> Claim:
    fingerprint = Fingerprint(int(document["digest"], 16), int(document["shardCount"]))
    return Claim(sys.intern(document["name"]), int(document["revision"]), fingerprint)


def read_shard(document: Json) -> Shard:
    pin = document["pinned"]
    return Shard(
        sys.intern(document["namespace"]),
        document["shardId"],
        sys.intern(document["strategy"]),
        sys.intern(document["ownerNodeId"]),
        _shared(document["leaderId"]),
        float(document["capacityHint"]),
        _shared(document["localityHint"]),
        _STATUSES[document["status"]],
        pin and Pin(pin["by"], pin["reason"], pin["until"] and _time(pin["until"])),
        _shared(document["changeTicket"]),
        int(document["version"]),
        int(document["ownerEpoch"]),
        document["checksum"],
        int(document["revision"]),
        _time(document["createdAt"]),
        _time(document["updatedAt"]),
        *map(_shared, map(document.get, _ADDED)),  # not in files of before there were such fields
    )


def shard_document(shard: Shard) -> Json:
    """The document that reads as this shard."""
    pin = shard.pinned
    document = {
        "namespace": shard.namespace,
        "shardId": shard.shard_id,
        "strategy": shard.strategy,
        "ownerNodeId": shard.owner_node_id,
        "leaderId": shard.leader_id,
        "capacityHint": shard.capacity_hint,
        "localityHint": shard.locality_hint,
        "status": str(shard.status),
        "pinned": pin and {"by": pin.by, "reason": pin.reason, "until": pin.until and pin.until.isoformat()},
        "changeTicket": shard.change_ticket,
        "version": str(shard.version),
        "ownerEpoch": str(shard.owner_epoch),
        "checksum": shard.checksum,
        "revision": str(shard.revision),
        "createdAt": shard.created_at.isoformat(),
        "updatedAt": shard.updated_at.isoformat(),
    }
    for name, member in zip(ADDED_FIELDS, _ADDED, strict=True):
        document[member] = getattr(shard, name)
    return document


def _shared(text: str | None) -> str | None:
    return None if text is None else sys.intern(text)


@lru_cache(maxsize=1_024)
def _time(text: str) -> datetime:
    """Shards that were written in one change share their times."""
    return datetime.fromisoformat(text)
