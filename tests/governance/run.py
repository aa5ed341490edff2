"""`make governance`: operators and freezes at random, then whether every rule was kept.

The exit code is 1 if one was not; what is printed then says how to replay the run.
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

from migrations import upgrade
from tests.chaos.harness import running_postgres
from tests.chaos.interrupts import stop_like_ctrl_c
from tests.governance.harness import Outcome, run
from tests.governance.scenario import Scenario
from tests.governance.tally import Tally


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make governance", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="replay the run that named it; by default a new one")
    parser.add_argument("--seconds", type=float, default=120.0, help="(default: %(default)s)")
    parser.add_argument("--operators", type=int, default=8, help="(default: %(default)s)")
    parser.add_argument("--stores", type=int, default=4, help="that operators share (default: %(default)s)")
    parser.add_argument("--namespaces", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument("--shards", type=int, default=2_000, help="in all namespaces (default: %(default)s)")
    return parser.parse_args(arguments)


def scenario_of(chosen: argparse.Namespace) -> Scenario:
    seed = secrets.randbelow(1_000_000) if chosen.seed is None else chosen.seed
    return Scenario(
        seed,
        chosen.seconds,
        operators=chosen.operators,
        stores=chosen.stores,
        namespaces=chosen.namespaces,
        shards=chosen.shards,
    )


async def perform(scenario: Scenario, folder: Path, console: Console) -> Outcome:
    """On a PostgreSQL of its own with default durability."""
    with Status("starting PostgreSQL", console=console) as status:

        def watch(tally: Tally) -> None:
            refused = tally.refused.total()
            status.update(f"{tally.deeds:,} requests, {tally.committed:,} changes, {refused:,} refusals by a rule")

        async with running_postgres(folder / "postgresql") as postgres:
            url = postgres.url("postgres")
            await upgrade(url)
            return await run(scenario, url, watch)


def main() -> int:
    stop_like_ctrl_c()
    scenario = scenario_of(options())
    messages = Console(stderr=True)
    messages.print(f"seed {scenario.seed}")
    logging.getLogger("stamina").setLevel(logging.ERROR)  # that changes meet, and are decided anew, is the point
    with tempfile.TemporaryDirectory(prefix="omnirelay-governance-") as temporary:
        outcome = uvloop.run(perform(scenario, Path(temporary), messages))
    Console(width=None if sys.stdout.isatty() else 120).print(outcome.figures.shown())
    for finding in outcome.findings[:20]:
        messages.print(finding, style="red", highlight=False)
    if outcome.findings:
        messages.print(
            f"{len(outcome.findings)} promises were broken. To replay: --seed {scenario.seed}, all else equal"
        )
        return 1
    messages.print("No rule was broken; the chain, versions and table are what history says.", style="green")
    return 0


if __name__ == "__main__":
    sys.exit(main())
