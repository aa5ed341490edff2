"""Shards, nodes, leaders and groups may be called as other systems call theirs: wider patterns, in which every id of
before fits.

Validated by the next migration. Programs of 0016 and 0017 read and follow such ids; requests that name one, or a cursor
at one, they refuse (docs/decisions/0063).
"""

from __future__ import annotations

from alembic import op

from migrations.compatibility import serves

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

COLUMNS = (
    *(("shards", column) for column in ("shard_id", "owner_node_id", "leader_id", "anti_affinity_group")),
    ("nodes", "node_id"),
)
NARROW = "[A-Za-z0-9][A-Za-z0-9._:-]*"
WIDE = "[A-Za-z0-9._-][]A-Za-z0-9._:@/+=[-]*"


def upgrade() -> None:
    replace(WIDE)
    serves("0018", "0017", "0016")


def downgrade() -> None:
    """Ids that only the wider patterns take stay; shards and nodes that have one take no changes then."""
    replace(NARROW)
    serves("0017", "0016")


def replace(pattern: str) -> None:
    for table in ("shards", "nodes"):
        actions = [action for of, column in COLUMNS if of == table for action in actions_of(table, column, pattern)]
        op.execute(f"ALTER TABLE {table} {', '.join(actions)}")


def actions_of(table: str, column: str, pattern: str) -> tuple[str, str]:
    name = f"ck_{table}_{column}_format"
    condition = f"char_length({column}) <= 128 AND {column} ~ '^{pattern}$'"
    return f"DROP CONSTRAINT {name}", f"ADD CONSTRAINT {name} CHECK ({condition}) NOT VALID"
