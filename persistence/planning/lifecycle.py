"""The life of a plan: which command leads from which status to which.

A plan is open until it is applied, rejected, superseded or expired; one without moves never is. A closed one that had
made no move can be proposed again: the same mesh gives the same plan. docs/governance.md draws the transitions, and a
test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from persistence.model.plans import PlanStatus, RebalancePlan


class PlanAction(StrEnum):
    """What can be done to a plan. SUPERSEDE is done by the change that decides for a newer plan."""

    PROPOSE = "PROPOSE"
    APPROVE = "APPROVE"
    REJECT = "REJECT"
    APPLY = "APPLY"
    STOP = "STOP"
    RESUME = "RESUME"
    SUPERSEDE = "SUPERSEDE"


_S = PlanStatus

_A = PlanAction

_ENDS: Final = {_A.REJECT: _S.REJECTED, _A.SUPERSEDE: _S.SUPERSEDED}

_REOPENS: Final = {_A.PROPOSE: _S.PROPOSED}

TRANSITIONS: Final[Mapping[PlanStatus, Mapping[PlanAction, PlanStatus]]] = {
    _S.PROPOSED: {_A.APPROVE: _S.APPROVED, _A.APPLY: _S.APPLYING, **_ENDS},
    _S.APPROVED: {_A.APPLY: _S.APPLYING, **_ENDS},
    _S.APPLYING: {_A.APPLY: _S.APPLYING, _A.RESUME: _S.APPLYING, _A.STOP: _S.STOPPED, **_ENDS},
    _S.STOPPED: {_A.RESUME: _S.APPLYING, **_ENDS},
    _S.REJECTED: _REOPENS,
    _S.EXPIRED: _REOPENS,
    _S.SUPERSEDED: _REOPENS,
    _S.APPLIED: {},
    _S.NOTHING_TO_DO: {},
}
"""What is not in it is refused. The last move makes APPLYING APPLIED, whichever wave makes it."""

OPEN: Final = tuple(status for status, actions in TRANSITIONS.items() if _A.SUPERSEDE in actions)

EXPIRING: Final = (_S.PROPOSED, _S.APPROVED)
"""Statuses that end by themselves. A plan that was begun does not expire: every move it has left is still checked."""


def after(status: PlanStatus, action: PlanAction, *, moves_left: int) -> PlanStatus | None:
    """The status that `action` leads to; null where it is refused. `moves_left` are those after the action."""
    reached = TRANSITIONS[status].get(action)
    return PlanStatus.APPLIED if reached is PlanStatus.APPLYING and moves_left == 0 else reached


def proposed(move_count: int) -> PlanStatus:
    """The status that a plan begins with."""
    return PlanStatus.PROPOSED if move_count else PlanStatus.NOTHING_TO_DO


def as_of(plan: RebalancePlan, now: datetime) -> RebalancePlan:
    """The plan with the status it has at that time: no change is committed when it expires."""
    if plan.status in EXPIRING and plan.expires_at <= now:
        return replace(plan, status=PlanStatus.EXPIRED)
    return plan
