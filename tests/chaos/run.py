"""`make chaos`: writers, subscribers and every fault, then whether all that was promised was kept.

The exit code is 1 if it was not; what is printed then says how to replay the run.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop
from rich.console import Console
from rich.status import Status

from tests.chaos.faults import FaultKind, schedule
from tests.chaos.harness import Outcome, Plan, Run, run, running_postgres
from tests.chaos.interrupts import stop_like_ctrl_c
from tests.chaos.logs import tracebacks


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="replay the run that named it; by default a new one")
    parser.add_argument("--diffs", type=int, default=500_000, help="write at least so many (default: %(default)s)")
    parser.add_argument("--writers", type=int, default=8, help="(default: %(default)s)")
    parser.add_argument("--subscribers", type=int, default=50, help="(default: %(default)s)")
    parser.add_argument("--servers", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument(
        "--events", type=int, default=10, help="subscribers on server-sent events (default: %(default)s)"
    )
    parser.add_argument("--nodes", type=int, default=4, help="mesh nodes that keep a table (default: %(default)s)")
    parser.add_argument("--largest", type=int, default=500, help="shards in a change at most (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=200, help="a subscriber leaves after (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=None, help="every fault so often; by default once in 50,000 diffs"
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
    rounds = max(1, chosen.diffs // 50_000) if chosen.rounds is None else chosen.rounds
    return Plan(
        seed=seed,
        diffs=chosen.diffs,
        faults=schedule(seed, chosen.diffs, rounds, chosen.faults),
        writers=chosen.writers,
        subscribers=chosen.subscribers,
        servers=chosen.servers,
        events=chosen.events,
        nodes=chosen.nodes,
        largest=chosen.largest,
        batches=chosen.batches,
    )


async def perform(plan: Plan, folder: Path, console: Console) -> Outcome:
    with Status("starting PostgreSQL and the servers", console=console) as status:

        def watch(run: Run) -> None:
            faults = f"{len(run.injector.injected)} of {len(plan.faults)} faults"
            behind = max(run.progress.revision - min(each.revision for each in run.subscribers), 0)
            status.update(
                f"{run.progress.diffs:,} of {plan.diffs:,} diffs, {run.progress.deliveries:,} delivered, "
                f"{faults}, the last subscriber is {behind:,} behind"
            )

        async with running_postgres(folder / "postgresql") as postgres:
            return await run(plan, postgres, folder, watch=watch)


def main() -> int:
    stop_like_ctrl_c()
    chosen = options()
    plan = plan_of(chosen)
    messages = Console(stderr=True)
    messages.print(f"seed {plan.seed}")
    logging.getLogger("graph.client").setLevel(logging.ERROR)  # that servers go away is the point
    with tempfile.TemporaryDirectory(prefix="omnirelay-chaos-") as temporary:
        folder = chosen.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = uvloop.run(perform(plan, folder, messages))
        met = tracebacks(sorted(folder.glob("*.log")))
    Console(width=None if sys.stdout.isatty() else 120).print(outcome.figures.shown())
    for finding in outcome.findings[:20]:
        messages.print(str(finding), style="red", highlight=False)
    if outcome.findings:
        for traceback in met:
            messages.print(traceback, highlight=False, markup=False)
        messages.print(
            f"{len(outcome.findings)} promises were broken. To replay: --seed {plan.seed}, all else the same"
        )
        return 1
    messages.print("Every record equals history, once and in order.", style="green")
    return 0


if __name__ == "__main__":
    sys.exit(main())
