"""What became of every request."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from persistence.model.outcomes import Committed, Outcome, PlanApplied, PolicyViolation
from persistence.model.plans import PlanKind
from persistence.model.policy import PolicyRule
from tests.governance.deeds import Deed

NOTHING_THERE = "nothing there"


@dataclass
class Tally:
    """`outcomes` by their names, of each deed. A refusal counts once for each rule in `refused`. `waves` are changes
    that made some of a plan's moves and not all of them, `rolled_back` those that made moves of a rollback."""

    outcomes: Counter[tuple[Deed, str]] = field(default_factory=Counter)
    refused: Counter[PolicyRule] = field(default_factory=Counter)
    committed: int = 0
    forced: int = 0
    waves: int = 0
    rolled_back: int = 0

    @property
    def deeds(self) -> int:
        return self.outcomes.total()

    def of(self, outcome: str) -> int:
        """How often something came to this."""
        return sum(times for (_, name), times in self.outcomes.items() if name == outcome)

    def add(self, deed: Deed, outcome: Outcome | None) -> None:
        self.outcomes[deed, NOTHING_THERE if outcome is None else type(outcome).__name__] += 1
        if isinstance(outcome, PolicyViolation):
            self.refused.update({broken.rule for broken in outcome.violations})
        if isinstance(outcome, Committed) and not getattr(outcome, "replayed", False):
            self.committed += 1
            self.forced += outcome.change.forced is not None
        if isinstance(outcome, PlanApplied) and outcome.change.rebalance is not None:
            self.waves += outcome.change.rebalance.moved < outcome.plan.move_count
            self.rolled_back += outcome.plan.kind is PlanKind.ROLLBACK

    def add_error(self, deed: Deed, error: Exception) -> None:
        self.outcomes[deed, type(error).__name__] += 1
