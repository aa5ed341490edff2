"""Changes by plan: keeping a proposal, and doing what it says."""

from __future__ import annotations

from dataclasses import dataclass, field

from persistence.commands import ChangeRequest
from persistence.fields import Problems
from persistence.locks import Locks
from persistence.planning.proposal import Proposal, plan_id_problem
from persistence.records import ChangeKind


@dataclass(frozen=True, slots=True)
class KeepPlan:
    """Keep a proposal, to be reviewed and applied. The same proposal is kept once, whoever computed it again.

    `request` is what was asked for, which is what a retry under the same idempotency key must equal: the proposal it
    led to may have moved on.
    """

    proposal: Proposal = field(compare=False)
    change: ChangeRequest
    namespaces: tuple[str, ...] | None = None
    max_moves: int | None = None
    kind = ChangeKind.PLAN_REBALANCE

    @property
    def locks(self) -> Locks:
        return Locks(plan=self.proposal.id)

    def add_problems(self, problems: Problems) -> None:
        """A proposal is right by construction."""


@dataclass(frozen=True, slots=True)
class ApplyPlan:
    """Make every move of a plan, if nothing it relies on has changed since."""

    plan_id: str
    change: ChangeRequest
    kind = ChangeKind.APPLY_PLAN

    @property
    def locks(self) -> Locks:
        """Namespaces, nodes and shards are those of the plan: known once it has been read."""
        return Locks(plan=self.plan_id)

    def add_problems(self, problems: Problems) -> None:
        problems.add("planId", plan_id_problem(self.plan_id))
