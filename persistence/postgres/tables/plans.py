"""The tables of plans."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from persistence.model.fields import ID_LENGTH
from persistence.model.plans import PlanKind, PlanStatus
from persistence.postgres.tables.columns import Base, Counter, Identifier, Timestamp, enum_check, quoted_list, table_of

_DERIVED: Final = (PlanStatus.EXPIRED, PlanStatus.NOTHING_TO_DO)

STORED_STATUSES: Final = tuple(status for status in PlanStatus if status not in _DERIVED)


class RebalancePlanDocumentRow(Base):
    """What a plan proposes. Append-only: the plan that is applied is the one that was reviewed.

    A table of its own, because a megabyte of document is written before the stream head is taken, and the plan's row
    after it. `document` is `json`, stored byte for byte as written, because the plan's id is taken from those bytes.
    """

    __tablename__ = "rebalance_plan_documents"
    __table_args__ = (CheckConstraint(f"id ~ '^[0-9a-f]{{{ID_LENGTH}}}$'", name="id_format"),)

    id: Mapped[Identifier] = mapped_column(primary_key=True)
    document: Mapped[Any] = mapped_column(JSON)


class RebalancePlanRow(Base):
    """A plan. A trigger refuses everything but what `planning/lifecycle.py` has, each by a change of its own.

    That it is EXPIRED is nowhere written: it follows from `expires_at` and the time; nor that it has NOTHING_TO_DO,
    which follows from `move_count`.
    """

    __tablename__ = "rebalance_plans"
    __table_args__ = (
        CheckConstraint(f"status IN ({quoted_list(STORED_STATUSES)})", name="status_known"),
        enum_check("kind", PlanKind),
        CheckConstraint("base_revision >= 0", name="base_revision_natural"),
        CheckConstraint("move_count BETWEEN 0 AND shard_count", name="move_count_range"),
        CheckConstraint("moves_made BETWEEN 0 AND move_count", name="moves_made_range"),
        CheckConstraint("(status = 'APPLIED') = (moves_made = move_count AND move_count > 0)", name="applied_complete"),
        CheckConstraint("moves_made > 0 OR status NOT IN ('APPLYING', 'STOPPED')", name="begun"),
        CheckConstraint("moves_made = 0 OR status NOT IN ('PROPOSED', 'APPROVED')", name="not_begun"),
        CheckConstraint("approved_change_id IS NOT NULL OR status <> 'APPROVED'", name="approved_presence"),
        Index(None, "namespaces", postgresql_using="gin"),
    )

    id: Mapped[Identifier] = mapped_column(ForeignKey("rebalance_plan_documents.id"), primary_key=True)
    status: Mapped[str] = mapped_column(Text)
    base_revision: Mapped[Counter]
    namespaces: Mapped[list[str]] = mapped_column(ARRAY(Text(collation="C")))
    move_count: Mapped[int]
    shard_count: Mapped[Counter]
    change_id: Mapped[Counter] = mapped_column(ForeignKey("changes.id"), unique=True)
    kind: Mapped[str] = mapped_column(Text)
    moves_made: Mapped[int]
    expires_at: Mapped[Timestamp]
    approved_change_id: Mapped[Counter | None] = mapped_column(ForeignKey("changes.id"))
    latest_change_id: Mapped[Counter] = mapped_column(ForeignKey("changes.id"))


PLAN_DOCUMENTS: Final = table_of(RebalancePlanDocumentRow)
PLANS: Final = table_of(RebalancePlanRow)
