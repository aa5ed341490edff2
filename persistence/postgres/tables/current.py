"""The tables. Migrations are proven equal to this file by tests/integration/test_migrations.py.

Identifiers are COLLATE "C": they sort bytewise, as Python sorts them and whatever locale the server has.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    column,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from persistence.fields import IDENTIFIER_LENGTH, LOCALITY_PATTERN, MAX_TEXT, PLACE_PATTERN
from persistence.planning.proposal import ID_LENGTH
from persistence.policy_problems import MAX_WINDOW_MOVES, MAX_WINDOW_SECONDS
from persistence.records import (
    IDENTIFIER_PATTERN,
    ChangeKind,
    DiffKind,
    MoveReason,
    NodeStatus,
    PlanKind,
    PlanStatus,
    ShardStatus,
)
from persistence.refusals import MAX_DOCUMENT
from persistence.ticket_patterns import MAX_PATTERN
from strategies.parameters import MAX_WEIGHT

SCHEMA_REVISION: Final = "0009"
"""The newest migration, which makes these tables and the functions that write to them."""

NAMING_CONVENTION: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

INDEXED_CHARACTERS: Final = 64
"""Free text is indexed by its beginning: all of it may be too long for an index. Whoever asks, asks for both."""

KEPT_STATUSES: Final = tuple(status for status in PlanStatus if status is not PlanStatus.EXPIRED)

Identifier = Annotated[str, mapped_column(Text(collation="C"))]
Counter = Annotated[int, mapped_column(BigInteger)]
Moment = Annotated[datetime, mapped_column(DateTime(timezone=True))]


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)


def _matching(column: str, pattern: str) -> CheckConstraint:
    """The pattern of one identifier, its length apart: PostgreSQL matches `{0,127}` fifteen times slower than `*`, and
    a change of ten thousand shards has fifty thousand identifiers to check."""
    unbounded = pattern.replace("{0,127}", "*")
    condition = f"char_length({column}) <= {IDENTIFIER_LENGTH} AND {column} ~ '^{unbounded}$'"
    return CheckConstraint(condition, name=f"{column}_format")


def _locality(column: str) -> CheckConstraint:
    unbounded = LOCALITY_PATTERN.replace("{0,127}", "*")
    bare = f"split_part({column}, ':', -1)"
    first, second = (f"char_length(split_part({bare}, '/', {place})) <= {IDENTIFIER_LENGTH}" for place in (1, 2))
    return CheckConstraint(f"{column} ~ '^({unbounded})$' AND {first} AND {second}", name=f"{column}_format")


def _identifier(column: str) -> CheckConstraint:
    return _matching(column, IDENTIFIER_PATTERN)


def _place(column: str) -> CheckConstraint:
    return _matching(column, PLACE_PATTERN)


def _text(column: str, limit: int = MAX_TEXT) -> CheckConstraint:
    return CheckConstraint(f"char_length({column}) BETWEEN 1 AND {limit}", name=f"{column}_length")


def _one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({_listed(values)})", name=f"{column}_known")


def _listed(values: Iterable[StrEnum]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def _in_policy(member: str, json_type: str, name: str) -> CheckConstraint:
    """A member that a policy's document always has."""
    condition = f"coalesce(jsonb_typeof(policy -> '{member}'), '') = '{json_type}'"
    return CheckConstraint(condition, name=f"policy_{name}_{json_type}")


def _moves_in_policy(member: str, name: str) -> CheckConstraint:
    condition = f"coalesce((policy ->> '{member}')::numeric, 1) BETWEEN 1 AND {MAX_WINDOW_MOVES}"
    return CheckConstraint(condition, name=f"policy_{name}_range")


class StreamHeadRow(Base):
    """The one row every commit passes through: it hands out revisions and change ids in commit order, without gaps.

    `floor` is the oldest revision a reader may resume after; `identity` is the cluster, database and table the stream
    was born in: a restored copy finds itself elsewhere and starts a new epoch. `timeline` is the newest PostgreSQL
    timeline it was written on; `compatible_revisions` are the Alembic revisions of the programs this schema serves.
    """

    __tablename__ = "stream_head"
    __table_args__ = (
        CheckConstraint("id = 1", name="single_row"),
        CheckConstraint("floor BETWEEN 0 AND revision", name="floor_range"),
        CheckConstraint("octet_length(hash) = 32", name="hash_length"),
        CheckConstraint("timeline >= 1", name="timeline_positive"),
    )

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    epoch: Mapped[Identifier]
    identity: Mapped[str] = mapped_column(Text)
    revision: Mapped[Counter]
    floor: Mapped[Counter]
    change_id: Mapped[Counter]
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    committed_at: Mapped[Moment]
    timeline: Mapped[Counter]
    compatible_revisions: Mapped[list[str]] = mapped_column(ARRAY(Text))


class NamespaceRow(Base):
    """Configuration, written seldom. Every commit compares the version that it was decided on."""

    __tablename__ = "namespaces"
    __table_args__ = (
        _identifier("name"),
        _identifier("strategy"),
        CheckConstraint("version >= 1", name="version_positive"),
        CheckConstraint("algorithm_version >= 1", name="algorithm_version_positive"),
        CheckConstraint("parameters_digest ~ '^[0-9a-f]{64}$'", name="parameters_digest_format"),
        CheckConstraint("jsonb_typeof(strategy_parameters) = 'object'", name="strategy_parameters_object"),
        CheckConstraint("jsonb_typeof(policy) = 'object'", name="policy_object"),
        _in_policy("ticketRequired", "boolean", "ticket_required"),
        _in_policy("approvalRequired", "boolean", "approval_required"),
        _in_policy("freezes", "array", "freezes"),
        CheckConstraint(
            f"coalesce(char_length(policy ->> 'ticketPattern'), 1) BETWEEN 1 AND {MAX_PATTERN}",
            name="policy_ticket_pattern_length",
        ),
        CheckConstraint(
            "coalesce((policy ->> 'moveBudgetPercent')::numeric, 0) > 0"
            " AND (policy ->> 'moveBudgetPercent')::numeric <= 100",
            name="policy_move_budget_percent_range",
        ),
        CheckConstraint(
            f"coalesce((policy ->> 'windowSeconds')::numeric, 0) BETWEEN 1 AND {MAX_WINDOW_SECONDS}",
            name="policy_window_seconds_range",
        ),
        _moves_in_policy("windowMoves", "window_moves"),
        _moves_in_policy("shardWindowMoves", "shard_window_moves"),
    )

    name: Mapped[Identifier] = mapped_column(primary_key=True)
    strategy: Mapped[Identifier]
    strategy_parameters: Mapped[dict[str, Any]] = mapped_column(JSONB)
    algorithm_version: Mapped[int]
    parameters_digest: Mapped[str] = mapped_column(Text)
    version: Mapped[Counter]
    policy: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[Moment]
    updated_at: Mapped[Moment]


class NamespaceHeadRow(Base):
    """What follows from a namespace's shards, written by every change under the stream head.

    Apart from the configuration, so that rows that are compared and seldom written are not written by every change.
    The digest is kept as two signed halves because PostgreSQL has an exclusive or for bigint, not for bytea.
    """

    __tablename__ = "namespace_heads"
    __table_args__ = (CheckConstraint("shard_count >= 0", name="shard_count_natural"),)

    name: Mapped[Identifier] = mapped_column(ForeignKey("namespaces.name"), primary_key=True)
    digest_high: Mapped[Counter]
    digest_low: Mapped[Counter]
    shard_count: Mapped[Counter]
    revision: Mapped[Counter]


class ShardRow(Base):
    """The current table."""

    __tablename__ = "shards"
    __table_args__ = (
        _identifier("shard_id"),
        _identifier("strategy"),
        _identifier("owner_node_id"),
        _identifier("leader_id"),
        CheckConstraint("capacity_hint >= 0 AND capacity_hint < 'Infinity'", name="capacity_hint_finite"),
        _locality("locality_hint"),
        _one_of("status", ShardStatus),
        _text("pinned_by"),
        _text("pinned_reason"),
        CheckConstraint(
            "num_nulls(pinned_by, pinned_reason) IN (0, 2) AND (pinned_until IS NULL OR pinned_by IS NOT NULL)",
            name="pin_complete",
        ),
        _text("change_ticket"),
        CheckConstraint("owner_epoch BETWEEN 1 AND version", name="owner_epoch_range"),
        CheckConstraint("char_length(checksum) = 32 AND checksum ~ '^[0-9a-f]*$'", name="checksum_format"),
        Index(None, "owner_node_id"),
        _identifier("anti_affinity_group"),
        # Shards without a group take no room in it.
        Index(None, "namespace", "anti_affinity_group", postgresql_where=text("anti_affinity_group IS NOT NULL")),
    )

    namespace: Mapped[Identifier] = mapped_column(ForeignKey("namespaces.name"), primary_key=True)
    shard_id: Mapped[Identifier] = mapped_column(primary_key=True)
    strategy: Mapped[Identifier]
    owner_node_id: Mapped[Identifier]
    leader_id: Mapped[Identifier | None]
    capacity_hint: Mapped[float] = mapped_column(Double)
    locality_hint: Mapped[Identifier | None]
    status: Mapped[str] = mapped_column(Text)
    pinned_by: Mapped[str | None] = mapped_column(Text)
    pinned_reason: Mapped[str | None] = mapped_column(Text)
    pinned_until: Mapped[Moment | None]
    change_ticket: Mapped[str | None] = mapped_column(Text)
    version: Mapped[Counter]
    owner_epoch: Mapped[Counter]
    checksum: Mapped[str] = mapped_column(Text)
    revision: Mapped[Counter]
    created_at: Mapped[Moment]
    updated_at: Mapped[Moment]
    anti_affinity_group: Mapped[Identifier | None]


class NodeRow(Base):
    """What may own shards. A removed node stays, with that status, so that its version goes on if it comes back.

    Shards do not refer to it: a shard may belong to a node that nobody has registered, which a plan then puts right.
    """

    __tablename__ = "nodes"
    __table_args__ = (
        _identifier("node_id"),
        _place("region"),
        _place("zone"),
        CheckConstraint("jsonb_typeof(labels) = 'object'", name="labels_object"),
        CheckConstraint(f"weight BETWEEN 1 AND {MAX_WEIGHT}", name="weight_range"),
        _one_of("status", NodeStatus),
        _text("change_ticket"),
        CheckConstraint("version >= 1", name="version_positive"),
    )

    node_id: Mapped[Identifier] = mapped_column(primary_key=True)
    region: Mapped[Identifier | None]
    zone: Mapped[Identifier | None]
    labels: Mapped[dict[str, Any]] = mapped_column(JSONB)
    weight: Mapped[int]
    status: Mapped[str] = mapped_column(Text)
    change_ticket: Mapped[str | None] = mapped_column(Text)
    version: Mapped[Counter]
    created_at: Mapped[Moment]
    updated_at: Mapped[Moment]


class TombstoneRow(Base):
    """A deleted shard's counters: they go on if it comes back."""

    __tablename__ = "shard_tombstones"
    __table_args__ = (
        CheckConstraint("version >= 2", name="version_counts_deletion"),
        CheckConstraint("owner_epoch BETWEEN 1 AND version", name="owner_epoch_range"),
    )

    namespace: Mapped[Identifier] = mapped_column(ForeignKey("namespaces.name"), primary_key=True)
    shard_id: Mapped[Identifier] = mapped_column(primary_key=True)
    version: Mapped[Counter]
    owner_epoch: Mapped[Counter]


class ChangeRow(Base):
    """One committed transaction. Append-only: triggers refuse UPDATE, DELETE and TRUNCATE.

    `metadata` and `configuration` are `json`, kept byte for byte as written, because the audit hash covers those bytes.
    `configuration` is what `details_json` of `writes.py` writes: of a namespace, of a node, or a plan.
    """

    __tablename__ = "changes"
    __table_args__ = (
        CheckConstraint("id >= 1", name="id_positive"),
        _one_of("kind", ChangeKind),
        _text("actor"),
        _text("reason"),
        _text("change_ticket"),
        _text("forced"),
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
        _text("idempotency_key", 255),
        CheckConstraint("octet_length(content_digest) = 32", name="content_digest_length"),
        CheckConstraint("octet_length(hash) = 32", name="hash_length"),
        # What a commit looks for under the head, and the backstop behind that. A digest, because key and actor together
        # can be longer than PostgreSQL lets a row of an index be.
        Index("uq_changes_idempotency_digest", "idempotency_digest", unique=True),
        Index(None, "committed_at"),
        Index("ix_changes_actor", func.left(column("actor"), INDEXED_CHARACTERS), "id"),
        Index("ix_changes_change_ticket", func.left(column("change_ticket"), INDEXED_CHARACTERS), "id"),
        Index(None, "namespaces", postgresql_using="gin"),
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
    committed_at: Mapped[Moment]
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
        _one_of("kind", DiffKind),
        CheckConstraint("(previous IS NULL) = (kind = 'CREATED')", name="previous_presence"),
        CheckConstraint("(current IS NULL) = (kind = 'DELETED')", name="current_presence"),
        CheckConstraint(
            "num_nulls(previous, previous_revision, previous_updated_at, previous_owner_node_id) IN (0, 4)",
            name="previous_complete",
        ),
        CheckConstraint("(owner_node_id IS NULL) = (current IS NULL)", name="owner_presence"),
        _one_of("move_reason", MoveReason),
        CheckConstraint("move_reason IS NULL OR kind = 'UPDATED'", name="move_reason_presence"),
        Index("ix_shard_history_shard_revision", "namespace", "shard_id", "revision"),
        Index(None, "namespace", "revision"),
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
    previous_updated_at: Mapped[Moment | None]
    created_at: Mapped[Moment]
    previous: Mapped[Any | None] = mapped_column(JSON)
    current: Mapped[Any | None] = mapped_column(JSON)
    move_reason: Mapped[str | None] = mapped_column(Text)

    __mapper_args__ = {"primary_key": [revision]}  # noqa: RUF012 - read by SQLAlchemy, once


class RefusalHeadRow(Base):
    """The one row every refusal passes through. Apart from the stream head, so that no change waits for a refusal."""

    __tablename__ = "refusal_head"
    __table_args__ = (
        CheckConstraint("id = 1", name="single_row"),
        CheckConstraint("refusal_id >= 0", name="refusal_id_natural"),
        CheckConstraint("octet_length(hash) = 32", name="hash_length"),
    )

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    refusal_id: Mapped[Counter]
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    refused_at: Mapped[Moment]


class RefusalRow(Base):
    """One refused request (`refusals.py`). Append-only, like `changes`, in a chain of its own.

    `request` and `details` are `json`, kept byte for byte as written, because the hash covers those bytes.
    """

    __tablename__ = "refusals"
    __table_args__ = (
        CheckConstraint("id >= 1", name="id_positive"),
        _text("kind", IDENTIFIER_LENGTH),
        _text("actor"),
        _text("reason"),
        _text("change_ticket"),
        _text("outcome", IDENTIFIER_LENGTH),
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
    refused_at: Mapped[Moment]
    content_digest: Mapped[bytes] = mapped_column(LargeBinary)
    hash: Mapped[bytes] = mapped_column(LargeBinary)


class RebalancePlanDocumentRow(Base):
    """What a plan proposes. Append-only: nobody applies another plan than the one reviewed.

    A table of its own, because a megabyte of document is written before the stream head is taken, and the plan's row
    after it. `document` is `json`, kept byte for byte as written, because the plan's id is taken from those bytes.
    """

    __tablename__ = "rebalance_plan_documents"
    __table_args__ = (CheckConstraint(f"id ~ '^[0-9a-f]{{{ID_LENGTH}}}$'", name="id_format"),)

    id: Mapped[Identifier] = mapped_column(primary_key=True)
    document: Mapped[Any] = mapped_column(JSON)


class RebalancePlanRow(Base):
    """A plan. A trigger refuses everything but what `planning/lifecycle.py` has, each by a change of its own.

    That it is EXPIRED is nowhere written: it follows from `expires_at` and the time.
    """

    __tablename__ = "rebalance_plans"
    __table_args__ = (
        CheckConstraint(f"status IN ({_listed(KEPT_STATUSES)})", name="status_known"),
        _one_of("kind", PlanKind),
        CheckConstraint("base_revision >= 0", name="base_revision_natural"),
        CheckConstraint("move_count BETWEEN 0 AND shard_count", name="move_count_range"),
        CheckConstraint("moves_made BETWEEN 0 AND move_count", name="moves_made_range"),
        CheckConstraint("(status = 'APPLIED') = (moves_made = move_count AND move_count > 0)", name="applied_complete"),
        CheckConstraint("moves_made > 0 OR status NOT IN ('APPLYING', 'STOPPED')", name="begun"),
        CheckConstraint("moves_made = 0 OR status NOT IN ('PROPOSED', 'APPROVED')", name="not_begun"),
        CheckConstraint("approved_change_id IS NOT NULL OR status <> 'APPROVED'", name="approved_presence"),
        Index(None, "namespaces", postgresql_using="gin"),
    )

    id: Mapped[Identifier] = mapped_column(ForeignKey("rebalance_plan_documents.id"), primary_key=True)
    status: Mapped[str] = mapped_column(Text)
    base_revision: Mapped[Counter]
    namespaces: Mapped[list[str]] = mapped_column(ARRAY(Text(collation="C")))
    move_count: Mapped[int]
    shard_count: Mapped[Counter]
    change_id: Mapped[Counter] = mapped_column(ForeignKey("changes.id"), unique=True)
    kind: Mapped[str] = mapped_column(Text)
    moves_made: Mapped[int]
    expires_at: Mapped[Moment]
    approved_change_id: Mapped[Counter | None] = mapped_column(ForeignKey("changes.id"))
    latest_change_id: Mapped[Counter] = mapped_column(ForeignKey("changes.id"))


STREAM_HEAD: Final = cast("Table", StreamHeadRow.__table__)
NAMESPACES: Final = cast("Table", NamespaceRow.__table__)
NAMESPACE_HEADS: Final = cast("Table", NamespaceHeadRow.__table__)
SHARDS: Final = cast("Table", ShardRow.__table__)
NODES: Final = cast("Table", NodeRow.__table__)
TOMBSTONES: Final = cast("Table", TombstoneRow.__table__)
CHANGES: Final = cast("Table", ChangeRow.__table__)
HISTORY: Final = cast("Table", ShardHistoryRow.__table__)
REFUSALS: Final = cast("Table", RefusalRow.__table__)
PLANS: Final = cast("Table", RebalancePlanRow.__table__)
PLAN_DOCUMENTS: Final = cast("Table", RebalancePlanDocumentRow.__table__)
