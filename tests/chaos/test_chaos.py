"""Every fault once, under writers and subscribers: a short run of what `make chaos` does at length."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.faults import FaultKind, schedule
from tests.chaos.harness import Plan, run, running_postgres
from tests.support.length import rounds

SEED = 11
DIFFS = rounds(20_000, 3_000)


@pytest.mark.timeout(240)
async def test_every_record_equals_history_through_every_fault(tmp_path: Path) -> None:
    faults = schedule(SEED, DIFFS, rounds=1)
    plan = Plan(SEED, DIFFS, faults, writers=8, subscribers=12, servers=2, events=3, nodes=2, largest=120, batches=30)
    async with running_postgres(tmp_path / "postgresql") as postgres:
        outcome = await run(plan, postgres, tmp_path)
    assert not outcome.findings, [str(finding) for finding in outcome.findings[:5]]
    assert {injected.fault.kind for injected in outcome.figures.injected} == set(FaultKind)
    assert outcome.figures.diffs >= DIFFS
    assert outcome.figures.epochs == 2
    assert outcome.figures.tampered
    assert outcome.figures.deliveries > DIFFS
