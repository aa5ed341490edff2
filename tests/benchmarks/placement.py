"""The placement library: how fair, how still, how fast, side by side with libraries that others wrote.

`python -m tests.benchmarks.placement` runs this part of `make bench` alone. Ids are fixed, so whatever is counted is
the same in every run; times are the best of several.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from tests.benchmarks import placement_quality, placement_speed, side_by_side
from tests.benchmarks.report import Report, say
from tests.benchmarks.timing import one_core

SHARDS: Final = 1_000_000
RUNS: Final = 7


def measure(report: Report, shards: int = SHARDS, runs: int = RUNS) -> None:
    say("Placement")
    ids = [f"shard-{number}" for number in range(shards)]
    with one_core() as pinned:
        say(f"  {pinned} Times are processor time, the best of several runs.")
        placement_quality.measure(report, ids)
        placement_speed.measure(report, ids, runs)
        report.tables.append(side_by_side.measure(ids, pinned))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=SHARDS)
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of each measurement of time")
    parser.add_argument("--json", action="store_true", help="print rows and tables as JSON")
    options = parser.parse_args(arguments)
    report = Report()
    measure(report, options.shards, options.runs)
    report.print(as_json=options.json)


if __name__ == "__main__":
    main()
