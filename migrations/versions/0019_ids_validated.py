"""The patterns of ids, which migration 0018 widened, are validated.

Writes go on beside that where 0018 was committed before. One `db upgrade` is one transaction: then they wait, and reads
of the table too, until all shards were read (docs/operations/upgrade.md).
"""

from __future__ import annotations

from alembic import op

from migrations.compatibility import serves

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

SHARDS = ("shard_id", "owner_node_id", "leader_id", "anti_affinity_group")


def upgrade() -> None:
    constraints = ", ".join(f"VALIDATE CONSTRAINT ck_shards_{column}_format" for column in SHARDS)
    op.execute(f"ALTER TABLE shards {constraints}")
    op.execute("ALTER TABLE nodes VALIDATE CONSTRAINT ck_nodes_node_id_format")
    serves("0019", "0018", "0017", "0016")


def downgrade() -> None:
    serves("0018", "0017", "0016")
