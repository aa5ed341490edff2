"""Commands on plans: storing, approving, rejecting, stopping and applying them, and what is to be rolled back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from persistence.commands.command import NOT_DIGESTED_WHEN_NULL, ChangeRequest
from persistence.commands.read_state import ReadSet
from persistence.model import fields as rules
from persistence.model.fields import MAX_SHARDS_PER_CHANGE, Problems, plan_id_problem
from persistence.model.records import ChangeKind
from persistence.planning.proposal import Proposal
from persistence.planning.scope import Narrowing

DEFAULT_LIFETIME: Final = 7 * 24 * 3600
"""Seconds in which a plan may be begun."""

MAX_LIFETIME: Final = 90 * 24 * 3600

MIN_LIFETIME: Final = 60


@dataclass(frozen=True, slots=True)
class RollbackTarget:
    """What to take back: a change, all changes under a ticket, or all after a revision; exactly one of them.

    With `namespace`, only what they did there.
    """

    change_id: int | None = None
    change_ticket: str | None = None
    since_revision: int | None = None
    namespace: str | None = None

    def add_problems(self, problems: Problems) -> None:
        given = [value for value in (self.change_id, self.change_ticket, self.since_revision) if value is not None]
        if len(given) != 1:
            problems.add("changeId", "give exactly one of changeId, changeTicket and sinceRevision")
        if self.change_id is not None:
            problems.add("changeId", rules.counter_problem(self.change_id))
        if self.change_ticket is not None:
            problems.add("changeTicket", rules.stored_text_problem(self.change_ticket))
        if self.since_revision is not None:
            problems.add("sinceRevision", rules.counter_problem(self.since_revision))
        if self.namespace is not None:
            problems.add("namespace", rules.name_problem(self.namespace))


class _Store:
    """What both commands that store a proposal have in common."""

    __slots__ = ()
    proposal: Proposal
    lifetime_seconds: int

    @property
    def reads(self) -> ReadSet:
        return ReadSet(plan=self.proposal.id)

    @property
    def lifetime(self) -> timedelta:
        return timedelta(seconds=self.lifetime_seconds)

    def add_problems(self, problems: Problems) -> None:
        """The proposal itself is right by construction."""
        if not MIN_LIFETIME <= self.lifetime_seconds <= MAX_LIFETIME:
            between = f"must be between {MIN_LIFETIME:,} and {MAX_LIFETIME:,}"
            problems.add("expiresInSeconds", f"{between}, not {self.lifetime_seconds:,}")


@dataclass(frozen=True, slots=True)
class StorePlan(_Store):
    """Store a proposal, to be reviewed and applied. The same proposal is stored once, however often it is computed.

    What a retry under the same idempotency key must equal are the other fields: the proposal may have moved on.
    """

    proposal: Proposal = field(compare=False)
    change: ChangeRequest
    namespaces: tuple[str, ...] | None = None
    max_moves: int | None = None
    lifetime_seconds: int = DEFAULT_LIFETIME
    narrowing: Narrowing | None = field(default=None, metadata=NOT_DIGESTED_WHEN_NULL)
    threshold: int | None = field(default=None, metadata=NOT_DIGESTED_WHEN_NULL)
    kind = ChangeKind.PLAN_REBALANCE


@dataclass(frozen=True, slots=True)
class StoreRollback(_Store):
    """Store the proposal that takes changes back, as any other plan."""

    proposal: Proposal = field(compare=False)
    change: ChangeRequest
    target: RollbackTarget
    max_moves: int
    lifetime_seconds: int = DEFAULT_LIFETIME
    kind = ChangeKind.ROLLBACK_CHANGE

    def add_problems(self, problems: Problems) -> None:
        _Store.add_problems(self, problems)
        self.target.add_problems(problems)


class _OnPlan:
    """What all commands on a stored plan have in common."""

    __slots__ = ()
    plan_id: str

    @property
    def reads(self) -> ReadSet:
        """Namespaces, nodes and shards are those of the plan: known once it has been read."""
        return ReadSet(plan=self.plan_id)

    def add_problems(self, problems: Problems) -> None:
        problems.add("planId", plan_id_problem(self.plan_id))


@dataclass(frozen=True, slots=True)
class ApplyPlan(_OnPlan):
    """Make the moves of a plan, if nothing they rely on has changed since.

    All that are left; with `max_moves` the next ones, at most so many and within the budgets of their namespaces. To go
    on with a plan that was stopped takes `resume`: a client that applies waves in a row must not overrule the stop.
    """

    plan_id: str
    change: ChangeRequest
    max_moves: int | None = None
    resume: bool = False
    kind = ChangeKind.APPLY_PLAN

    def add_problems(self, problems: Problems) -> None:
        _OnPlan.add_problems(self, problems)
        if self.max_moves is not None and not 1 <= self.max_moves <= MAX_SHARDS_PER_CHANGE:
            problems.add("maxMoves", f"must be between 1 and {MAX_SHARDS_PER_CHANGE:,}, not {self.max_moves:,}")


@dataclass(frozen=True, slots=True)
class ApprovePlan(_OnPlan):
    """Allow a plan to be applied. Refused like applying it, where what it relies on has changed."""

    plan_id: str
    change: ChangeRequest
    kind = ChangeKind.APPROVE_PLAN


@dataclass(frozen=True, slots=True)
class RejectPlan(_OnPlan):
    """Close a plan: none of its moves is made, or no more of them."""

    plan_id: str
    change: ChangeRequest
    kind = ChangeKind.REJECT_PLAN


@dataclass(frozen=True, slots=True)
class StopPlan(_OnPlan):
    """Halt a plan that is being applied, until it is resumed."""

    plan_id: str
    change: ChangeRequest
    kind = ChangeKind.STOP_PLAN
