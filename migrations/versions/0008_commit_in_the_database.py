"""Where the stream is and who may write to it: identity without the timeline, the timeline as a fence, and the programs
that this schema serves.

Programs of revision 0007 and before know nothing of either. They read `origin`, which is gone, so that each of their
connections and commits is refused by the database instead of writing what this schema no longer means.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

IDENTITY = """
    (SELECT system_identifier FROM pg_control_system())
    || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())
    || '/' || 'stream_head'::regclass::oid
"""
TIMELINE = "('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint"
ORIGIN = """
    (SELECT system_identifier FROM pg_control_system())
    || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
    || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())
    || '/' || 'stream_head'::regclass::oid
"""


def upgrade() -> None:
    op.drop_column("stream_head", "origin")
    op.execute("ALTER TABLE stream_head ADD COLUMN identity text NOT NULL DEFAULT ''")
    op.execute("ALTER TABLE stream_head ADD COLUMN timeline bigint NOT NULL DEFAULT 1")
    op.execute("ALTER TABLE stream_head ADD COLUMN compatible_revisions text[] NOT NULL DEFAULT '{}'")
    op.execute(
        f"UPDATE stream_head SET identity = {IDENTITY}, timeline = {TIMELINE},"  # noqa: S608 - constants
        f" compatible_revisions = '{{{revision}}}'"
    )
    for column in ("identity", "timeline", "compatible_revisions"):
        op.execute(f"ALTER TABLE stream_head ALTER COLUMN {column} DROP DEFAULT")
    op.create_check_constraint("timeline_positive", "stream_head", "timeline >= 1")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_stream_head_timeline_positive"), "stream_head")
    for column in ("compatible_revisions", "timeline", "identity"):
        op.drop_column("stream_head", column)
    op.execute("ALTER TABLE stream_head ADD COLUMN origin text NOT NULL DEFAULT ''")
    op.execute(f"UPDATE stream_head SET origin = {ORIGIN}")  # noqa: S608 - a constant
    op.execute("ALTER TABLE stream_head ALTER COLUMN origin DROP DEFAULT")
