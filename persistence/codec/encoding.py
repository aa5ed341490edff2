"""Checksums of shards and digests of namespaces: MurmurHash3 x64 128, seed 0, over `encoding.py`.

They find differences between copies; they do not resist an attacker (the audit chain does). A 128-bit value is written
as 32 hex digits: the algorithm's first 64-bit word, then the second, each most significant digit first.
Test vectors for other languages: tests/golden/checksums.json.
"""

from __future__ import annotations

from typing import Final

import mmh3

from persistence.encoding import encode
from persistence.records import ADDED_FIELDS, ShardContent, ShardKey

EMPTY_DIGEST: Final = "0" * 32


def shard_checksum(key: ShardKey, content: ShardContent) -> str:
    """Equal identity and content, equal checksum. Versions, revisions and times do not count.

    A field added since the first version counts only where it is not null: the checksum is then that of a pair, the
    encoding so far and the field, under the version that the field made (`anti_affinity_group` made v2).
    """
    pin = content.pinned
    encoded = encode(
        "omnirelay.shard.v1",
        key.namespace,
        key.shard_id,
        content.strategy,
        content.owner_node_id,
        content.leader_id,
        content.capacity_hint,
        content.locality_hint,
        content.status,
        pin.by if pin else None,
        pin.reason if pin else None,
        pin.until if pin else None,
        content.change_ticket,
    )
    for version, name in enumerate(ADDED_FIELDS, 2):
        if (value := getattr(content, name)) is not None:
            encoded = encode(f"omnirelay.shard.v{version}", encoded, value)
    return _hash128(encoded)


def digest_term(shard_id: str, version: int, checksum: str) -> int:
    """What one shard contributes to its namespace's digest, an unsigned 128-bit integer.

    The digest is the exclusive or of the terms of all shards: adding and removing one are the same operation, order
    does not matter, and a change costs two terms however large the namespace is.
    """
    first, second = _words(encode("omnirelay.entry.v1", shard_id, version, checksum))
    return first << 64 | second


def format_digest(value: int) -> str:
    return f"{value:032x}"


def _hash128(data: bytes) -> str:
    first, second = _words(data)
    return f"{first:016x}{second:016x}"


def _words(data: bytes) -> tuple[int, int]:
    return mmh3.hash64(data, seed=0, x64arch=True, signed=False)
