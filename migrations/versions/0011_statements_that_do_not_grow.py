"""Indexes for what was looked for in all rows: moves, and changes of a namespace or of a kind.

They are built in one transaction, and history and changes take no writes meanwhile: 1.5 s for a million rows of history
and 200,000 changes. One that is there already, under its name, is taken as it is: where that is too long, they are
built beforehand, concurrently (docs/operations/upgrade.md).

Programs of 0010 and before write and read as they did; pages of the changes of one namespace they read in the order of
the primary key until they are updated.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

from migrations.compatibility import serves

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'shard_history'::regclass ORDER BY 1"
MOVES = "(namespace, revision) WHERE kind = 'UPDATED' AND owner_node_id <> previous_owner_node_id"

CHANGES = {
    "ix_changes_kind_id": "INDEX {} ON changes (kind, id)",
    # Nearly all changes are of one namespace, and in order of their ids there. A GIN index has no order.
    "ix_changes_namespace": "INDEX {} ON changes ((namespaces[1]), id) WHERE cardinality(namespaces) = 1",
    "ix_changes_several_namespaces": "INDEX {} ON changes USING gin (namespaces) WHERE cardinality(namespaces) > 1",
    "ix_changes_of_several_namespaces": "INDEX {} ON changes (id) WHERE cardinality(namespaces) > 1",
    # Most changes have no idempotency key.
    "uq_changes_idempotency_digest_given": (
        "UNIQUE INDEX {} ON changes (idempotency_digest) WHERE idempotency_digest IS NOT NULL"
    ),
}

COUNTED = """
            SELECT count(*) FROM shard_history AS h
            WHERE h.namespace = g.name AND h.revision > coalesce((p_guards ->> 'revision')::bigint, 0)
                AND h.kind = 'UPDATED' AND h.owner_node_id <> h.previous_owner_node_id
"""
COUNTED_TO_THE_LIMIT = """
            SELECT count(*) FROM (
                SELECT FROM shard_history AS h
                WHERE h.namespace = g.name AND h.revision > coalesce((p_guards ->> 'revision')::bigint, 0)
                    AND h.kind = 'UPDATED' AND h.owner_node_id <> h.previous_owner_node_id
                ORDER BY h.revision LIMIT greatest(g.count::bigint + 1, 0)
            ) AS counted
"""


def upgrade() -> None:
    for partition in op.get_bind().execute(text(PARTITIONS)).scalars().all():
        op.execute(f"CREATE INDEX IF NOT EXISTS ix_{partition}_moves ON {partition} {MOVES}")
    # Those of the partitions become parts of it, and partitions that programs of 0010 append get theirs from it.
    op.execute(f"CREATE INDEX ix_shard_history_moves ON shard_history {MOVES}")
    for name, index in CHANGES.items():
        op.execute(f"CREATE {index.format(f'IF NOT EXISTS {name}')}")
    op.execute("DROP INDEX ix_changes_namespaces, uq_changes_idempotency_digest")
    op.execute("ALTER INDEX uq_changes_idempotency_digest_given RENAME TO uq_changes_idempotency_digest")
    replace_in_guard(COUNTED, COUNTED_TO_THE_LIMIT)
    serves("0011", "0010", "0009", "0008")


def downgrade() -> None:
    replace_in_guard(COUNTED_TO_THE_LIMIT, COUNTED)
    op.execute("DROP INDEX ix_changes_kind_id, ix_changes_namespace")
    op.execute("DROP INDEX ix_changes_several_namespaces, ix_changes_of_several_namespaces")
    op.execute("DROP INDEX ix_shard_history_moves, uq_changes_idempotency_digest")
    op.create_index("uq_changes_idempotency_digest", "changes", ["idempotency_digest"], unique=True)
    op.create_index("ix_changes_namespaces", "changes", ["namespaces"], postgresql_using="gin")
    serves("0010", "0009", "0008")


def replace_in_guard(before: str, after: str) -> None:
    """`broken_guard` of 0008 has one condition of many changed; its parameters and its answer stay."""
    bind = op.get_bind()
    definition = bind.execute(text("SELECT pg_get_functiondef('broken_guard'::regproc)")).scalar_one()
    if definition.count(before) != 1:
        raise ValueError("broken_guard is not as the migration before has left it")
    # As it is: a colon in it is no parameter.
    bind.exec_driver_sql(definition.replace(before, after))
