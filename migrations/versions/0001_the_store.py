"""The store: stream head, namespaces, shards, changes, history.

Revision numbers are handed out by the one row of stream_head; changes and shard_history are append-only.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = ("changes", "shard_history")

REFUSE = """
CREATE FUNCTION refuse_history_edit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'Correct a mistake with a new change; history keeps both.';
END
$$
"""

# `origin` names the table that the stream began in; programs up to 0007 compare it on every new connection.
FIRST_HEAD = """
INSERT INTO stream_head (id, epoch, origin, revision, floor, change_id, hash, committed_at)
VALUES (
    1,
    replace(gen_random_uuid()::text, '-', ''),
    (SELECT system_identifier FROM pg_control_system())
        || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
        || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())
        || '/' || 'stream_head'::regclass::oid,
    0, 0, 0, decode(repeat('00', 32), 'hex'), clock_timestamp()
)
"""


def upgrade() -> None:
    op.create_table(
        "changes",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("change_ticket", sa.Text(), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=True),
        sa.Column("namespaces", postgresql.ARRAY(sa.Text(collation="C")), nullable=False),
        sa.Column("head_revision", sa.BigInteger(), nullable=False),
        sa.Column("shard_count", sa.Integer(), nullable=False),
        sa.Column("committed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("configuration", sa.JSON(), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("idempotency_digest", sa.LargeBinary(), nullable=True),
        sa.Column("request_digest", sa.LargeBinary(), nullable=True),
        sa.Column("content_digest", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('CREATE_SHARDS', 'UPDATE_SHARDS', 'DELETE_SHARDS', 'CONFIGURE_NAMESPACE')",
            name=op.f("ck_changes_kind_known"),
        ),
        sa.CheckConstraint("cardinality(namespaces) >= 1", name=op.f("ck_changes_namespaces_named")),
        sa.CheckConstraint("char_length(actor) BETWEEN 1 AND 1024", name=op.f("ck_changes_actor_length")),
        sa.CheckConstraint(
            "char_length(change_ticket) BETWEEN 1 AND 1024", name=op.f("ck_changes_change_ticket_length")
        ),
        sa.CheckConstraint(
            "char_length(idempotency_key) BETWEEN 1 AND 255", name=op.f("ck_changes_idempotency_key_length")
        ),
        sa.CheckConstraint("char_length(metadata::text) <= 1024", name=op.f("ck_changes_metadata_length")),
        sa.CheckConstraint("char_length(reason) BETWEEN 1 AND 1024", name=op.f("ck_changes_reason_length")),
        sa.CheckConstraint("id >= 1", name=op.f("ck_changes_id_positive")),
        sa.CheckConstraint(
            "num_nulls(idempotency_key, idempotency_digest, request_digest) IN (0, 3)",
            name=op.f("ck_changes_idempotency_complete"),
        ),
        sa.CheckConstraint("octet_length(content_digest) = 32", name=op.f("ck_changes_content_digest_length")),
        sa.CheckConstraint("octet_length(hash) = 32", name=op.f("ck_changes_hash_length")),
        sa.CheckConstraint("shard_count >= 0 AND head_revision >= shard_count", name=op.f("ck_changes_revision_range")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_changes")),
    )
    op.create_index("ix_changes_actor", "changes", [sa.text("left(actor, 64)"), "id"], unique=False)
    op.create_index("ix_changes_change_ticket", "changes", [sa.text("left(change_ticket, 64)"), "id"], unique=False)
    op.create_index(op.f("ix_changes_committed_at"), "changes", ["committed_at"], unique=False)
    op.create_index(op.f("ix_changes_namespaces"), "changes", ["namespaces"], unique=False, postgresql_using="gin")
    op.create_index("uq_changes_idempotency_digest", "changes", ["idempotency_digest"], unique=True)
    op.create_table(
        "namespaces",
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("strategy", sa.Text(collation="C"), nullable=False),
        sa.Column("strategy_parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("algorithm_version", sa.Integer(), nullable=False),
        sa.Column("parameters_digest", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "jsonb_typeof(strategy_parameters) = 'object'", name=op.f("ck_namespaces_strategy_parameters_object")
        ),
        sa.CheckConstraint("name ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$'", name=op.f("ck_namespaces_name_format")),
        sa.CheckConstraint("parameters_digest ~ '^[0-9a-f]{64}$'", name=op.f("ck_namespaces_parameters_digest_format")),
        sa.CheckConstraint(
            "strategy ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$'", name=op.f("ck_namespaces_strategy_format")
        ),
        sa.CheckConstraint("algorithm_version >= 1", name=op.f("ck_namespaces_algorithm_version_positive")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_namespaces_version_positive")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_namespaces")),
    )
    op.create_table(
        "stream_head",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.Text(collation="C"), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("floor", sa.BigInteger(), nullable=False),
        sa.Column("change_id", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("committed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("floor BETWEEN 0 AND revision", name=op.f("ck_stream_head_floor_range")),
        sa.CheckConstraint("id = 1", name=op.f("ck_stream_head_single_row")),
        sa.CheckConstraint("octet_length(hash) = 32", name=op.f("ck_stream_head_hash_length")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stream_head")),
    )
    op.create_table(
        "namespace_heads",
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("digest_high", sa.BigInteger(), nullable=False),
        sa.Column("digest_low", sa.BigInteger(), nullable=False),
        sa.Column("shard_count", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("shard_count >= 0", name=op.f("ck_namespace_heads_shard_count_natural")),
        sa.ForeignKeyConstraint(["name"], ["namespaces.name"], name=op.f("fk_namespace_heads_name_namespaces")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_namespace_heads")),
    )
    op.create_table(
        "shard_history",
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("change_id", sa.BigInteger(), nullable=False),
        sa.Column("namespace", sa.Text(collation="C"), nullable=False),
        sa.Column("shard_id", sa.Text(collation="C"), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("changed_fields", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("owner_node_id", sa.Text(collation="C"), nullable=True),
        sa.Column("previous_owner_node_id", sa.Text(collation="C"), nullable=True),
        sa.Column("previous_revision", sa.BigInteger(), nullable=True),
        sa.Column("previous_updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("previous", sa.JSON(), nullable=True),
        sa.Column("current", sa.JSON(), nullable=True),
        sa.CheckConstraint("(current IS NULL) = (kind = 'DELETED')", name=op.f("ck_shard_history_current_presence")),
        sa.CheckConstraint("(previous IS NULL) = (kind = 'CREATED')", name=op.f("ck_shard_history_previous_presence")),
        sa.CheckConstraint("kind IN ('CREATED', 'UPDATED', 'DELETED')", name=op.f("ck_shard_history_kind_known")),
        sa.CheckConstraint("(owner_node_id IS NULL) = (current IS NULL)", name=op.f("ck_shard_history_owner_presence")),
        sa.CheckConstraint(
            "num_nulls(previous, previous_revision, previous_updated_at, previous_owner_node_id) IN (0, 4)",
            name=op.f("ck_shard_history_previous_complete"),
        ),
        sa.CheckConstraint("revision >= 1", name=op.f("ck_shard_history_revision_positive")),
        sa.ForeignKeyConstraint(["change_id"], ["changes.id"], name=op.f("fk_shard_history_change_id_changes")),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_shard_history")),
    )
    op.create_index(
        op.f("ix_shard_history_namespace_revision"), "shard_history", ["namespace", "revision"], unique=False
    )
    op.create_index(
        "ix_shard_history_shard_revision", "shard_history", ["namespace", "shard_id", "revision"], unique=False
    )
    op.create_index("uq_shard_history_version", "shard_history", ["namespace", "shard_id", "version"], unique=True)
    op.create_table(
        "shard_tombstones",
        sa.Column("namespace", sa.Text(collation="C"), nullable=False),
        sa.Column("shard_id", sa.Text(collation="C"), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("owner_epoch", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("owner_epoch BETWEEN 1 AND version", name=op.f("ck_shard_tombstones_owner_epoch_range")),
        sa.CheckConstraint("version >= 2", name=op.f("ck_shard_tombstones_version_counts_deletion")),
        sa.ForeignKeyConstraint(
            ["namespace"], ["namespaces.name"], name=op.f("fk_shard_tombstones_namespace_namespaces")
        ),
        sa.PrimaryKeyConstraint("namespace", "shard_id", name=op.f("pk_shard_tombstones")),
    )
    op.create_table(
        "shards",
        sa.Column("namespace", sa.Text(collation="C"), nullable=False),
        sa.Column("shard_id", sa.Text(collation="C"), nullable=False),
        sa.Column("strategy", sa.Text(collation="C"), nullable=False),
        sa.Column("owner_node_id", sa.Text(collation="C"), nullable=False),
        sa.Column("leader_id", sa.Text(collation="C"), nullable=True),
        sa.Column("capacity_hint", sa.Double(), nullable=False),
        sa.Column("locality_hint", sa.Text(collation="C"), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("pinned_by", sa.Text(), nullable=True),
        sa.Column("pinned_reason", sa.Text(), nullable=True),
        sa.Column("pinned_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("change_ticket", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("owner_epoch", sa.BigInteger(), nullable=False),
        sa.Column("checksum", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "capacity_hint >= 0 AND capacity_hint < 'Infinity'", name=op.f("ck_shards_capacity_hint_finite")
        ),
        sa.CheckConstraint("checksum ~ '^[0-9a-f]{32}$'", name=op.f("ck_shards_checksum_format")),
        sa.CheckConstraint(
            "leader_id ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$'", name=op.f("ck_shards_leader_id_format")
        ),
        sa.CheckConstraint(
            "locality_hint ~ '^((region:|zone:)?[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
            "|[A-Za-z0-9][A-Za-z0-9._-]{0,127}/[A-Za-z0-9][A-Za-z0-9._-]{0,127})$'",
            name=op.f("ck_shards_locality_hint_format"),
        ),
        sa.CheckConstraint(
            "owner_node_id ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$'", name=op.f("ck_shards_owner_node_id_format")
        ),
        sa.CheckConstraint("shard_id ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$'", name=op.f("ck_shards_shard_id_format")),
        sa.CheckConstraint(
            "status IN ('ACTIVE', 'DRAINING', 'PAUSED', 'DISABLED')", name=op.f("ck_shards_status_known")
        ),
        sa.CheckConstraint("strategy ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$'", name=op.f("ck_shards_strategy_format")),
        sa.CheckConstraint(
            "char_length(change_ticket) BETWEEN 1 AND 1024", name=op.f("ck_shards_change_ticket_length")
        ),
        sa.CheckConstraint("char_length(pinned_by) BETWEEN 1 AND 1024", name=op.f("ck_shards_pinned_by_length")),
        sa.CheckConstraint(
            "char_length(pinned_reason) BETWEEN 1 AND 1024", name=op.f("ck_shards_pinned_reason_length")
        ),
        sa.CheckConstraint(
            "num_nulls(pinned_by, pinned_reason) IN (0, 2) AND (pinned_until IS NULL OR pinned_by IS NOT NULL)",
            name=op.f("ck_shards_pin_complete"),
        ),
        sa.CheckConstraint("owner_epoch BETWEEN 1 AND version", name=op.f("ck_shards_owner_epoch_range")),
        sa.ForeignKeyConstraint(["namespace"], ["namespaces.name"], name=op.f("fk_shards_namespace_namespaces")),
        sa.PrimaryKeyConstraint("namespace", "shard_id", name=op.f("pk_shards")),
    )
    op.create_index(op.f("ix_shards_owner_node_id"), "shards", ["owner_node_id"], unique=False)
    op.execute(REFUSE)
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_history_edit()"
        )
    op.execute(FIRST_HEAD)


def downgrade() -> None:
    op.drop_index(op.f("ix_shards_owner_node_id"), table_name="shards")
    op.drop_table("shards")
    op.drop_table("shard_tombstones")
    op.drop_index("uq_shard_history_version", table_name="shard_history")
    op.drop_index("ix_shard_history_shard_revision", table_name="shard_history")
    op.drop_index(op.f("ix_shard_history_namespace_revision"), table_name="shard_history")
    op.drop_table("shard_history")
    op.drop_table("namespace_heads")
    op.drop_table("stream_head")
    op.drop_table("namespaces")
    op.drop_index("uq_changes_idempotency_digest", table_name="changes")
    op.drop_index(op.f("ix_changes_namespaces"), table_name="changes", postgresql_using="gin")
    op.drop_index(op.f("ix_changes_committed_at"), table_name="changes")
    op.drop_index("ix_changes_change_ticket", table_name="changes")
    op.drop_index("ix_changes_actor", table_name="changes")
    op.drop_table("changes")
    op.execute("DROP FUNCTION refuse_history_edit()")
