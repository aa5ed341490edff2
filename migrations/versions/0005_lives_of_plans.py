"""Plans that are approved, rejected, superseded, applied in waves, stopped, or expire, and plans to roll back."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

KINDS_BEFORE = (
    "kind IN ('CREATE_SHARDS', 'UPDATE_SHARDS', 'DELETE_SHARDS', 'CONFIGURE_NAMESPACE', "
    "'REGISTER_NODE', 'UPDATE_NODE', 'DRAIN_NODE', 'PLAN_REBALANCE', 'APPLY_PLAN', 'COMPACT_HISTORY')"
)
KINDS = (
    "kind IN ('CREATE_SHARDS', 'UPDATE_SHARDS', 'DELETE_SHARDS', 'CONFIGURE_NAMESPACE', "
    "'REGISTER_NODE', 'UPDATE_NODE', 'DRAIN_NODE', 'PLAN_REBALANCE', 'APPLY_PLAN', 'APPROVE_PLAN', 'REJECT_PLAN', "
    "'STOP_PLAN', 'ROLLBACK_CHANGE', 'COMPACT_HISTORY')"
)
REASONS_BEFORE = (
    "move_reason IN ('OWNER_REMOVED', 'OWNER_DOWN', 'OWNER_DRAINING', 'OWNER_INELIGIBLE', 'OWNER_OVERLOADED', "
    "'STRATEGY_CHANGED', 'PLACEMENT_CHANGED')"
)
REASONS = (
    "move_reason IN ('OWNER_REMOVED', 'OWNER_DOWN', 'OWNER_DRAINING', 'OWNER_INELIGIBLE', 'OWNER_OVERLOADED', "
    "'STRATEGY_CHANGED', 'PLACEMENT_CHANGED', 'ROLLBACK')"
)
STATUSES_BEFORE = "status IN ('PROPOSED', 'APPLIED')"
STATUSES = "status IN ('PROPOSED', 'APPROVED', 'REJECTED', 'SUPERSEDED', 'APPLYING', 'STOPPED', 'APPLIED')"

CHECKS = {
    "ck_rebalance_plans_status_known": STATUSES,
    "ck_rebalance_plans_kind_known": "kind IN ('REBALANCE', 'ROLLBACK')",
    "ck_rebalance_plans_moves_made_range": "moves_made BETWEEN 0 AND move_count",
    "ck_rebalance_plans_applied_complete": "(status = 'APPLIED') = (moves_made = move_count AND move_count > 0)",
    "ck_rebalance_plans_begun": "moves_made > 0 OR status NOT IN ('APPLYING', 'STOPPED')",
    "ck_rebalance_plans_not_begun": "moves_made = 0 OR status NOT IN ('PROPOSED', 'APPROVED')",
    "ck_rebalance_plans_approved_presence": "approved_change_id IS NOT NULL OR status <> 'APPROVED'",
}
CHANGE_COLUMNS = ("approved_change_id", "latest_change_id")

# What planning/lifecycle.py allows, of the statuses that are stored: EXPIRED is PROPOSED or APPROVED here. Each step
# is a later change's, moves are made in APPLYING and APPLIED only, and only being proposed again begins a new life.
AS_THEY_MAY = """
CREATE TRIGGER rebalance_plans_as_they_may
BEFORE UPDATE ON rebalance_plans
FOR EACH ROW WHEN (
    (OLD.status, NEW.status) NOT IN (
        ('PROPOSED', 'PROPOSED'), ('PROPOSED', 'APPROVED'), ('PROPOSED', 'REJECTED'), ('PROPOSED', 'SUPERSEDED'),
        ('PROPOSED', 'APPLYING'), ('PROPOSED', 'APPLIED'),
        ('APPROVED', 'PROPOSED'), ('APPROVED', 'REJECTED'), ('APPROVED', 'SUPERSEDED'),
        ('APPROVED', 'APPLYING'), ('APPROVED', 'APPLIED'),
        ('APPLYING', 'APPLYING'), ('APPLYING', 'APPLIED'), ('APPLYING', 'STOPPED'), ('APPLYING', 'REJECTED'),
        ('APPLYING', 'SUPERSEDED'),
        ('STOPPED', 'APPLYING'), ('STOPPED', 'APPLIED'), ('STOPPED', 'REJECTED'), ('STOPPED', 'SUPERSEDED'),
        ('REJECTED', 'PROPOSED'), ('SUPERSEDED', 'PROPOSED')
    )
    OR NEW.latest_change_id <= OLD.latest_change_id
    OR CASE WHEN NEW.status IN ('APPLYING', 'APPLIED') THEN NEW.moves_made <= OLD.moves_made
        ELSE NEW.moves_made <> OLD.moves_made END
    OR (NEW.status <> 'PROPOSED' AND (NEW.change_id, NEW.expires_at) <> (OLD.change_id, OLD.expires_at))
    OR (NEW.status <> 'APPROVED' AND NEW.approved_change_id IS NOT NULL
        AND NEW.approved_change_id IS DISTINCT FROM OLD.approved_change_id)
    OR to_jsonb(OLD) - CAST(ARRAY['status', 'moves_made', 'expires_at', 'change_id', 'approved_change_id',
        'latest_change_id'] AS text[])
        <> to_jsonb(NEW) - CAST(ARRAY['status', 'moves_made', 'expires_at', 'change_id', 'approved_change_id',
        'latest_change_id'] AS text[])
)
EXECUTE FUNCTION refuse_history_edit()
"""
ONLY_APPLIED = """
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
# Plans of before had no end: they get the week that they would have been given.
FILL = """
UPDATE rebalance_plans AS p SET
    latest_change_id = coalesce(p.applied_change_id, p.change_id),
    moves_made = CASE WHEN p.applied_change_id IS NULL THEN 0 ELSE p.move_count END,
    expires_at = c.committed_at + interval '7 days'
FROM changes AS c WHERE c.id = p.change_id
"""


def upgrade() -> None:
    replace_checks("changes", {"ck_changes_kind_known": KINDS})
    replace_checks("shard_history", {"ck_shard_history_move_reason_known": REASONS})
    op.create_index(
        "ix_changes_plan",
        "changes",
        [sa.text("(configuration ->> 'plan')"), "id"],
        unique=False,
        postgresql_where=sa.text("(configuration ->> 'plan') IS NOT NULL"),
    )
    op.execute("DROP TRIGGER rebalance_plans_only_applied ON rebalance_plans")
    alter(
        "rebalance_plans",
        "ADD COLUMN kind text NOT NULL DEFAULT 'REBALANCE'",
        "ADD COLUMN moves_made integer",
        "ADD COLUMN expires_at timestamptz",
        *(f"ADD COLUMN {name} bigint" for name in CHANGE_COLUMNS),
    )
    op.execute(FILL)
    alter(
        "rebalance_plans",
        "ALTER COLUMN kind DROP DEFAULT",
        *(f"ALTER COLUMN {name} SET NOT NULL" for name in ("moves_made", "expires_at", "latest_change_id")),
        "DROP COLUMN applied_change_id",
        "DROP CONSTRAINT ck_rebalance_plans_status_known",
        *(f"ADD CONSTRAINT {name} CHECK ({condition})" for name, condition in CHECKS.items()),
        *(
            f"ADD CONSTRAINT fk_rebalance_plans_{name}_changes FOREIGN KEY ({name}) REFERENCES changes (id)"
            for name in CHANGE_COLUMNS
        ),
    )
    op.execute(AS_THEY_MAY)


def downgrade() -> None:
    """PostgreSQL refuses where there are changes or rows of history of kinds that only this version has: they stay."""
    replace_checks("changes", {"ck_changes_kind_known": KINDS_BEFORE})
    replace_checks("shard_history", {"ck_shard_history_move_reason_known": REASONS_BEFORE})
    op.drop_index("ix_changes_plan", table_name="changes")
    op.execute("DROP TRIGGER rebalance_plans_as_they_may ON rebalance_plans")
    op.execute("ALTER TABLE rebalance_plans ADD COLUMN applied_change_id bigint")
    op.execute("UPDATE rebalance_plans SET applied_change_id = latest_change_id WHERE status = 'APPLIED'")
    alter(
        "rebalance_plans",
        *(f"DROP CONSTRAINT {name}" for name in CHECKS),
        *(f"DROP COLUMN {name}" for name in ("kind", "moves_made", "expires_at", *CHANGE_COLUMNS)),
        f"ADD CONSTRAINT ck_rebalance_plans_status_known CHECK ({STATUSES_BEFORE})",
        "ADD CONSTRAINT ck_rebalance_plans_applied_presence"
        " CHECK ((status = 'APPLIED') = (applied_change_id IS NOT NULL))",
        "ADD CONSTRAINT fk_rebalance_plans_applied_change_id_changes"
        " FOREIGN KEY (applied_change_id) REFERENCES changes (id)",
    )
    op.execute(ONLY_APPLIED)


def replace_checks(table: str, conditions: Mapping[str, str]) -> None:
    dropped = (f"DROP CONSTRAINT {name}" for name in conditions)
    added = (f"ADD CONSTRAINT {name} CHECK ({condition})" for name, condition in conditions.items())
    alter(table, *dropped, *added)


def alter(table: str, *actions: str) -> None:
    """In one statement: the table is locked, and read through, once for all of them."""
    op.execute(f"ALTER TABLE {table} {', '.join(actions)}")
