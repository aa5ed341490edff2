"""Entries of the audit log as they are stored, and findings: the input and the output of verification.

Export and the checks of rules read the same entries. JSON stays the text that is stored: the hashes cover its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from persistence.codec import hash_chain


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
        return hash_chain.content_digest(
            self.kind, self.actor, self.reason, self.change_ticket, self.metadata, self.configuration, rows, self.forced
        )

    def link(self, previous: bytes) -> bytes:
        """The hash that follows from what is stored and the hash before it."""
        return hash_chain.chain_hash(
            previous, self.id, self.head_revision, self.shard_count, self.committed_at, self.content_digest
        )


class RowEntry(NamedTuple):
    """A row of `shard_history`. The columns after `move_reason` only repeat the images; `changed_fields` are names with
    commas between them."""

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
        return hash_chain.row_digest(
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
        return hash_chain.refusal_digest(
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
        return hash_chain.refusal_hash(previous, self.id, self.refused_at, self.content_digest)


MAX_FINDINGS: Final = 1_000
"""So many are listed; all are counted."""


class Table(StrEnum):
    """Where something is wrong: a table by its name in the database, an earlier checkpoint, or the exported file."""

    CHANGES = "changes"
    HISTORY = "shard_history"
    HEAD = "stream_head"
    SHARDS = "shards"
    TOMBSTONES = "shard_tombstones"
    NAMESPACES = "namespaces"
    NAMESPACE_HEADS = "namespace_heads"
    NODES = "nodes"
    PLANS = "rebalance_plans"
    REFUSALS = "refusals"
    REFUSAL_HEAD = "refusal_head"
    CHECKPOINT = "anchor"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Finding:
    """`key` names the row: a change's or refusal's id, a revision, a range of them (`7..9`), or a name.

    `columns` are those that cannot be right, where that is known; `problem` is a message.
    """

    table: Table
    key: str
    problem: str
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.table} {self.key}: {self.problem}"


@dataclass
class Findings:
    """The first `MAX_FINDINGS` of them, and how many there are."""

    listed: list[Finding] = field(default_factory=list)
    count: int = 0

    def add(self, table: Table, key: object, problem: str, *columns: str) -> None:
        self.extend([Finding(table, str(key), problem, columns)], 1)

    def extend(self, findings: list[Finding], count: int) -> None:
        self.count += count
        self.listed += findings[: max(0, MAX_FINDINGS - len(self.listed))]


def span(first: int, last: int) -> str:
    """A key for one number, `7`, or for a range of them, `7..9`."""
    return str(first) if first == last else f"{first}..{last}"
