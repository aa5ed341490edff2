"""The tables of the present: the stream head, and what servers answer from."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import CheckConstraint, Double, ForeignKey, Index, LargeBinary, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from persistence.model.policy_rules import MAX_PATTERN, MAX_WINDOW_MOVES, MAX_WINDOW_SECONDS
from persistence.model.records import NodeStatus, ShardStatus
from persistence.postgres.tables.columns import (
    Base,
    Counter,
    Identifier,
    Timestamp,
    enum_check,
    identifier_check,
    length_check,
    locality_check,
    name_check,
    place_check,
    table_of,
)
from strategies.parameters import MAX_WEIGHT

SCHEMA_REVISION: Final = "0019"
"""The newest migration, which makes these tables and the functions that write to them."""


def _in_policy(member: str, json_type: str, name: str) -> CheckConstraint:
    """A member that a policy's document always has."""
    condition = f"coalesce(jsonb_typeof(policy -> '{member}'), '') = '{json_type}'"
    return CheckConstraint(condition, name=f"policy_{name}_{json_type}")


def _later_in_policy(member: str, json_type: str, name: str) -> CheckConstraint:
    """A member that documents of before it came do not have."""
    condition = f"coalesce(jsonb_typeof(policy -> '{member}'), '{json_type}') = '{json_type}'"
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
    committed_at: Mapped[Timestamp]
    timeline: Mapped[Counter]
    compatible_revisions: Mapped[list[str]] = mapped_column(ARRAY(Text))


class NamespaceRow(Base):
    """Configuration, written seldom. Every commit compares the version that it was decided on."""

    __tablename__ = "namespaces"
    __table_args__ = (
        name_check("name"),
        name_check("strategy"),
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
        _later_in_policy("involuntaryMovesLimited", "boolean", "involuntary_moves_limited"),
        _later_in_policy("ownersMustBeRegistered", "boolean", "owners_must_be_registered"),
        _later_in_policy("recurringFreezes", "array", "recurring_freezes"),
    )

    name: Mapped[Identifier] = mapped_column(primary_key=True)
    strategy: Mapped[Identifier]
    strategy_parameters: Mapped[dict[str, Any]] = mapped_column(JSONB)
    algorithm_version: Mapped[int]
    parameters_digest: Mapped[str] = mapped_column(Text)
    version: Mapped[Counter]
    policy: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[Timestamp]
    updated_at: Mapped[Timestamp]


class NamespaceHeadRow(Base):
    """What follows from a namespace's shards, written by every change under the stream head.

    Separate from the configuration, so that rows that are compared and seldom written are not written by every change.
    The digest is stored as two signed halves because PostgreSQL has an exclusive or for bigint, not for bytea.
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
        identifier_check("shard_id"),
        name_check("strategy"),
        identifier_check("owner_node_id"),
        identifier_check("leader_id"),
        CheckConstraint("capacity_hint >= 0 AND capacity_hint < 'Infinity'", name="capacity_hint_finite"),
        locality_check("locality_hint"),
        enum_check("status", ShardStatus),
        length_check("pinned_by"),
        length_check("pinned_reason"),
        CheckConstraint(
            "num_nulls(pinned_by, pinned_reason) IN (0, 2) AND (pinned_until IS NULL OR pinned_by IS NOT NULL)",
            name="pin_complete",
        ),
        length_check("change_ticket"),
        CheckConstraint("owner_epoch BETWEEN 1 AND version", name="owner_epoch_range"),
        CheckConstraint("char_length(checksum) = 32 AND checksum ~ '^[0-9a-f]*$'", name="checksum_format"),
        # In the order of their lists.
        Index("ix_shards_owner", "owner_node_id", "namespace", "shard_id"),
        # For the number of shards that a node leads.
        Index(None, "leader_id", postgresql_where=text("leader_id IS NOT NULL")),
        identifier_check("anti_affinity_group"),
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
    pinned_until: Mapped[Timestamp | None]
    change_ticket: Mapped[str | None] = mapped_column(Text)
    version: Mapped[Counter]
    owner_epoch: Mapped[Counter]
    checksum: Mapped[str] = mapped_column(Text)
    revision: Mapped[Counter]
    created_at: Mapped[Timestamp]
    updated_at: Mapped[Timestamp]
    anti_affinity_group: Mapped[Identifier | None]


class NodeRow(Base):
    """What may own shards. A removed node stays, with that status, so that its version goes on if it comes back.

    Shards do not refer to it: a shard may belong to a node that is not registered, which a plan then puts right.
    """

    __tablename__ = "nodes"
    __table_args__ = (
        identifier_check("node_id"),
        place_check("region"),
        place_check("zone"),
        CheckConstraint("jsonb_typeof(labels) = 'object'", name="labels_object"),
        CheckConstraint(f"weight BETWEEN 1 AND {MAX_WEIGHT}", name="weight_range"),
        enum_check("status", NodeStatus),
        length_check("change_ticket"),
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
    created_at: Mapped[Timestamp]
    updated_at: Mapped[Timestamp]


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


STREAM_HEAD: Final = table_of(StreamHeadRow)
NAMESPACES: Final = table_of(NamespaceRow)
NAMESPACE_HEADS: Final = table_of(NamespaceHeadRow)
SHARDS: Final = table_of(ShardRow)
NODES: Final = table_of(NodeRow)
TOMBSTONES: Final = table_of(TombstoneRow)
