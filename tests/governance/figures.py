"""What a run prints: the requests, and what became of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table

from persistence.model.outcomes import PolicyViolation, StalePlan, VersionConflict
from persistence.model.policy import PolicyRule
from tests.governance.deeds import Deed
from tests.governance.tally import Tally


@dataclass(frozen=True, slots=True)
class Figures:
    """`seconds` of work, and `judging` of the verdict."""

    seconds: float
    judging: float
    tally: Tally

    def shown(self) -> RenderableType:
        return Group(self._totals(), self._deeds(), self._rules())

    def _totals(self) -> Table:
        tally = self.tally
        table = Table(show_header=False, title="The run")
        table.add_column()
        table.add_column(justify="right")
        for what, figure in {
            "seconds": f"{self.seconds:,.0f}",
            "requests": f"{tally.deeds:,}",
            "changes": f"{tally.committed:,}",
            "changes a second": f"{tally.committed / self.seconds:,.0f}",
            "of these, forced": f"{tally.forced:,}",
            "waves of plans": f"{tally.waves:,}",
            "rollbacks applied": f"{tally.rolled_back:,}",
            "refused by a policy": f"{tally.of(PolicyViolation.__name__):,}",
            "version conflicts": f"{tally.of(VersionConflict.__name__):,}",
            "stale plans": f"{tally.of(StalePlan.__name__):,}",
            "seconds for the verdict": f"{self.judging:,.0f}",
        }.items():
            table.add_row(what, figure)
        return table

    def _deeds(self) -> Table:
        table = Table("request", "outcomes", title="What became of it")
        for deed in Deed:
            own = Counter({name: times for (kind, name), times in self.tally.outcomes.items() if kind is deed})
            table.add_row(deed, ", ".join(f"{name} {times:,}" for name, times in own.most_common()))
        return table

    def _rules(self) -> Table:
        table = Table("rule", title="Requests that a rule refused")
        table.add_column("times", justify="right")
        for rule in PolicyRule:
            table.add_row(rule, f"{self.tally.refused[rule]:,}")
        return table
