"""A policy for every namespace, and the reason of a change that was forced past one."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# What a namespace has that was configured before there were policies. The next configuration writes all of it.
DEFAULT = (
    '{"ticketRequired": false, "ticketPattern": null, "approvalRequired": false, "moveBudgetPercent": 10.0, '
    '"windowSeconds": 3600, "windowMoves": null, "shardWindowMoves": null, "freezes": []}'
)
CHECKS = {
    "policy_object": "jsonb_typeof(policy) = 'object'",
    "policy_ticket_required_boolean": "coalesce(jsonb_typeof(policy -> 'ticketRequired'), '') = 'boolean'",
    "policy_approval_required_boolean": "coalesce(jsonb_typeof(policy -> 'approvalRequired'), '') = 'boolean'",
    "policy_freezes_array": "coalesce(jsonb_typeof(policy -> 'freezes'), '') = 'array'",
    "policy_ticket_pattern_length": "coalesce(char_length(policy ->> 'ticketPattern'), 1) BETWEEN 1 AND 256",
    "policy_move_budget_percent_range": (
        "coalesce((policy ->> 'moveBudgetPercent')::numeric, 0) > 0"
        " AND (policy ->> 'moveBudgetPercent')::numeric <= 100"
    ),
    "policy_window_seconds_range": "coalesce((policy ->> 'windowSeconds')::numeric, 0) BETWEEN 1 AND 2592000",
    "policy_window_moves_range": "coalesce((policy ->> 'windowMoves')::numeric, 1) BETWEEN 1 AND 1000000000",
    "policy_shard_window_moves_range": "coalesce((policy ->> 'shardWindowMoves')::numeric, 1) BETWEEN 1 AND 1000000000",
}


def upgrade() -> None:
    alter(
        "namespaces",
        f"ADD COLUMN policy jsonb NOT NULL DEFAULT '{DEFAULT}'",
        *(f"ADD CONSTRAINT ck_namespaces_{name} CHECK ({condition})" for name, condition in CHECKS.items()),
    )
    alter("namespaces", "ALTER COLUMN policy DROP DEFAULT")
    alter(
        "changes",
        "ADD COLUMN forced text",
        "ADD CONSTRAINT ck_changes_forced_length CHECK (char_length(forced) BETWEEN 1 AND 1024)",
    )


def downgrade() -> None:
    """Policies are lost, and why changes were forced: those changes no longer verify."""
    alter("changes", "DROP CONSTRAINT ck_changes_forced_length", "DROP COLUMN forced")
    alter(
        "namespaces",
        *(f"DROP CONSTRAINT ck_namespaces_{name}" for name in CHECKS),
        "DROP COLUMN policy",
    )


def alter(table: str, *actions: str) -> None:
    """In one statement: the table is locked, and read through, once for all of them."""
    op.execute(f"ALTER TABLE {table} {', '.join(actions)}")
