"""What a run prints: how much was delivered, through which faults, and how fast."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table

from tests.chaos.faults import FaultKind
from tests.chaos.history import History
from tests.chaos.injector import Injected


@dataclass(frozen=True, slots=True)
class Figures:
    """`latencies` are milliseconds from commit to delivery, of the last diff of each batch that had caught up."""

    seconds: float
    catching_up: float
    nodes_catching_up: float
    diffs: int
    changes: int
    deliveries: int
    reconnects: int
    endings: Mapping[str, int]
    epochs: int
    tables: int
    repeated: int
    replayed: int
    conflicts: int
    tampered: int
    latencies: Sequence[float]
    injected: Sequence[Injected]

    def shown(self) -> RenderableType:
        return Group(self._totals(), self._faults())

    def _totals(self) -> Table:
        table = Table(show_header=False, title="The run")
        table.add_column()
        table.add_column(justify="right")
        rows = {
            "seconds": f"{self.seconds:,.0f}",
            "from the last write until all subscribers had it": f"{self.catching_up:,.1f}",
            "and then until all mesh nodes had it": f"{self.nodes_catching_up:,.1f}",
            "diffs acknowledged": f"{self.diffs:,}",
            "changes acknowledged": f"{self.changes:,}",
            "diffs delivered": f"{self.deliveries:,}",
            "diffs delivered a second": f"{self.deliveries / self.seconds:,.0f}",
            "subscriptions begun": f"{self.reconnects:,}",
            "ended by others": ", ".join(f"{how} {times}" for how, times in sorted(self.endings.items())),
            "epochs": f"{self.epochs}",
            "tables that mesh nodes read": f"{self.tables:,}",
            "requests repeated": f"{self.repeated:,}",
            "of these, answered with what was done before": f"{self.replayed:,}",
            "version conflicts": f"{self.conflicts:,}",
            "notifications dropped or doubled": f"{self.tampered:,}",
        }
        if self.latencies:
            p50, p99 = np.percentile(self.latencies, [50, 99])
            rows["commit to delivery, p50 / p99"] = f"{p50:,.0f} / {p99:,.0f} ms"
        for what, figure in rows.items():
            table.add_row(what, figure)
        return table

    def _faults(self) -> Table:
        table = Table("fault", title="Seconds from the fault to the first later diff that came through what it struck")
        for heading in ("times", "median", "worst", "not before the end"):
            table.add_column(heading, justify="right")
        by_kind: dict[FaultKind, list[float | None]] = defaultdict(list)
        for injected in self.injected:
            by_kind[injected.fault.kind].append(injected.recovery)
        for kind, recoveries in sorted(by_kind.items()):
            known = [recovery for recovery in recoveries if recovery is not None]
            median, worst = (f"{np.median(known):.2f}", f"{max(known):.2f}") if known else ("", "")
            table.add_row(kind, str(len(recoveries)), median, worst, str(len(recoveries) - len(known)))
        return table


def latencies(arrivals: Iterable[tuple[str, int, float]], histories: Sequence[History]) -> list[float]:
    """Milliseconds, of (epoch, revision, time it was dealt with)."""
    by_epoch: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for epoch, revision, moment in arrivals:
        by_epoch[epoch].append((revision, moment))
    taken: list[float] = []
    for history in histories:
        if pairs := by_epoch.get(history.epoch):
            revisions, moments = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
            taken += (1_000 * (moments - history.committed_at(revisions))).tolist()
    return taken
