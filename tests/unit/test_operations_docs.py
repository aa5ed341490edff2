"""docs/operations/: bounds of queues are those of the code; what is to be planned with is less than was measured."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from graph.execution.metrics import Metrics
from graph.execution.workload import Workload
from graph.http.admission import AdmissionControl
from tests.support.operations_book import DOCS, page

RESULTS: Final = DOCS.parent / "tests" / "benchmarks" / "results.json"
ROOM: Final = 4.0
"""What is to be planned with is not less than this part of what was measured, or it would say nothing of it."""


def rows(text: str, columns: int) -> list[list[str]]:
    """Cells of every table of so many columns, without heads."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if re.match(r"\| (?!-)", line)]
    return [[cell.strip() for cell in line] for line in lines if len(line) == columns]


def number(cell: str) -> float:
    """The first in it."""
    found = re.search(r"\d[\d,]*(\.\d+)?", cell)
    assert found, cell
    return float(found[0].replace(",", ""))


def test_queues_are_as_they_are_listed() -> None:
    listed = {row[0].strip("`"): [int(number(cell)) for cell in row[2:]] for row in rows(page("limits"), 5)[1:]}
    queues = AdmissionControl(Metrics())._queues  # noqa: SLF001 - bounds are nothing for callers
    assert listed == {
        workload.value: [bounds.running, bounds.waiting, int(bounds.seconds)]
        for workload, bounds in ((each, queues[each]._bounds) for each in Workload)  # noqa: SLF001
    }


def measured() -> Mapping[str, float]:
    """By the first words of the row of docs/operations/scale.md."""
    results: Mapping[str, Any] = json.loads(RESULTS.read_text("utf-8"))
    growth = {size["shards"]: size["lookups"]["rate"] for size in results["growth"]["figures"]["sizes"]}
    return {
        "lookups and lists from memory, among 1,000,000 shards": growth[1_000_000],
        "the same among 10,000 shards": growth[10_000],
        "pages of 50 rows of history": results["reads"]["figures"]["workloads"]["history"]["omnirelay"]["rate"],
        "messages to subscribers, of 1.1 kB": results["fanout"]["figures"]["messages"],
        "changes of one shard": results["writes"]["figures"]["single"]["32"]["omnirelay"]["rate"],
        "shards in changes of 10,000": next(
            bulk["shards"] / bulk["seconds"]
            for bulk in results["writes"]["figures"]["bulk"]
            if bulk["shards"] == 10_000
        ),
    }


def test_what_is_to_be_planned_with_is_less_than_was_measured() -> None:
    stated = {row[0]: row for row in rows(page("scale"), 4) if re.search(r"\d/s$", row[2])}
    carried = measured()
    assert stated.keys() == carried.keys()
    for what, (_, printed, rate, _) in stated.items():
        assert number(rate) < carried[what] < ROOM * number(rate), (what, carried[what])
        for found in re.findall(r"[\d,]+(?=/s)", printed):
            assert carried[what] / 1.5 < number(found) < carried[what] * 1.5, (what, carried[what])


def planned(what: str) -> float:
    (found,) = (number(row[2]) for row in rows(page("scale"), 4) if row[0] == what)
    return found


def examples(first: str) -> Sequence[list[str]]:
    """Rows below the one that begins so, of the same table."""
    table = page("scale").partition(f"| {first}")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_workers_for_subscribers_are_worked_out_from_that() -> None:
    for subscribers, changes, messages, workers in examples("subscribers | changes a second"):
        assert number(subscribers) * number(changes) == number(messages)
        assert math.ceil(number(messages) / planned("messages to subscribers, of 1.1 kB")) == number(workers)


def test_cells_are_worked_out_from_that() -> None:
    text = page("scale")
    (wanted,) = re.findall(r"for ([\d,]+) changes/s and ([\d,]+) shards", text)
    changes, shards, _ = examples("of all namespaces together")
    assert number(changes[1]) == planned("changes of one shard")
    for row, need in zip((changes, shards), wanted, strict=True):
        assert math.ceil(number(need) / number(row[1])) == number(row[2])
