"""Nodes, rebalance plans, and why a rebalance moved a shard."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def identifier(column: str) -> str:
    return f"char_length({column}) <= 128 AND {column} ~ '^[A-Za-z0-9][A-Za-z0-9._:-]*$'"


def identifier_before(column: str) -> str:
    return f"{column} ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{{0,127}}$'"


def place(column: str) -> str:
    return f"char_length({column}) <= 128 AND {column} ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$'"


LOCALITY = (
    "locality_hint ~ '^((region:|zone:)?[A-Za-z0-9][A-Za-z0-9._-]*|"
    "[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*)$'"
    " AND char_length(split_part(split_part(locality_hint, ':', -1), '/', 1)) <= 128"
    " AND char_length(split_part(split_part(locality_hint, ':', -1), '/', 2)) <= 128"
)
LOCALITY_BEFORE = (
    "locality_hint ~ '^((region:|zone:)?[A-Za-z0-9][A-Za-z0-9._-]{0,127}|"
    "[A-Za-z0-9][A-Za-z0-9._-]{0,127}/[A-Za-z0-9][A-Za-z0-9._-]{0,127})$'"
)
CHECKSUM = "char_length(checksum) = 32 AND checksum ~ '^[0-9a-f]*$'"
CHECKSUM_BEFORE = "checksum ~ '^[0-9a-f]{32}$'"
IDENTIFIERS = {
    "namespaces": ("name", "strategy"),
    "shards": ("shard_id", "strategy", "owner_node_id", "leader_id"),
}

KINDS_BEFORE = "kind IN ('CREATE_SHARDS', 'UPDATE_SHARDS', 'DELETE_SHARDS', 'CONFIGURE_NAMESPACE')"
KINDS = (
    "kind IN ('CREATE_SHARDS', 'UPDATE_SHARDS', 'DELETE_SHARDS', 'CONFIGURE_NAMESPACE', "
    "'REGISTER_NODE', 'UPDATE_NODE', 'DRAIN_NODE', 'PLAN_REBALANCE', 'APPLY_PLAN')"
)
NAMESPACES_NAMED_BEFORE = "cardinality(namespaces) >= 1"
NAMESPACES_NAMED = (
    "cardinality(namespaces) >= 1"
    " OR kind IN ('REGISTER_NODE', 'UPDATE_NODE', 'DRAIN_NODE', 'PLAN_REBALANCE', 'APPLY_PLAN')"
)

REASON_KNOWN = (
    "move_reason IN ('OWNER_REMOVED', 'OWNER_DOWN', 'OWNER_DRAINING', 'OWNER_INELIGIBLE', 'OWNER_OVERLOADED', "
    "'STRATEGY_CHANGED', 'PLACEMENT_CHANGED')"
)
REASON_PRESENCE = "move_reason IS NULL OR kind = 'UPDATED'"

DOCUMENTS_APPEND_ONLY = """
CREATE TRIGGER rebalance_plan_documents_append_only
BEFORE UPDATE OR DELETE OR TRUNCATE ON rebalance_plan_documents
FOR EACH STATEMENT EXECUTE FUNCTION refuse_history_edit()
"""
PLANS_APPEND_ONLY = """
CREATE TRIGGER rebalance_plans_append_only
BEFORE DELETE OR TRUNCATE ON rebalance_plans
FOR EACH STATEMENT EXECUTE FUNCTION refuse_history_edit()
"""
# That a plan was applied, and by which change, is all that is ever written to it, and once.
PLANS_ONLY_APPLIED = """
CREATE TRIGGER rebalance_plans_only_applied
BEFORE UPDATE ON rebalance_plans
FOR EACH ROW WHEN (
    (OLD.status, NEW.status) IS DISTINCT FROM ('PROPOSED', 'APPLIED')
    OR OLD.applied_change_id IS NOT NULL
    OR NEW.applied_change_id IS NULL
    OR to_jsonb(OLD) - 'status' - 'applied_change_id' <> to_jsonb(NEW) - 'status' - 'applied_change_id'
)
EXECUTE FUNCTION refuse_history_edit()
"""


def upgrade() -> None:
    # The same rules, in a form that PostgreSQL checks many times faster.
    replace_checks("namespaces", identifier_checks("namespaces", identifier))
    replace_checks(
        "shards",
        {
            **identifier_checks("shards", identifier),
            "ck_shards_locality_hint_format": LOCALITY,
            "ck_shards_checksum_format": CHECKSUM,
        },
    )
    replace_checks("changes", {"ck_changes_kind_known": KINDS, "ck_changes_namespaces_named": NAMESPACES_NAMED})
    op.create_index(
        "ix_changes_node",
        "changes",
        [sa.text("(configuration ->> 'node')"), "id"],
        unique=False,
        postgresql_where=sa.text("(configuration ->> 'node') IS NOT NULL"),
    )
    alter(
        "shard_history",
        "ADD COLUMN move_reason text",
        f"ADD CONSTRAINT ck_shard_history_move_reason_known CHECK ({REASON_KNOWN})",
        f"ADD CONSTRAINT ck_shard_history_move_reason_presence CHECK ({REASON_PRESENCE})",
    )
    op.create_table(
        "nodes",
        sa.Column("node_id", sa.Text(collation="C"), nullable=False),
        sa.Column("region", sa.Text(collation="C"), nullable=True),
        sa.Column("zone", sa.Text(collation="C"), nullable=True),
        sa.Column("labels", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("change_ticket", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(identifier("node_id"), name=op.f("ck_nodes_node_id_format")),
        sa.CheckConstraint(place("region"), name=op.f("ck_nodes_region_format")),
        sa.CheckConstraint(place("zone"), name=op.f("ck_nodes_zone_format")),
        sa.CheckConstraint("jsonb_typeof(labels) = 'object'", name=op.f("ck_nodes_labels_object")),
        sa.CheckConstraint("weight BETWEEN 1 AND 1048576", name=op.f("ck_nodes_weight_range")),
        sa.CheckConstraint(
            "status IN ('ACTIVE', 'CORDONED', 'DRAINING', 'DOWN', 'REMOVED')", name=op.f("ck_nodes_status_known")
        ),
        sa.CheckConstraint("char_length(change_ticket) BETWEEN 1 AND 1024", name=op.f("ck_nodes_change_ticket_length")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_nodes_version_positive")),
        sa.PrimaryKeyConstraint("node_id", name=op.f("pk_nodes")),
    )
    op.create_table(
        "rebalance_plan_documents",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.CheckConstraint("id ~ '^[0-9a-f]{32}$'", name=op.f("ck_rebalance_plan_documents_id_format")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rebalance_plan_documents")),
    )
    op.create_table(
        "rebalance_plans",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("base_revision", sa.BigInteger(), nullable=False),
        sa.Column("namespaces", postgresql.ARRAY(sa.Text(collation="C")), nullable=False),
        sa.Column("move_count", sa.Integer(), nullable=False),
        sa.Column("shard_count", sa.BigInteger(), nullable=False),
        sa.Column("change_id", sa.BigInteger(), nullable=False),
        sa.Column("applied_change_id", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("status IN ('PROPOSED', 'APPLIED')", name=op.f("ck_rebalance_plans_status_known")),
        sa.CheckConstraint("base_revision >= 0", name=op.f("ck_rebalance_plans_base_revision_natural")),
        sa.CheckConstraint("move_count BETWEEN 0 AND shard_count", name=op.f("ck_rebalance_plans_move_count_range")),
        sa.CheckConstraint(
            "(status = 'APPLIED') = (applied_change_id IS NOT NULL)", name=op.f("ck_rebalance_plans_applied_presence")
        ),
        sa.ForeignKeyConstraint(
            ["id"], ["rebalance_plan_documents.id"], name=op.f("fk_rebalance_plans_id_rebalance_plan_documents")
        ),
        sa.ForeignKeyConstraint(["change_id"], ["changes.id"], name=op.f("fk_rebalance_plans_change_id_changes")),
        sa.ForeignKeyConstraint(
            ["applied_change_id"], ["changes.id"], name=op.f("fk_rebalance_plans_applied_change_id_changes")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rebalance_plans")),
        sa.UniqueConstraint("change_id", name=op.f("uq_rebalance_plans_change_id")),
    )
    op.create_index(
        op.f("ix_rebalance_plans_namespaces"), "rebalance_plans", ["namespaces"], unique=False, postgresql_using="gin"
    )
    for trigger in (DOCUMENTS_APPEND_ONLY, PLANS_APPEND_ONLY, PLANS_ONLY_APPLIED):
        op.execute(trigger)


def downgrade() -> None:
    """Nodes and plans are lost. What is in history stays: PostgreSQL refuses where changes of nodes or plans are."""
    replace_checks(
        "changes", {"ck_changes_kind_known": KINDS_BEFORE, "ck_changes_namespaces_named": NAMESPACES_NAMED_BEFORE}
    )
    op.drop_index("ix_changes_node", table_name="changes")
    alter(
        "shard_history",
        "DROP CONSTRAINT ck_shard_history_move_reason_presence",
        "DROP CONSTRAINT ck_shard_history_move_reason_known",
        "DROP COLUMN move_reason",
    )
    op.drop_index(op.f("ix_rebalance_plans_namespaces"), table_name="rebalance_plans", postgresql_using="gin")
    op.drop_table("rebalance_plans")
    op.drop_table("rebalance_plan_documents")
    op.drop_table("nodes")
    replace_checks("namespaces", identifier_checks("namespaces", identifier_before))
    replace_checks(
        "shards",
        {
            **identifier_checks("shards", identifier_before),
            "ck_shards_locality_hint_format": LOCALITY_BEFORE,
            "ck_shards_checksum_format": CHECKSUM_BEFORE,
        },
    )


def identifier_checks(table: str, condition: Callable[[str], str]) -> dict[str, str]:
    return {f"ck_{table}_{column}_format": condition(column) for column in IDENTIFIERS[table]}


def replace_checks(table: str, conditions: Mapping[str, str]) -> None:
    dropped = (f"DROP CONSTRAINT {name}" for name in conditions)
    added = (f"ADD CONSTRAINT {name} CHECK ({condition})" for name, condition in conditions.items())
    alter(table, *dropped, *added)


def alter(table: str, *actions: str) -> None:
    """In one statement: the table is locked, and read through, once for all of them."""
    op.execute(f"ALTER TABLE {table} {', '.join(actions)}")
