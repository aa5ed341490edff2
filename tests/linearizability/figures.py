"""What a run prints: the requests, what became of them, and through which faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table

from tests.linearizability.faults import FaultKind
from tests.linearizability.history import History
from tests.linearizability.journal import Acknowledged, Journal, ReadMode, Refused


@dataclass(frozen=True, slots=True)
class Figures:
    """`seconds` of work, then `settling` until every server answered, then `judging`. `unknown` are writes of which no
    answer said whether they were made, `made` those of them that history has.
    """

    seconds: float
    settling: float
    judging: float
    reads: Mapping[ReadMode, int]
    acknowledged: int
    replayed: int
    refused: int
    unknown: int
    made: int
    nothing_written: int
    endings: Mapping[str, int]
    faults: Mapping[FaultKind, int]

    @property
    def operations(self) -> int:
        return sum(self.reads.values()) + self.acknowledged + self.refused + self.unknown + self.nothing_written

    def shown(self) -> RenderableType:
        table = Table(show_header=False, title="The run")
        table.add_column()
        table.add_column(justify="right")
        for what, figure in {
            "seconds": f"{self.seconds:,.0f}",
            "and then until every server answered": f"{self.settling:,.1f}",
            "and then for the verdict": f"{self.judging:,.1f}",
            "operations": f"{self.operations:,}",
            "operations a second": f"{self.operations / self.seconds:,.0f}",
            **{f"{mode} reads": f"{times:,}" for mode, times in self.reads.items()},
            "writes acknowledged": f"{self.acknowledged:,}",
            "of these, with what had been done before": f"{self.replayed:,}",
            "writes refused by a version": f"{self.refused:,}",
            "writes whose outcome is unknown": f"{self.unknown:,}",
            "of these, made": f"{self.made:,}",
            "writes told that nothing was written": f"{self.nothing_written:,}",
        }.items():
            table.add_row(what, figure)
        return Group(
            table,
            _counted("requests without an answer ended in", self.endings),
            _counted("fault", self.faults),
        )


def figures_of(
    journal: Journal, history: History, faults: Sequence[FaultKind], moments: tuple[float, float, float]
) -> Figures:
    answers = [write.answer for write in journal.writes]
    acknowledged = [answer for answer in answers if isinstance(answer, Acknowledged)]
    open_ended = [write for write in journal.writes if write.answer is None]
    unknown = [write for write in open_ended if write.unanswered]
    modes = Counter(read.mode for read in journal.reads)
    return Figures(
        *moments,
        {mode: modes[mode] for mode in ReadMode},
        len(acknowledged),
        sum(answer.replayed for answer in acknowledged),
        sum(isinstance(answer, Refused) for answer in answers),
        len(unknown),
        sum(write.key in history.by_key for write in unknown),
        len(open_ended) - len(unknown),
        journal.endings,
        Counter(faults),
    )


def _counted(heading: str, counts: Mapping[str, int] | Mapping[FaultKind, int]) -> Table:
    table = Table(heading)
    table.add_column("times", justify="right")
    for what, times in sorted(counts.items()):
        table.add_row(what, f"{times:,}")
    return table
