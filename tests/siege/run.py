"""`make siege`: every attack on a server at once, while 200 subscribers follow 20 changes a second and others look up.

The exit code is 1 if a subscriber or a writer lost something, if an attack was answered what it must not be, if a
lookup of another client waited for longer than 100 ms (p99: 50 ms), or if the server keeps more than a tenth of its
memory more in the end. Where lookups wait for half as long before there is any attack, the machine is too busy to judge
that, and a line says so.
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
from tests.chaos.logs import tracebacks
from tests.siege.attacks import ATTACKS, unexpected
from tests.siege.harness import LOG, Outcome, Plan, run

_MEGABYTE = 1_000_000
_P99_MS = 50.0
_WORST_MS = 100.0
_MEMORY = 1.1


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make siege", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0, help="(default: %(default)g)")
    parser.add_argument("--subscribers", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--quiet-seconds", type=float, default=10.0, help="before the attacks (default: %(default)g)")
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
        table.add_row(name, ", ".join(f"{answer} ({count:,})" for answer, count in sorted(answers.items()) if count))
    table.add_section()
    table.add_row("changes, diffs delivered", f"{outcome.changes:,}, {outcome.deliveries:,}")
    table.add_row("subscriptions ended", ", ".join(f"{how} {count}" for how, count in outcome.left.items()) or "none")
    table.add_row("lookups of others before, ms", str(outcome.quiet_lookups))
    table.add_row("lookups of others meanwhile, ms", str(outcome.lookups))
    table.add_row("which is without", outcome.lookups.not_counted)
    memory = (outcome.memory_before, outcome.memory_peak, outcome.memory_after)
    table.add_row(
        "memory before, at most, after, but for caches", ", ".join(f"{each / _MEGABYTE:,.0f} MB" for each in memory)
    )
    return table


def is_too_busy(outcome: Outcome) -> bool:
    """Whether the machine makes lookups wait without any attack."""
    return outcome.quiet_lookups.at(99) > _P99_MS / 2 or outcome.quiet_lookups.at(100) > _WORST_MS / 2


def missed(outcome: Outcome) -> list[str]:
    """What the server did not stand, as sentences."""
    found = [str(finding) for finding in outcome.findings] + unexpected(outcome.answers)
    if not is_too_busy(outcome):
        if (p99 := outcome.lookups.at(99)) > _P99_MS:
            found.append(f"one in a hundred lookups of others waited {p99:.0f} ms or longer, not {_P99_MS:g}")
        if (worst := outcome.lookups.at(100)) > _WORST_MS:
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
    failed = unjudged = False
    for names in rounds:
        plan = Plan(names, chosen.seed, chosen.seconds, chosen.quiet_seconds, subscribers=chosen.subscribers)
        with (
            tempfile.TemporaryDirectory(prefix="omnirelay-siege-") as folder,
            Status("starting PostgreSQL and the server", console=messages) as status,
        ):
            outcome = uvloop.run(run(plan, Path(folder), status.update))
            met = tracebacks([Path(folder) / LOG])
        console.print(shown(outcome))
        for traceback in met:
            messages.print(traceback, highlight=False, markup=False)
        for sentence in missed(outcome)[:20]:
            messages.print(sentence, style="red", highlight=False)
            failed = True
        if is_too_busy(outcome):
            messages.print("The machine is too busy: how long lookups waited is not judged.", style="yellow")
            unjudged = True
    if failed:
        return 1
    messages.print(f"{'' if unjudged else 'No other client waited, and n'}othing was lost.".capitalize(), style="green")
    return 0


if __name__ == "__main__":
    sys.exit(main())
