"""The byte encoding under every checksum, digest and audit hash, and the checksums of shards and namespaces.

A sequence of fields; each is a 4-byte big-endian length followed by that many bytes, and null is the length 0xFFFFFFFF
with no bytes. Strings are UTF-8, integers 8 bytes big-endian two's complement, floats IEEE 754 binary64 big-endian
with -0.0 written as 0.0, times integers of microseconds since 1970-01-01T00:00:00Z. Every value has one encoding, in
any language. No two sequences of the same types share one; the types are not written, so every sequence begins with
the name of what it encodes or has a position for each type.

Checksums are MurmurHash3 x64 128, seed 0, over that encoding. They find differences between copies; they do not resist
an attacker (the audit chain does). A 128-bit value is written as 32 hex digits: the algorithm's first 64-bit word, then
the second, each most significant digit first. Test vectors for other languages: tests/golden/checksums.json.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import repeat
from operator import add
from typing import Final, TypeAlias

import mmh3

from persistence.model.records import ADDED_FIELDS, ShardContent, ShardKey

Field: TypeAlias = str | bytes | int | float | datetime | None

_NULL: Final = b"\xff\xff\xff\xff"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_MICROSECOND: Final = timedelta(microseconds=1)

_length = struct.Struct(">I").pack

_integer = struct.Struct(">Iq").pack

_real = struct.Struct(">Id").pack


def encode(*fields: Field) -> bytes:
    """The fields as bytes. Raises UnicodeEncodeError for a lone surrogate; mmh3 must never see one."""
    parts: list[bytes] = []
    add = parts.append
    for field in fields:
        # A chain of tests in order of frequency: this runs some thirty times for each shard written.
        if isinstance(field, str):
            data = field.encode()
            add(_length(len(data)))
            add(data)
        elif field is None:
            add(_NULL)
        elif isinstance(field, int):
            add(_integer(8, field))
        elif isinstance(field, float):
            add(_real(8, field + 0.0))
        elif isinstance(field, bytes):
            add(_length(len(field)))
            add(field)
        else:
            add(_integer(8, microseconds(field)))
    return b"".join(parts)


def encode_texts(values: Iterable[str]) -> list[bytes]:
    """Each of these fields by itself."""
    encoded = list(map(str.encode, values))
    return list(map(add, map(_length, map(len, encoded)), encoded))


def encode_integers(values: Iterable[int]) -> list[bytes]:
    """Each of these fields by itself."""
    return list(map(_integer, repeat(8), values))


def microseconds(timestamp: datetime) -> int:
    """Exact, unlike a float timestamp."""
    return (timestamp - _EPOCH) // _MICROSECOND


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
    # As `encode`, in a third of the time: each change of a shard has two.
    key, content = shard_id.encode(), checksum.encode()
    fields = (_ENTRY, _length(len(key)), key, _integer(8, version), _length(len(content)), content)
    first, second = _words(b"".join(fields))
    return first << 64 | second


_ENTRY: Final = encode("omnirelay.entry.v1")


def format_digest(value: int) -> str:
    return f"{value:032x}"


def _hash128(data: bytes) -> str:
    first, second = _words(data)
    return f"{first:016x}{second:016x}"


def _words(data: bytes) -> tuple[int, int]:
    return mmh3.hash64(data, seed=0, x64arch=True, signed=False)
