"""What an auditor holds plans against: who approved what they did, and that each move was made once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from persistence.model.records import Change, ChangeKind, Rebalance, ShardDiff, ShardKey


@dataclass
class _Round:
    """A plan since it was proposed last: by whom, who approved it, and what it has moved."""

    submitter: str
    namespaces: tuple[str, ...]
    moves: int
    approver: str | None = None
    closed: bool = False
    made: set[ShardKey] = field(default_factory=set)


class PlanAuditor:
    """Fed with all changes in order.

    History does not have when a plan expires. One that is proposed again while it is open was asked for again under an
    idempotency key, which begins nothing; plans that expire are not for this auditor.
    """

    def __init__(self) -> None:
        self._rounds: dict[str, _Round] = {}

    def broken(
        self, change: Change, rows: Sequence[ShardDiff], policies: Mapping[str, Mapping[str, Any]]
    ) -> Iterator[str]:
        """The rules that this change broke, under the policies in force before it."""
        about = change.rebalance
        if about is None:
            return
        if change.kind in (ChangeKind.PLAN_REBALANCE, ChangeKind.ROLLBACK_CHANGE):
            self._propose(change, about)
            return
        plan = self._rounds[about.plan_id]
        if plan.closed:
            yield f"PLAN_CLOSED of plan {about.plan_id}"
        asking = [name for name in plan.namespaces if policies[name]["approvalRequired"]]
        if change.kind is ChangeKind.APPROVE_PLAN:
            plan.approver = change.actor
            yield from _approved_wrongly(plan, asking)
            if plan.made:
                yield f"APPROVED_LATE of plan {about.plan_id}"
        elif change.kind is ChangeKind.APPLY_PLAN:
            yield from _approved_wrongly(plan, asking)
            yield from _made_wrongly(plan, about, rows)
        plan.closed |= change.kind is ChangeKind.REJECT_PLAN
        for older in about.supersedes:
            self._rounds[older].closed = True

    def _propose(self, change: Change, about: Rebalance) -> None:
        known = self._rounds.get(about.plan_id)
        if known is None or known.closed:
            self._rounds[about.plan_id] = _Round(change.actor, change.namespaces, about.moved)


def _approved_wrongly(plan: _Round, asking: Sequence[str]) -> Iterator[str]:
    """`asking` are the namespaces of the plan that require approval."""
    if plan.approver is None:
        yield from (f"APPROVAL_REQUIRED of {name}" for name in asking)
    elif plan.approver == plan.submitter:
        yield from (f"SELF_APPROVAL of {name}" for name in asking)


def _made_wrongly(plan: _Round, about: Rebalance, rows: Sequence[ShardDiff]) -> Iterator[str]:
    """Moves that were made before, or that the plan does not have. The last one closes the plan."""
    keys = [row.key for row in rows]
    if about.moved != len(keys) or plan.made.intersection(keys) or len(plan.made) + len(keys) > plan.moves:
        yield f"MOVED_ONCE of plan {about.plan_id}"
    plan.made.update(keys)
    plan.closed |= len(plan.made) == plan.moves
