"""Clients, three servers and every fault once: a short run of what `make linearizability` does for two minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.harness import running_postgres
from tests.linearizability.faults import FaultKind, schedule
from tests.linearizability.harness import Plan, run
from tests.support.length import rounds

SEED = 5
SECONDS = rounds(120, 9)


@pytest.mark.timeout(300)
async def test_answers_are_what_was_promised_through_every_fault(tmp_path: Path) -> None:
    faults = schedule(SEED, SECONDS, rounds=rounds(4, 1))
    async with running_postgres(tmp_path / "postgresql") as postgres:
        outcome = await run(Plan(SEED, SECONDS, operations=200, faults=faults), postgres, tmp_path)
    assert not outcome.findings, "\n".join(str(finding) for finding in outcome.findings[:5])
    figures = outcome.figures
    assert set(figures.faults) == set(FaultKind)
    assert figures.acknowledged
    assert figures.refused
    assert figures.unknown, "no fault struck a write"
    assert all(figures.reads.values())


def test_a_seed_draws_the_same_faults() -> None:
    assert schedule(1, 60, 3) == schedule(1, 60, 3)
    assert schedule(1, 60, 3) != schedule(2, 60, 3)
    assert [fault.at for fault in schedule(1, 60, 3)] == sorted(fault.at for fault in schedule(1, 60, 3))
