"""Refused requests, append-only, in a chain of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

APPEND_ONLY = """
CREATE TRIGGER refusals_append_only
BEFORE UPDATE OR DELETE OR TRUNCATE ON refusals
FOR EACH STATEMENT EXECUTE FUNCTION refuse_history_edit()
"""
FIRST_HEAD = """
INSERT INTO refusal_head (id, refusal_id, hash, refused_at)
VALUES (1, 0, decode(repeat('00', 32), 'hex'), clock_timestamp())
"""


def upgrade() -> None:
    op.create_table(
        "refusal_head",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("refusal_id", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("refused_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_refusal_head_single_row")),
        sa.CheckConstraint("refusal_id >= 0", name=op.f("ck_refusal_head_refusal_id_natural")),
        sa.CheckConstraint("octet_length(hash) = 32", name=op.f("ck_refusal_head_hash_length")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refusal_head")),
    )
    op.create_table(
        "refusals",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("change_ticket", sa.Text(), nullable=True),
        sa.Column("namespaces", postgresql.ARRAY(sa.Text(collation="C")), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("left_out", sa.BigInteger(), nullable=False),
        sa.Column("refused_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("content_digest", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("char_length(kind) BETWEEN 1 AND 128", name=op.f("ck_refusals_kind_length")),
        sa.CheckConstraint("id >= 1", name=op.f("ck_refusals_id_positive")),
        sa.CheckConstraint("char_length(actor) BETWEEN 1 AND 1024", name=op.f("ck_refusals_actor_length")),
        sa.CheckConstraint("char_length(reason) BETWEEN 1 AND 1024", name=op.f("ck_refusals_reason_length")),
        sa.CheckConstraint(
            "char_length(change_ticket) BETWEEN 1 AND 1024", name=op.f("ck_refusals_change_ticket_length")
        ),
        sa.CheckConstraint("char_length(outcome) BETWEEN 1 AND 128", name=op.f("ck_refusals_outcome_length")),
        sa.CheckConstraint("octet_length(request_digest) = 32", name=op.f("ck_refusals_request_digest_length")),
        sa.CheckConstraint("char_length(request::text) <= 4096", name=op.f("ck_refusals_request_length")),
        sa.CheckConstraint("char_length(details::text) <= 4096", name=op.f("ck_refusals_details_length")),
        sa.CheckConstraint("left_out >= 0", name=op.f("ck_refusals_left_out_natural")),
        sa.CheckConstraint("octet_length(content_digest) = 32", name=op.f("ck_refusals_content_digest_length")),
        sa.CheckConstraint("octet_length(hash) = 32", name=op.f("ck_refusals_hash_length")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refusals")),
    )
    op.create_index(op.f("ix_refusals_refused_at"), "refusals", ["refused_at"], unique=False)
    op.create_index("ix_refusals_actor", "refusals", [sa.text("left(actor, 64)"), "id"], unique=False)
    op.create_index("ix_refusals_change_ticket", "refusals", [sa.text("left(change_ticket, 64)"), "id"], unique=False)
    op.create_index(op.f("ix_refusals_namespaces"), "refusals", ["namespaces"], unique=False, postgresql_using="gin")
    op.execute(APPEND_ONLY)
    op.execute(FIRST_HEAD)


def downgrade() -> None:
    op.drop_table("refusals")
    op.drop_table("refusal_head")
