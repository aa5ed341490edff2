"""The life of a plan: which command leads from which status to which, and how much of it one change makes.

A plan is open until it is applied, rejected, superseded or expired. A closed one that had made no move can be proposed
again: the same mesh gives the same plan. docs/governance.md draws the transitions, and a test compares the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from math import ceil
from typing import Final

from persistence.model.plans import PlanStatus, RebalancePlan
from persistence.model.policy import DEFAULT_POLICY, NamespacePolicy
from persistence.model.records import INVOLUNTARY, MoveReason
from persistence.planning.proposal import Move


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
}
"""What is not in it is refused. The last move makes APPLYING APPLIED, whichever wave makes it."""

OPEN: Final = tuple(status for status, actions in TRANSITIONS.items() if _A.SUPERSEDE in actions)

EXPIRING: Final = (_S.PROPOSED, _S.APPROVED)
"""Statuses that end by themselves. A plan that was begun does not expire: every move it has left is still checked."""


def after(status: PlanStatus, action: PlanAction, *, moves_left: int) -> PlanStatus | None:
    """The status that `action` leads to; null where it is refused. `moves_left` are those after the action."""
    reached = TRANSITIONS[status].get(action)
    return PlanStatus.APPLIED if reached is PlanStatus.APPLYING and moves_left == 0 else reached


def as_of(plan: RebalancePlan, now: datetime) -> RebalancePlan:
    """The plan with the status it has at that time: no change is committed when it expires."""
    if plan.status in EXPIRING and plan.expires_at <= now:
        return replace(plan, status=PlanStatus.EXPIRED)
    return plan


def wave_moves(
    left: Sequence[Move],
    shard_counts: Mapping[str, int],
    policies: Mapping[str, NamespacePolicy],
    max_moves: int | None,
) -> Sequence[Move]:
    """The next wave of the moves that are `left`: at most `max_moves`, and up to the first that breaks a budget, which
    those that the policy does not limit do not.

    Without `max_moves` it is all of them, in one go: whether that is too much is up to the rules of the write path. The
    order is kept, whatever the budgets, so that progress is one number and urgent moves come first.
    """
    if max_moves is None:
        return left
    made: Counter[str] = Counter()
    for position, move in enumerate(left[:max_moves]):
        policy = policies.get(move.namespace, DEFAULT_POLICY)
        if move.from_node_id == move.to_node_id or not is_limited(move.reason, policy):
            continue
        made[move.namespace] += 1
        if made[move.namespace] > move_budget(shard_counts.get(move.namespace, 0), policy):
            return left[:position]
    return left[:max_moves]


def is_limited(reason: MoveReason | str | None, policy: NamespacePolicy) -> bool:
    """Whether budget, windows and freezes are about moves for this reason; null for one that no plan makes."""
    return policy.involuntary_moves_limited or reason not in INVOLUNTARY


def move_budget(shard_count: int, policy: NamespacePolicy) -> int:
    """How many shards of a namespace one change may move: the share, rounded up, and one at least."""
    return max(1, ceil(shard_count * Fraction(str(policy.move_budget_percent)) / 100))
