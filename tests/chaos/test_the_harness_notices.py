"""The harness itself: a feed that breaks a promise is caught, and the verdict names what it did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from graph.embedded_postgres import start_embedded_postgres
from tests.chaos.database import Postgres
from tests.chaos.harness import Plan, run
from tests.chaos.mutant import Mutation, program
from tests.chaos.servers import PROGRAM
from tests.chaos.verdict import Flaw

PLAN = Plan(seed=4, diffs=250, faults=(), writers=2, subscribers=8, servers=1, largest=20, batches=6, patience=3)
NAMED = {
    Mutation.SKIP_REVISION: Flaw.MISSING,
    Mutation.SWAP_TWO: Flaw.OUT_OF_ORDER,
    Mutation.DOUBLE_BATCH: Flaw.DOUBLE,
    Mutation.DROP_CATCH_UP: Flaw.MISSING,
    Mutation.RESUME_LATE: Flaw.MISSING,
    Mutation.RESUME_EARLY: Flaw.DOUBLE,
    Mutation.IGNORE_DEPARTURES: Flaw.MISSING,
    Mutation.MIX_UP: Flaw.ALTERED,
}


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    folder = tmp_path_factory.mktemp("postgresql")
    life = start_embedded_postgres(folder, settings={"fsync": "off"})
    try:
        yield Postgres(folder, [life])
    finally:
        life.stop()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mutation", Mutation)
async def test_a_feed_that_breaks_a_promise_is_caught(mutation: Mutation, postgres: Postgres, tmp_path: Path) -> None:
    name = mutation.replace("-", "_")
    outcome = await run(PLAN, postgres, tmp_path, name=name, program=program(mutation))
    assert NAMED[mutation] in {finding.flaw for finding in outcome.findings}, outcome.findings


@pytest.mark.timeout(180)
async def test_a_feed_that_keeps_its_promises_is_not(postgres: Postgres, tmp_path: Path) -> None:
    outcome = await run(PLAN, postgres, tmp_path, name="unmutated", program=PROGRAM)
    assert not outcome.findings
    assert outcome.figures.deliveries > PLAN.diffs
