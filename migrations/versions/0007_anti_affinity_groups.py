"""Anti-affinity groups: shards of one are on different nodes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

FORMAT = "char_length(anti_affinity_group) <= 128 AND anti_affinity_group ~ '^[A-Za-z0-9][A-Za-z0-9._:-]*$'"
INDEX = "ix_shards_namespace_anti_affinity_group"


def upgrade() -> None:
    op.add_column("shards", sa.Column("anti_affinity_group", sa.Text(collation="C"), nullable=True))
    op.create_check_constraint("anti_affinity_group_format", "shards", FORMAT)
    op.create_index(
        INDEX,
        "shards",
        ["namespace", "anti_affinity_group"],
        unique=False,
        postgresql_where=sa.text("anti_affinity_group IS NOT NULL"),
    )


def downgrade() -> None:
    """The groups are lost, and with them the checksums of their shards are not what their contents come to."""
    op.drop_index(INDEX, "shards")
    op.drop_constraint(op.f("ck_shards_anti_affinity_group_format"), "shards")
    op.drop_column("shards", "anti_affinity_group")
