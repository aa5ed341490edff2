"""History in partitions by revision, so that it can be compacted; and the kind of change that records it."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KINDS_BEFORE = (
    "kind IN ('CREATE_SHARDS', 'UPDATE_SHARDS', 'DELETE_SHARDS', 'CONFIGURE_NAMESPACE', "
    "'REGISTER_NODE', 'UPDATE_NODE', 'DRAIN_NODE', 'PLAN_REBALANCE', 'APPLY_PLAN')"
)
KINDS = (
    "kind IN ('CREATE_SHARDS', 'UPDATE_SHARDS', 'DELETE_SHARDS', 'CONFIGURE_NAMESPACE', "
    "'REGISTER_NODE', 'UPDATE_NODE', 'DRAIN_NODE', 'PLAN_REBALANCE', 'APPLY_PLAN', 'COMPACT_HISTORY')"
)
NAMESPACES_NAMED_BEFORE = (
    "cardinality(namespaces) >= 1"
    " OR kind IN ('REGISTER_NODE', 'UPDATE_NODE', 'DRAIN_NODE', 'PLAN_REBALANCE', 'APPLY_PLAN')"
)
NAMESPACES_NAMED = (
    "cardinality(namespaces) >= 1"
    " OR kind IN ('REGISTER_NODE', 'UPDATE_NODE', 'DRAIN_NODE', 'PLAN_REBALANCE', 'APPLY_PLAN', 'COMPACT_HISTORY')"
)

SPAN = 1_000_000
NEXT_BOUND = f"SELECT (revision / {SPAN} + 1) * {SPAN} FROM stream_head"  # noqa: S608 - a constant
FIRST = "shard_history_0"
# The table keeps its rows and becomes the first partition. Names of indexes are unique in a schema, so they change.
BECOMES_A_PARTITION = (
    f"ALTER TABLE shard_history RENAME TO {FIRST}",
    f"ALTER TABLE {FIRST} RENAME CONSTRAINT pk_shard_history TO pk_{FIRST}",
    f"ALTER INDEX ix_shard_history_namespace_revision RENAME TO ix_{FIRST}_namespace_revision",
    f"ALTER INDEX ix_shard_history_shard_revision RENAME TO ix_{FIRST}_shard_revision",
    f"ALTER INDEX uq_shard_history_version RENAME TO uq_{FIRST}_version",
    f"ALTER TRIGGER shard_history_append_only ON {FIRST} RENAME TO {FIRST}_append_only",
)
INDEXES = {
    "ix_shard_history_namespace_revision": ["namespace", "revision"],
    "ix_shard_history_shard_revision": ["namespace", "shard_id", "revision"],
}
FOREIGN_KEY = "ADD CONSTRAINT fk_shard_history_change_id_changes FOREIGN KEY (change_id) REFERENCES changes (id)"
APPEND_ONLY = """
CREATE TRIGGER shard_history_append_only
BEFORE UPDATE OR DELETE OR TRUNCATE ON shard_history
FOR EACH STATEMENT EXECUTE FUNCTION refuse_history_edit()
"""


def upgrade() -> None:
    replace_checks({"ck_changes_kind_known": KINDS, "ck_changes_namespaces_named": NAMESPACES_NAMED})
    for statement in BECOMES_A_PARTITION:
        op.execute(statement)
    op.execute(f"CREATE TABLE shard_history (LIKE {FIRST} INCLUDING CONSTRAINTS) PARTITION BY RANGE (revision)")
    complete()
    bound = op.get_bind().execute(sa.text(NEXT_BOUND)).scalar_one()
    op.execute(f"ALTER TABLE shard_history ATTACH PARTITION {FIRST} FOR VALUES FROM (MINVALUE) TO ({bound})")


def downgrade() -> None:
    """All rows in one table again. PostgreSQL refuses where history was compacted: a change of that kind stays."""
    replace_checks({"ck_changes_kind_known": KINDS_BEFORE, "ck_changes_namespaces_named": NAMESPACES_NAMED_BEFORE})
    op.execute("CREATE TABLE all_history (LIKE shard_history INCLUDING CONSTRAINTS)")
    op.execute("INSERT INTO all_history SELECT * FROM shard_history ORDER BY revision")
    op.execute("DROP TABLE shard_history")
    op.execute("ALTER TABLE all_history RENAME TO shard_history")
    complete()
    op.create_index("uq_shard_history_version", "shard_history", ["namespace", "shard_id", "version"], unique=True)


def complete() -> None:
    """What `LIKE` leaves out."""
    op.execute(f"ALTER TABLE shard_history ADD CONSTRAINT pk_shard_history PRIMARY KEY (revision), {FOREIGN_KEY}")
    for name, columns in INDEXES.items():
        op.create_index(name, "shard_history", columns, unique=False)
    op.execute(APPEND_ONLY)


def replace_checks(conditions: Mapping[str, str]) -> None:
    """In one statement: the table is locked, and read through, once for all of them."""
    dropped = (f"DROP CONSTRAINT {name}" for name in conditions)
    added = (f"ADD CONSTRAINT {name} CHECK ({condition})" for name, condition in conditions.items())
    op.execute(f"ALTER TABLE changes {', '.join((*dropped, *added))}")
