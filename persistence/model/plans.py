"""Plans as records, without their moves: `planning/proposal.py` has those."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from persistence.model.records import Change

if TYPE_CHECKING:
    from datetime import datetime


class PlanStatus(StrEnum):
    """How far a plan has come; `planning/lifecycle.py` has the transitions."""

    PROPOSED = "PROPOSED"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    SUPERSEDED = "SUPERSEDED"
    APPLYING = "APPLYING"
    STOPPED = "STOPPED"
    APPLIED = "APPLIED"
    NOTHING_TO_DO = "NOTHING_TO_DO"


class PlanKind(StrEnum):
    """What a plan's moves are for."""

    REBALANCE = "REBALANCE"
    ROLLBACK = "ROLLBACK"


class ConflictReason(StrEnum):
    """Why a rollback leaves a shard as it is."""

    CHANGED_SINCE = "CHANGED_SINCE"
    CREATED = "CREATED"
    DELETED = "DELETED"
    PINNED = "PINNED"
    NODE_UNAVAILABLE = "NODE_UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class RebalancePlan:
    """A plan without its moves.

    `created` is the change that proposed it (again, if it had been closed), `approved` the one that approved it since,
    `latest` the one that brought it where it is. `moves_made` of its moves, the first ones, were made.
    From `expires_at` on it cannot be begun any more. `newest_change` is the id of the store's newest when this was
    read: it includes what was done with it up to there. Null from a write, whose own change is the newest.
    """

    id: str
    status: PlanStatus
    base_revision: int
    namespaces: tuple[str, ...]
    move_count: int
    shard_count: int
    created: Change
    expires_at: datetime
    latest: Change
    approved: Change | None = None
    moves_made: int = 0
    kind: PlanKind = PlanKind.REBALANCE
    newest_change: int | None = field(default=None, compare=False)

    @property
    def applied(self) -> Change | None:
        """The change that made its last moves."""
        return self.latest if self.status is PlanStatus.APPLIED else None
