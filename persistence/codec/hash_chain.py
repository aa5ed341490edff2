"""The audit chain: every change's hash covers its content, its position, and the hash before it.

What a change states and does is digested before the stream head is taken, row by row; under the head only one short
hash remains, over the previous hash and the numbers the head assigned. SHA-256 over `encoding.py` throughout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from persistence.codec.encoding import encode

GENESIS: Final = bytes(32)

_HASH_LENGTH: Final = encode(GENESIS).removesuffix(GENESIS)

ROW: Final = "omnirelay.row.v1"
"""What the encoding of a row of history begins with."""

CHANGE: Final = "omnirelay.change.v1"
"""What the encoding of a change begins with."""


def row_digest(
    kind: str,
    previous: str | None,
    previous_revision: int | None,
    previous_updated_at: datetime | None,
    created_at: datetime | None,
    current: str | None,
    move_reason: str | None = None,
) -> bytes:
    """Digest of one row of history. `created_at` is null where the row itself creates the shard.

    `previous` and `current` are the images of `images.py`, as stored. A row without a move reason is encoded as it was
    before there were any, so that older chains still verify.
    """
    row = encode(ROW, kind, previous, previous_revision, previous_updated_at, created_at, current)
    return hashlib.sha256(row if move_reason is None else moved_row(row, move_reason)).digest()


def moved_row(row: bytes, move_reason: str | bytes) -> bytes:
    """The encoding of a row with the reason why its shard moved."""
    return encode("omnirelay.row.v2", row, move_reason)


def content_digest(
    kind: str,
    actor: str,
    reason: str,
    change_ticket: str | None,
    metadata: str | None,
    configuration: str | None,
    rows: Iterable[bytes],
    forced: str | None = None,
) -> bytes:
    """Digest of what a change states and does. `metadata` and `configuration` are canonical JSON, `rows` row digests.

    A change that was not forced is encoded as it was before any could be, so that older chains still verify.
    """
    covered = b"".join(rows)
    header = encode(CHANGE, kind, actor, reason, change_ticket, metadata, configuration)
    return hashlib.sha256((header if forced is None else forced_change(header, forced)) + covered).digest()


def forced_change(header: bytes, forced: str | bytes) -> bytes:
    """The encoding of a change with the reason why it was forced."""
    return encode("omnirelay.change.v2", header, forced)


def digest_of_change(header: bytes, rows: Iterable[bytes]) -> bytes:
    """Content digest of a change that is encoded already, and has these row digests."""
    return hashlib.sha256(header + b"".join(rows)).digest()


def compacted_row(revision: int, change_id: int, row: bytes) -> bytes:
    """A row that a compaction left, by its digest: alone, it no longer has its position from its neighbours."""
    return encode(revision, change_id, row)


def compacted_digest(rows: Iterable[bytes]) -> bytes:
    """Digest of the rows that a compaction left, each a `compacted_row`, in order of revision."""
    digest = hashlib.sha256(encode("omnirelay.kept.v1"))
    for row in rows:
        digest.update(row)
    return digest.digest()


def chain_hash(
    previous: bytes, change_id: int, head_revision: int, shard_count: int, committed_at: datetime, content: bytes
) -> bytes:
    """The hash of a change. `head_revision` is the newest revision after it.

    PostgreSQL computes the same value in `commit_change` and `commit_changes`; tests compare them.
    """
    return hash_of_position(previous, encode(change_id, head_revision, shard_count, committed_at, content))


def hash_of_position(previous: bytes, position: bytes) -> bytes:
    """The hash of a change whose position in the chain and content are encoded already."""
    return hashlib.sha256(_HASH_LENGTH + previous + position).digest()


def refusal_digest(
    kind: str,
    actor: str,
    reason: str,
    change_ticket: str | None,
    outcome: str,
    request_digest: bytes,
    request: str,
    details: str,
    left_out: int,
    namespaces: Iterable[str],
) -> bytes:
    """Digest of what was refused and why. `request` and `details` are canonical JSON."""
    fields = (kind, actor, reason, change_ticket, outcome, request_digest, request, details, left_out, *namespaces)
    return hashlib.sha256(encode("omnirelay.refusal.v1", *fields)).digest()


def refusal_hash(previous: bytes, refusal_id: int, refused_at: datetime, content: bytes) -> bytes:
    """The hash of a refusal. PostgreSQL computes the same value in `postgres/readers/refusals.py`."""
    return hashlib.sha256(encode(previous, refusal_id, refused_at, content)).digest()
