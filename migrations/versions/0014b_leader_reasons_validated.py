"""The reasons that rows of history may have, which migration 0014 changed, are validated, beside which writes go on.

Programs of 0014 are served: they never wrote, nor read, another one.
"""

from __future__ import annotations

from alembic import op

from migrations.compatibility import serves

revision = "0014b"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE shard_history VALIDATE CONSTRAINT ck_shard_history_move_reason_known")
    serves("0014b", "0014")


def downgrade() -> None:
    serves("0014")
