"""The append-only tables: changes with the rows of history that they made, and refusals."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, LargeBinary, SmallInteger, Text, column, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from persistence.commands.refusals import MAX_DOCUMENT
from persistence.model.fields import IDENTIFIER_LENGTH
from persistence.model.records import INVOLUNTARY, ChangeKind, DiffKind, MoveReason
from persistence.postgres.tables.columns import (
    INDEXED_CHARACTERS,
    Base,
    Counter,
    Identifier,
    Timestamp,
    enum_check,
    length_check,
    table_of,
)

MOVES: Final = "kind = 'UPDATED' AND owner_node_id <> previous_owner_node_id"

# Reasons of leaders are left out: their rows are no moves.
_INVOLUNTARY: Final = ", ".join(
    f"'{reason}'" for reason in MoveReason if reason in INVOLUNTARY and reason.startswith("OWNER_")
)

VOLUNTARY_MOVES: Final = f"{MOVES} AND (move_reason IS NULL OR move_reason NOT IN ({_INVOLUNTARY}))"
"""The rows of history that are moves, as PostgreSQL compares a partial index with a statement."""


class ChangeRow(Base):
    """One committed transaction. Append-only: triggers refuse UPDATE, DELETE and TRUNCATE.

    `metadata` and `configuration` are `json`, byte for byte as written, because the audit hash covers those bytes.
    `configuration` is what `codec/json_documents.py` writes: of a namespace, of a node, or a plan.
    """

    __tablename__ = "changes"
    __table_args__ = (
        CheckConstraint("id >= 1", name="id_positive"),
        enum_check("kind", ChangeKind),
        length_check("actor"),
        length_check("reason"),
        length_check("change_ticket"),
        length_check("forced"),
        CheckConstraint("char_length(metadata::text) <= 1024", name="metadata_length"),
        CheckConstraint(
            "cardinality(namespaces) >= 1"
            " OR kind IN ('REGISTER_NODE', 'UPDATE_NODE', 'DRAIN_NODE', 'PLAN_REBALANCE', 'APPLY_PLAN',"
            " 'COMPACT_HISTORY')",
            name="namespaces_named",
        ),
        CheckConstraint("shard_count >= 0 AND head_revision >= shard_count", name="revision_range"),
        CheckConstraint(
            "num_nulls(idempotency_key, idempotency_digest, request_digest) IN (0, 3)",
            name="idempotency_complete",
        ),
        length_check("idempotency_key", 255),
        CheckConstraint("octet_length(content_digest) = 32", name="content_digest_length"),
        CheckConstraint("octet_length(hash) = 32", name="hash_length"),
        # What a commit looks for under the head, and the backstop behind that. A digest, because key and actor together
        # can be longer than PostgreSQL lets a row of an index be.
        Index(
            "uq_changes_idempotency_digest",
            "idempotency_digest",
            unique=True,
            postgresql_where=text("idempotency_digest IS NOT NULL"),
        ),
        Index(None, "committed_at"),
        Index("ix_changes_actor", func.left(column("actor"), INDEXED_CHARACTERS), "id"),
        Index("ix_changes_change_ticket", func.left(column("change_ticket"), INDEXED_CHARACTERS), "id"),
        Index(None, "kind", "id"),
        # Nearly all are of one namespace, and in order there; a GIN index has no order.
        Index(
            "ix_changes_namespace", text("(namespaces[1])"), "id", postgresql_where=text("cardinality(namespaces) = 1")
        ),
        Index(
            "ix_changes_several_namespaces",
            "namespaces",
            postgresql_using="gin",
            postgresql_where=text("cardinality(namespaces) > 1"),
        ),
        Index("ix_changes_of_several_namespaces", "id", postgresql_where=text("cardinality(namespaces) > 1")),
        # For the newest change of a node; the changes of everything else take no room in it.
        Index(
            "ix_changes_node",
            text("(configuration ->> 'node')"),
            "id",
            postgresql_where=text("(configuration ->> 'node') IS NOT NULL"),
        ),
        # The same for plans.
        Index(
            "ix_changes_plan",
            text("(configuration ->> 'plan')"),
            "id",
            postgresql_where=text("(configuration ->> 'plan') IS NOT NULL"),
        ),
    )

    id: Mapped[Counter] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    change_ticket: Mapped[str | None] = mapped_column(Text)
    change_metadata: Mapped[Any | None] = mapped_column("metadata", JSON)
    namespaces: Mapped[list[str]] = mapped_column(ARRAY(Text(collation="C")))
    head_revision: Mapped[Counter]
    shard_count: Mapped[int]
    committed_at: Mapped[Timestamp]
    configuration: Mapped[Any | None] = mapped_column(JSON)
    idempotency_key: Mapped[str | None] = mapped_column(Text)
    idempotency_digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    request_digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    content_digest: Mapped[bytes] = mapped_column(LargeBinary)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    forced: Mapped[str | None] = mapped_column(Text)


class ShardHistoryRow(Base):
    """One shard change, with the full record before and after (`images.py`). Append-only, like `changes`.

    In partitions by revision (`partitions.py`), so that compacting drops tables instead of deleting rows. That a shard
    has each version once is held by an index of every partition: one of the whole would have to contain the revision.
    So is the primary key: one of the whole keeps `pg_restore --clean` from dropping the partitions' (migration 0009).
    """

    __tablename__ = "shard_history"
    __table_args__ = (
        CheckConstraint("revision >= 1", name="revision_positive"),
        enum_check("kind", DiffKind),
        CheckConstraint("(previous IS NULL) = (kind = 'CREATED')", name="previous_presence"),
        CheckConstraint("(current IS NULL) = (kind = 'DELETED')", name="current_presence"),
        CheckConstraint(
            "num_nulls(previous, previous_revision, previous_updated_at, previous_owner_node_id) IN (0, 4)",
            name="previous_complete",
        ),
        CheckConstraint("(owner_node_id IS NULL) = (current IS NULL)", name="owner_presence"),
        enum_check("move_reason", MoveReason),
        CheckConstraint("move_reason IS NULL OR kind = 'UPDATED'", name="move_reason_presence"),
        Index("ix_shard_history_shard_revision", "namespace", "shard_id", "revision"),
        Index(None, "namespace", "revision"),
        # For the moves in a window of time; rows that are none take no room in it.
        Index("ix_shard_history_moves", "namespace", "revision", postgresql_where=text(MOVES)),
        # Most policies count these alone.
        Index("ix_shard_history_voluntary_moves", "namespace", "revision", postgresql_where=text(VOLUNTARY_MOVES)),
        {"postgresql_partition_by": "RANGE (revision)"},
    )

    revision: Mapped[Counter] = mapped_column()
    change_id: Mapped[Counter] = mapped_column(ForeignKey("changes.id"))
    namespace: Mapped[Identifier]
    shard_id: Mapped[Identifier]
    version: Mapped[Counter]
    kind: Mapped[str] = mapped_column(Text)
    changed_fields: Mapped[list[str]] = mapped_column(ARRAY(Text))
    owner_node_id: Mapped[Identifier | None]
    previous_owner_node_id: Mapped[Identifier | None]
    previous_revision: Mapped[Counter | None]
    previous_updated_at: Mapped[Timestamp | None]
    created_at: Mapped[Timestamp]
    previous: Mapped[Any | None] = mapped_column(JSON)
    current: Mapped[Any | None] = mapped_column(JSON)
    move_reason: Mapped[str | None] = mapped_column(Text)

    __mapper_args__ = {"primary_key": [revision]}  # noqa: RUF012 - read by SQLAlchemy, once


class RefusalHeadRow(Base):
    """The one row every refusal passes through. Not the stream head, so that no change waits for a refusal."""

    __tablename__ = "refusal_head"
    __table_args__ = (
        CheckConstraint("id = 1", name="single_row"),
        CheckConstraint("refusal_id >= 0", name="refusal_id_natural"),
        CheckConstraint("octet_length(hash) = 32", name="hash_length"),
    )

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    refusal_id: Mapped[Counter]
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    refused_at: Mapped[Timestamp]


class RefusalRow(Base):
    """One refused request (`refusals.py`). Append-only, like `changes`, in a chain of its own.

    `request` and `details` are `json`, stored byte for byte as written, because the hash covers those bytes.
    """

    __tablename__ = "refusals"
    __table_args__ = (
        CheckConstraint("id >= 1", name="id_positive"),
        length_check("kind", IDENTIFIER_LENGTH),
        length_check("actor"),
        length_check("reason"),
        length_check("change_ticket"),
        length_check("outcome", IDENTIFIER_LENGTH),
        CheckConstraint("octet_length(request_digest) = 32", name="request_digest_length"),
        CheckConstraint(f"char_length(request::text) <= {MAX_DOCUMENT}", name="request_length"),
        CheckConstraint(f"char_length(details::text) <= {MAX_DOCUMENT}", name="details_length"),
        CheckConstraint("left_out >= 0", name="left_out_natural"),
        CheckConstraint("octet_length(content_digest) = 32", name="content_digest_length"),
        CheckConstraint("octet_length(hash) = 32", name="hash_length"),
        Index(None, "refused_at"),
        Index("ix_refusals_actor", func.left(column("actor"), INDEXED_CHARACTERS), "id"),
        Index("ix_refusals_change_ticket", func.left(column("change_ticket"), INDEXED_CHARACTERS), "id"),
        Index(None, "namespaces", postgresql_using="gin"),
    )

    id: Mapped[Counter] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    change_ticket: Mapped[str | None] = mapped_column(Text)
    namespaces: Mapped[list[str]] = mapped_column(ARRAY(Text(collation="C")))
    outcome: Mapped[str] = mapped_column(Text)
    request_digest: Mapped[bytes] = mapped_column(LargeBinary)
    request: Mapped[Any] = mapped_column(JSON)
    details: Mapped[Any] = mapped_column(JSON)
    left_out: Mapped[Counter]
    refused_at: Mapped[Timestamp]
    content_digest: Mapped[bytes] = mapped_column(LargeBinary)
    hash: Mapped[bytes] = mapped_column(LargeBinary)


CHANGES: Final = table_of(ChangeRow)
HISTORY: Final = table_of(ShardHistoryRow)
REFUSALS: Final = table_of(RefusalRow)
