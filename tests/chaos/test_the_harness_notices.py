"""The harness itself: a feed that breaks a promise is caught, and the verdict names what it did.

The feeds are run three at a time: much of a run is waiting for what does not come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from graph.embedded_postgres.server import start_embedded_postgres
from tests.chaos.database import Postgres
from tests.chaos.harness import Outcome, Plan, run
from tests.chaos.mutant import Mutation, program
from tests.chaos.verdict import Flaw
from tests.support.fork_server import PROGRAM

# A machine that other tests keep busy may take seconds for a write; what a mutated feed leaves out never comes.
PLAN = Plan(
    seed=4, diffs=250, faults=(), writers=2, subscribers=8, servers=1, largest=20, batches=6, catch_up_timeout=10
)
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


UNMUTATED = "unmutated"
AT_ONCE = 3


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Outcome]:
    """Of each mutation by name, and of the feed as it is."""
    programs: dict[str, Sequence[str]] = {mutation: program(mutation) for mutation in Mutation}
    return asyncio.run(_run_all(programs | {UNMUTATED: PROGRAM}, tmp_path_factory))


async def _run_all(programs: Mapping[str, Sequence[str]], folders: pytest.TempPathFactory) -> Mapping[str, Outcome]:
    data = folders.mktemp("postgresql")
    life = await asyncio.to_thread(start_embedded_postgres, data, settings={"fsync": "off"})
    places = asyncio.Semaphore(AT_ONCE)
    postgres = Postgres(data, [life])

    async def run_one(name: str) -> Outcome:
        async with places:
            database = name.replace("-", "_")
            return await run(PLAN, postgres, folders.mktemp(database), name=database, program=programs[name])

    try:
        return dict(zip(programs, await asyncio.gather(*map(run_one, programs)), strict=True))
    finally:
        await asyncio.to_thread(life.stop)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("mutation", Mutation)
def test_a_feed_that_breaks_a_promise_is_caught(mutation: Mutation, outcomes: Mapping[str, Outcome]) -> None:
    findings = outcomes[mutation].findings
    assert NAMED[mutation] in {finding.flaw for finding in findings}, findings


@pytest.mark.timeout(240)
def test_a_feed_that_keeps_its_promises_is_not(outcomes: Mapping[str, Outcome]) -> None:
    assert not outcomes[UNMUTATED].findings
    assert outcomes[UNMUTATED].figures.deliveries > PLAN.diffs
