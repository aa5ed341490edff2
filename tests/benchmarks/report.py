"""The report of a benchmark: rows of a figure and a limit of the same run, and tables of contenders side by side."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.load import Figures


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Contenders on the same work: a row each. `notes` say what was measured and how."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]

    def table(self) -> Table:
        table = Table(title=self.title, caption="\n".join(self.notes), caption_justify="left")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left", no_wrap=not number)
        for row in self.rows:
            table.add_row(*row)
        return table


@dataclass
class Report:
    """Rows of (part, what, figure, limit, ratio), printed as they are measured; then tables. `part` is that of
    `make bench` which is being measured."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    tables: list[SideBySide] = field(default_factory=list)
    part: str = ""

    def add(self, what: str, figure: str, limit: str, ratio: float, better: str) -> None:
        row = {"what": what, "figure": figure, "limit": limit, "ratio": round(ratio, 4), "better": better}
        self.rows.append({"part": self.part, **row})
        say(f"  {what}: {figure}; {limit}; ratio {ratio:.3g}")

    def rate(self, what: str, figures: Figures, limit: str, limit_rate: float) -> None:
        figure = f"{figures.rate:,.0f}/s, p50 {figures.p50:.1f} ms, p99 {figures.p99:.1f} ms"
        self.add(what, figure, f"{limit} {limit_rate:,.0f}/s", figures.rate / limit_rate, "higher")

    def print(self, *, as_json: bool) -> None:
        if as_json:
            print(json.dumps({"rows": self.rows, "tables": [asdict(table) for table in self.tables]}, indent=2))
            return
        table = Table(
            "what", "figure", "limit in the same run", "ratio", "better", title="Ratios, not figures, compare"
        )
        for row in self.rows:
            table.add_row(row["what"], row["figure"], row["limit"], f"{row['ratio']:.3g}", row["better"])
        console = Console(width=None if sys.stdout.isatty() else 160)
        console.print(table, *(each.table() for each in self.tables), sep="\n")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
