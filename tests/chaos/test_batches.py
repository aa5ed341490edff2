"""Servers and PostgreSQL killed, and servers frozen, in the middle of batches: a short run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.batches import Blow, Plan, run
from tests.chaos.harness import running_postgres
from tests.support.length import rounds


@pytest.mark.timeout(240)
async def test_what_is_acknowledged_is_recorded_whatever_dies_in_the_middle_of_a_batch(tmp_path: Path) -> None:
    times = rounds(10, 1)
    plan = Plan(seed=5, blows=dict.fromkeys(Blow, times) | {Blow.BULK: 1}, bulk=1_000)
    async with running_postgres(tmp_path / "postgresql") as postgres:
        outcome = await run(plan, postgres, tmp_path)
    assert not outcome.findings, [str(finding) for finding in outcome.findings[:5]]
    assert outcome.changes > 5 * times * len(Blow)
    assert outcome.asked_again == outcome.changes
    assert outcome.repeated
    assert len(outcome.waits[Blow.SERVER_FROZEN]) == times
    # By far less than the timeouts of locks and of idle transactions: they do not wait for the frozen one.
    assert max(outcome.waits[Blow.SERVER_FROZEN]) < 5
