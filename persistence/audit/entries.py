"""What the audit chains cover, row by row, as it is stored: the input of verification, export and checks.

JSON stays the text it is kept as, because the hashes cover those bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from persistence import audit


class ChangeEntry(NamedTuple):
    """A row of `changes`. `head_revision` is the newest revision after it."""

    id: int
    kind: str
    actor: str
    reason: str
    change_ticket: str | None
    metadata: str | None
    configuration: str | None
    namespaces: list[str]
    head_revision: int
    shard_count: int
    committed_at: datetime
    content_digest: bytes
    hash: bytes
    forced: str | None = None

    def content(self, rows: Iterable[bytes]) -> bytes:
        """The content digest that follows from the change and the digests of all its rows."""
        return audit.content_digest(
            self.kind, self.actor, self.reason, self.change_ticket, self.metadata, self.configuration, rows, self.forced
        )

    def link(self, previous: bytes) -> bytes:
        """The hash that follows from what is stored and the hash before it."""
        return audit.chain_hash(
            previous, self.id, self.head_revision, self.shard_count, self.committed_at, self.content_digest
        )


class RowEntry(NamedTuple):
    """A row of `shard_history`. What follows `move_reason` only repeats what the images say; of `changed_fields` the
    names with commas between them."""

    revision: int
    change_id: int
    kind: str
    previous: str | None
    previous_revision: int | None
    previous_updated_at: datetime | None
    created_at: datetime
    current: str | None
    move_reason: str | None
    namespace: str
    shard_id: str
    version: int
    changed_fields: str
    owner_node_id: str | None
    previous_owner_node_id: str | None

    def digest(self) -> bytes:
        return audit.row_digest(
            self.kind,
            self.previous,
            self.previous_revision,
            self.previous_updated_at,
            None if self.previous is None else self.created_at,
            self.current,
            self.move_reason,
        )


class RefusalEntry(NamedTuple):
    """A row of `refusals`."""

    id: int
    kind: str
    actor: str
    reason: str
    change_ticket: str | None
    namespaces: list[str]
    outcome: str
    request_digest: bytes
    request: str
    details: str
    left_out: int
    refused_at: datetime
    content_digest: bytes
    hash: bytes

    def content(self) -> bytes:
        return audit.refusal_digest(
            self.kind,
            self.actor,
            self.reason,
            self.change_ticket,
            self.outcome,
            self.request_digest,
            self.request,
            self.details,
            self.left_out,
            self.namespaces,
        )

    def link(self, previous: bytes) -> bytes:
        return audit.refusal_hash(previous, self.id, self.refused_at, self.content_digest)
