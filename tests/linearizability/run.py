"""`make linearizability`: clients that write and read the same few shards through three servers, and every fault.

The exit code is 1 if a promise was broken; what is printed then says how to replay the run.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop
from rich.console import Console
from rich.status import Status

from tests.chaos.harness import running_postgres
from tests.chaos.interrupts import stop_like_ctrl_c
from tests.chaos.logs import tracebacks
from tests.linearizability.faults import FaultKind, schedule
from tests.linearizability.harness import Outcome, Plan, Run, run

_ROUND_SECONDS = 30.0


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make linearizability", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="replay the run that named it; by default a new one")
    parser.add_argument("--seconds", type=float, default=120.0, help="(default: %(default)s)")
    parser.add_argument("--clients", type=int, default=8, help="(default: %(default)s)")
    parser.add_argument("--shards", type=int, default=5, help="that all clients want (default: %(default)s)")
    parser.add_argument("--servers", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=None, help="every fault so often; by default once in 30 seconds, 0 for none"
    )
    parser.add_argument(
        "--faults",
        nargs="*",
        type=FaultKind,
        default=list(FaultKind),
        metavar="FAULT",
        help="only these: " + ", ".join(f"'{kind}'" for kind in FaultKind),
    )
    parser.add_argument("--keep", type=Path, default=None, help="keep data and the servers' logs in this folder")
    return parser.parse_args(arguments)


def plan_of(chosen: argparse.Namespace) -> Plan:
    seed = secrets.randbelow(1_000_000) if chosen.seed is None else chosen.seed
    rounds = max(1, round(chosen.seconds / _ROUND_SECONDS)) if chosen.rounds is None else chosen.rounds
    faults = schedule(seed, chosen.seconds, rounds, chosen.faults)
    return Plan(
        seed,
        chosen.seconds,
        faults=faults,
        clients=chosen.clients,
        shards=chosen.shards,
        servers=chosen.servers,
    )


async def perform(plan: Plan, folder: Path, console: Console) -> Outcome:
    """On a PostgreSQL of its own with default durability."""
    with Status("starting PostgreSQL and the servers", console=console) as status:

        def watch(run: Run) -> None:
            status.update(
                f"{run.journal.operations:,} operations, {len(run.injector.struck)} of {len(plan.faults)} faults"
            )

        async with running_postgres(folder / "postgresql") as postgres:
            return await run(plan, postgres, folder, watch=watch)


def main() -> int:
    stop_like_ctrl_c()
    chosen = options()
    plan = plan_of(chosen)
    messages = Console(stderr=True)
    messages.print(f"seed {plan.seed}")
    with tempfile.TemporaryDirectory(prefix="omnirelay-linearizability-") as temporary:
        folder = chosen.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = uvloop.run(perform(plan, folder, messages))
        met = tracebacks(sorted(folder.glob("*.log")))
    Console(width=None if sys.stdout.isatty() else 120).print(outcome.figures.shown())
    for finding in outcome.findings[:20]:
        messages.print(str(finding), style="red", highlight=False, soft_wrap=True)
    if outcome.findings:
        for traceback in met:
            messages.print(traceback, highlight=False, markup=False)
        messages.print(
            f"{len(outcome.findings)} promises were broken. To replay: --seed {plan.seed}, all else the same"
        )
        return 1
    messages.print("Everything that was answered is what the documentation promises.", style="green")
    return 0


if __name__ == "__main__":
    sys.exit(main())
