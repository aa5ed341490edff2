"""`make failover`: promotions of every kind under writers and subscribers, then whether all that was promised was kept.

Exits with 1 if it was not, and with 69 if what a cluster needs is not installed: one line then says what.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Final

import uvloop
from rich.console import Console
from rich.table import Table

from tests.chaos.interrupts import stop_like_ctrl_c
from tests.failover.faults import FaultKind, schedule
from tests.failover.harness import Figures, Outcome, Plan, run
from tests.failover.installation import PATRONI, Installation, NotInstalledError, find_installation

NOT_INSTALLED: Final = os.EX_UNAVAILABLE
_SHOWN: Final = 30


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.failover.run", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether what it needs is installed")
    parser.add_argument("--seed", type=int, default=None, help="of the order and the clients; by default a new one")
    parser.add_argument("--rounds", type=int, default=20, help="(default: %(default)s); 8 are one of each")
    parser.add_argument("--writers", type=int, default=4, help="(default: %(default)s)")
    parser.add_argument("--subscribers", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument(
        "--faults",
        nargs="*",
        type=lambda name: FaultKind[name.upper()],
        default=list(FaultKind),
        metavar="FAULT",
        help="only these: " + ", ".join(f"{kind.name.lower()} ({kind})" for kind in FaultKind),
    )
    parser.add_argument("--keep", type=Path, default=None, help="keep data and logs in this folder, which it makes")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser.parse_args(arguments)


@contextmanager
def owned_folder(installation: Installation, keep: Path | None) -> Iterator[Path]:
    """Of the user that PostgreSQL runs as. Removed in the end, unless it is to be kept."""
    if keep is None:
        folder = Path(tempfile.mkdtemp(prefix="omnirelay-failover-"))
    else:
        folder = keep.resolve()
        folder.mkdir(parents=True)
    os.chown(folder, installation.owner.pw_uid, installation.owner.pw_gid)
    try:
        yield folder
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def table(rounds: Sequence[Figures]) -> Table:
    shown = Table("round", "fault", "primary", title="Seconds in each round")
    for heading in ("none", "writes after", "no writes", "subscribers after", "unready", "well after"):
        shown.add_column(heading, justify="right")
    shown.add_column("cursors refused", justify="right")
    shown.add_column("revisions lost", justify="right")
    for each in rounds:
        shown.add_row(
            *(str(each.number), each.kind, each.promotion, f"{each.no_primary:.1f}", _seconds(each.writes_after)),
            *(f"{each.no_writes:.1f}", _seconds(each.subscribers_after), f"{each.unready:.1f}"),
            *(f"{each.healthy_after:.0f}", str(each.mismatches), str(each.lost)),
        )
    return shown


def _seconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f}"


def _document(seed: int, outcome: Outcome) -> str:
    findings = [{"flaw": finding.flaw, "sentence": finding.sentence} for finding in outcome.findings]
    return json.dumps({"seed": seed, **asdict(outcome), "findings": findings}, indent=2)


def main() -> int:
    stop_like_ctrl_c()
    chosen = options()
    messages = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        installation = find_installation()
    except NotInstalledError as error:
        messages.print(str(error))
        return NOT_INSTALLED
    if chosen.check:
        return 0
    if not PATRONI.exists():
        messages.print("missing: Patroni; make .failover/installed")
        return NOT_INSTALLED
    seed = secrets.randbelow(1_000_000) if chosen.seed is None else chosen.seed
    plan = Plan(seed, schedule(seed, chosen.rounds, chosen.faults), chosen.writers, chosen.subscribers)
    begun = monotonic()

    def watch(sentence: str) -> None:
        messages.print(f"{monotonic() - begun:5.0f} s  {sentence}")

    watch(f"seed {seed}; starting etcd, three nodes and two servers")
    with owned_folder(installation, chosen.keep) as folder:
        try:
            outcome = uvloop.run(run(plan, installation, folder, watch))
        except KeyboardInterrupt:
            messages.print("stopped")
            return 130
    if chosen.json:
        sys.stdout.write(_document(seed, outcome) + "\n")
    else:
        console = Console(width=None if sys.stdout.isatty() else 160)
        console.print(table(outcome.rounds))
        console.print(
            f"{outcome.acknowledged:,} changes acknowledged, {outcome.repeated:,} requests repeated, of which "
            f"{outcome.replayed:,} were answered with what was done before; {outcome.deliveries:,} diffs delivered in "
            f"{outcome.subscriptions:,} subscriptions; {outcome.reads:,} reads",
            highlight=False,
        )
    for finding in outcome.findings[:_SHOWN]:
        messages.print(str(finding), style="red")
    if outcome.findings:
        messages.print(f"{len(outcome.findings)} promises were broken. The same order again: --seed {seed}")
        return 1
    messages.print("Nothing acknowledged is lost or doubled, and each subscriber had each diff once.", style="green")
    return 0


if __name__ == "__main__":
    sys.exit(main())
