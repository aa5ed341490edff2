"""An index of the moves that were chosen, which windows count, and the guard of them.

Policies may leave moves off nodes that are down or removed uncounted; documents of policies from before have no such
rule, and it is at its default. The index is built in one transaction, and history takes no writes meanwhile: 1 s for a
million rows. One that is there already, under its name, is taken as it is: where that is too long, it is built
beforehand, concurrently (docs/operations/upgrade.md).

Programs of before read and write as they did: they count all moves, and write policies without the newer rules.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

from migrations.compatibility import serves

revision = "0015"
down_revision = "0013"
branch_labels = None
depends_on = None

PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'shard_history'::regclass ORDER BY 1"
VOLUNTARY_MOVES = (
    "(namespace, revision) WHERE kind = 'UPDATED' AND owner_node_id <> previous_owner_node_id"
    " AND (move_reason IS NULL OR move_reason NOT IN ('OWNER_REMOVED', 'OWNER_DOWN'))"
)

BEFORE = """    ELSIF p_guards ? 'groups' AND EXISTS (
"""
WITH_VOLUNTARY_MOVES = """    ELSIF p_guards ? 'voluntaryMovesLeft' AND EXISTS (
        SELECT FROM jsonb_each_text(p_guards -> 'voluntaryMovesLeft') AS g (name, count)
        WHERE g.count::bigint < (
            SELECT count(*) FROM (
                SELECT FROM shard_history AS h
                WHERE h.namespace = g.name AND h.revision > coalesce((p_guards ->> 'revision')::bigint, 0)
                    AND h.kind = 'UPDATED' AND h.owner_node_id <> h.previous_owner_node_id
                    AND (h.move_reason IS NULL OR h.move_reason NOT IN ('OWNER_REMOVED', 'OWNER_DOWN'))
                    -- Always true, and each row seems to cost a count: no other index is read in this order.
                    AND CASE WHEN h.revision > 0 THEN true
                        ELSE (SELECT count(*) > 0 FROM generate_series(1, 10000) AS n WHERE n > h.revision) END
                ORDER BY h.revision LIMIT greatest(g.count::bigint + 1, 0)
            ) AS counted
        )
    ) THEN
        RETURN 'moves';
    ELSIF p_guards ? 'groups' AND EXISTS (
"""

CHECKS = {
    f"policy_{name}_{json_type}": f"coalesce(jsonb_typeof(policy -> '{member}'), '{json_type}') = '{json_type}'"
    for member, json_type, name in (
        ("involuntaryMovesLimited", "boolean", "involuntary_moves_limited"),
        ("ownersMustBeRegistered", "boolean", "owners_must_be_registered"),
        ("recurringFreezes", "array", "recurring_freezes"),
    )
}


def upgrade() -> None:
    for partition in op.get_bind().execute(text(PARTITIONS)).scalars().all():
        op.execute(f"CREATE INDEX IF NOT EXISTS ix_{partition}_voluntary_moves ON {partition} {VOLUNTARY_MOVES}")
    op.execute(f"CREATE INDEX ix_shard_history_voluntary_moves ON shard_history {VOLUNTARY_MOVES}")
    checks = (f"ADD CONSTRAINT ck_namespaces_{name} CHECK ({condition})" for name, condition in CHECKS.items())
    op.execute(f"ALTER TABLE namespaces {', '.join(checks)}")
    replace_in_guard(BEFORE, WITH_VOLUNTARY_MOVES)
    serves("0015", "0013", "0011", "0010", "0009", "0008")


def downgrade() -> None:
    """Namespaces keep the newer rules in their policies, and programs of before do not know them."""
    replace_in_guard(WITH_VOLUNTARY_MOVES, BEFORE)
    op.execute(f"ALTER TABLE namespaces {', '.join(f'DROP CONSTRAINT ck_namespaces_{name}' for name in CHECKS)}")
    op.execute("DROP INDEX ix_shard_history_voluntary_moves")
    serves("0013", "0011", "0010", "0009", "0008")


def replace_in_guard(before: str, after: str) -> None:
    """As in 0011."""
    bind = op.get_bind()
    definition = bind.execute(text("SELECT pg_get_functiondef('broken_guard'::regproc)")).scalar_one()
    if definition.count(before) != 1:
        raise ValueError("broken_guard is not as the migration before has left it")
    # As it is: a colon in it is no parameter.
    bind.exec_driver_sql(definition.replace(before, after))
