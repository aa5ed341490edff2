"""`make siege`: every attack on a server at once, while 200 subscribers follow 20 changes a second and others look up.

The exit code is 1 if a subscriber or a writer lost something, if a lookup of another client waited for longer than
100 ms (p99: 50 ms), or if the server keeps more than a tenth of its memory more in the end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop
from rich.console import Console
from rich.status import Status
from rich.table import Table

from tests.chaos.interrupts import stop_like_ctrl_c
from tests.siege.attacks import ATTACKS
from tests.siege.harness import Outcome, Plan, run

_MEGABYTE = 1_000_000
_P99_MS = 50.0
_WORST_MS = 100.0
_MEMORY = 1.1


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make siege", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0, help="(default: %(default)g)")
    parser.add_argument("--subscribers", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="(default: %(default)s)")
    parser.add_argument(
        "--attacks", nargs="*", default=list(ATTACKS), choices=list(ATTACKS), metavar="ATTACK",
        help="only these: " + ", ".join(f"'{name}'" for name in ATTACKS),
    )  # fmt: skip
    parser.add_argument("--one-by-one", action="store_true", help="each attack alone, for SECONDS")
    return parser.parse_args(arguments)


def shown(outcome: Outcome) -> Table:
    table = Table("attack", "answers", title="The siege")
    for name, answers in outcome.answers.items():
        table.add_row(name, ", ".join(f"{answer} ({count:,})" for answer, count in sorted(answers.items())))
    table.add_section()
    table.add_row("changes, diffs delivered", f"{outcome.changes:,}, {outcome.deliveries:,}")
    table.add_row("subscriptions ended", ", ".join(f"{how} {count}" for how, count in outcome.left.items()) or "none")
    quiet = max(outcome.quiet_lookups, default=0.0)
    worst = max(outcome.lookups, default=0.0)
    table.add_row(
        "lookups of others, ms",
        f"p50 {outcome.percentile(50):.1f}, p99 {outcome.percentile(99):.1f}, worst {worst:.1f} (quiet: {quiet:.1f})",
    )
    memory = (outcome.memory_before, outcome.memory_peak, outcome.memory_after)
    table.add_row("memory before, at most, after", ", ".join(f"{each / _MEGABYTE:,.0f} MB" for each in memory))
    return table


def missed(outcome: Outcome) -> list[str]:
    """What the server did not stand, as sentences."""
    found = [str(finding) for finding in outcome.findings]
    if (p99 := outcome.percentile(99)) > _P99_MS:
        found.append(f"one in a hundred lookups of others waited {p99:.0f} ms or longer, not {_P99_MS:g}")
    if (worst := max(outcome.lookups)) > _WORST_MS:
        found.append(f"a lookup of another client waited {worst:.0f} ms, not {_WORST_MS:g}")
    if outcome.memory_after > outcome.memory_before * _MEMORY:
        kept = outcome.memory_after - outcome.memory_before
        found.append(f"the server keeps {kept / _MEGABYTE:,.0f} MB more, of {outcome.memory_before / _MEGABYTE:,.0f}")
    return found


def main() -> int:
    stop_like_ctrl_c()
    chosen = options()
    console, messages = Console(width=None if sys.stdout.isatty() else 120), Console(stderr=True)
    rounds = [[name] for name in chosen.attacks] if chosen.one_by_one else [chosen.attacks]
    failed = False
    for names in rounds:
        plan = Plan(names, chosen.seed, chosen.seconds, subscribers=chosen.subscribers)
        with (
            tempfile.TemporaryDirectory(prefix="omnirelay-siege-") as folder,
            Status("starting PostgreSQL and the server", console=messages) as status,
        ):
            outcome = uvloop.run(run(plan, Path(folder), status.update))
        console.print(shown(outcome))
        for sentence in missed(outcome)[:20]:
            messages.print(sentence, style="red", highlight=False)
            failed = True
    if failed:
        return 1
    messages.print("No other client waited, and nothing was lost.", style="green")
    return 0


if __name__ == "__main__":
    sys.exit(main())
