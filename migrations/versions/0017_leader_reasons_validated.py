"""The reasons that rows of history may have, which migration 0016 changed, are validated, beside which writes go on.

Programs of 0016 are served: they never wrote, nor read, another one.
"""

from __future__ import annotations

from alembic import op

from migrations.compatibility import serves

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE shard_history VALIDATE CONSTRAINT ck_shard_history_move_reason_known")
    serves("0017", "0016")


def downgrade() -> None:
    serves("0016")
