"""Leaders are counted like owners: an index of the shards that a node leads, a guard that a node that is removed leads
none, their number in what saving a node returns, and reasons for another leader in rows of history.

The index is built in one transaction, and shards take no writes meanwhile: half a second for a million. One that is
there already, under its name, is taken as it is: where that is too long, it is built beforehand, concurrently
(docs/operations/upgrade.md).

Not additive: programs of before cannot read rows with these reasons, and would stop following the feed at the first.
None of them was released.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

from migrations.compatibility import serves

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

OWNS_NONE = """
    ELSIF p_guards ? 'ownsNone' AND EXISTS (
        SELECT FROM shards AS s WHERE s.owner_node_id = p_guards ->> 'ownsNone'
    ) THEN
        RETURN 'node''s shards';
"""
OWNS_AND_LEADS_NONE = f"""{OWNS_NONE.rstrip()}
    ELSIF p_guards ? 'leadsNone' AND EXISTS (
        SELECT FROM shards AS s WHERE s.leader_id = p_guards ->> 'leadsNone'
    ) THEN
        RETURN 'node''s shards';
"""
OWNED = "'shardCount', (SELECT count(*) FROM shards AS s WHERE s.owner_node_id = v_node_id)"
OWNED_AND_LED = f"""{OWNED},
        'leaderCount', (SELECT count(*) FROM shards AS s WHERE s.leader_id = v_node_id)"""  # noqa: S608 - a constant
KNOWN = "ck_shard_history_move_reason_known"
BEFORE = (
    "CHECK (move_reason IN ('OWNER_REMOVED', 'OWNER_DOWN', 'OWNER_DRAINING', 'OWNER_INELIGIBLE', 'OWNER_OVERLOADED', "
    "'STRATEGY_CHANGED', 'PLACEMENT_CHANGED', 'ROLLBACK'))"
)
"""Of 0015, where no row has another reason."""
REASONS = (
    "'OWNER_REMOVED', 'OWNER_DOWN', 'LEADER_REMOVED', 'LEADER_DOWN', 'OWNER_DRAINING', 'LEADER_DRAINING', "
    "'OWNER_INELIGIBLE', 'LEADER_INELIGIBLE', 'OWNER_OVERLOADED', "
    "'STRATEGY_CHANGED', 'PLACEMENT_CHANGED', 'ROLLBACK'"
)


def upgrade() -> None:
    op.execute("CREATE INDEX IF NOT EXISTS ix_shards_leader_id ON shards (leader_id) WHERE leader_id IS NOT NULL")
    replace_in("broken_guard", OWNS_NONE, OWNS_AND_LEADS_NONE)
    replace_in("save_node", OWNED, OWNED_AND_LED)
    op.execute(f"ALTER TABLE shard_history DROP CONSTRAINT {KNOWN}")
    # Validated by the next migration.
    op.execute(f"ALTER TABLE shard_history ADD CONSTRAINT {KNOWN} CHECK (move_reason IN ({REASONS})) NOT VALID")
    serves("0016")


def downgrade() -> None:
    replace_in("save_node", OWNED_AND_LED, OWNED)
    replace_in("broken_guard", OWNS_AND_LEADS_NONE, OWNS_NONE)
    op.execute("DROP INDEX ix_shards_leader_id")
    op.execute(f"ALTER TABLE shard_history DROP CONSTRAINT {KNOWN}")
    op.execute(f"ALTER TABLE shard_history ADD CONSTRAINT {KNOWN} {BEFORE}")
    serves("0015", "0013", "0011", "0010", "0009", "0008")


def replace_in(function: str, before: str, after: str) -> None:
    """One part of a function of 0008 is changed; its parameters and what it returns stay."""
    bind = op.get_bind()
    definition = bind.execute(text(f"SELECT pg_get_functiondef('{function}'::regproc)")).scalar_one()
    if definition.count(before) != 1:
        raise ValueError(f"{function} is not as the migration before has left it")
    # As it is: a colon in it is no parameter.
    bind.exec_driver_sql(definition.replace(before, after))
