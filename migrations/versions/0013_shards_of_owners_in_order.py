"""The index of shards by owner has the order of their lists, so that a page of an owner, or of one in a namespace, is
the beginning of a range of it, and what follows it is not read.

Built in one transaction, and shards take no writes meanwhile: 1.5 s for a million. One that is there already, under its
name, is taken as it is: where that is too long, it is built beforehand, concurrently (docs/operations/upgrade.md).

Programs of before read and write as they did.
"""

from __future__ import annotations

from alembic import op

from migrations.compatibility import serves

revision = "0013"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX IF NOT EXISTS ix_shards_owner ON shards (owner_node_id, namespace, shard_id)")
    op.execute("DROP INDEX ix_shards_owner_node_id")
    serves("0013", "0011", "0010", "0009", "0008")


def downgrade() -> None:
    op.execute("CREATE INDEX ix_shards_owner_node_id ON shards (owner_node_id)")
    op.execute("DROP INDEX ix_shards_owner")
    serves("0011", "0010", "0009", "0008")
