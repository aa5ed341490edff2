"""The harness itself: a server that breaks a promise is found out, by the answers alone or by history."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from graph.embedded_postgres.server import start_embedded_postgres
from tests.chaos.database import Postgres
from tests.linearizability.comparison import Flaw
from tests.linearizability.harness import Outcome, Plan, run
from tests.linearizability.mutant import Mutation, program
from tests.support.fork_server import PROGRAM
from tests.support.length import rounds

PLAN = Plan(seed=5, seconds=0, operations=rounds(400, 250), clients=6, shards=3, servers=rounds(2, 1))
NAMED = {
    Mutation.OLD_SNAPSHOT: {Flaw.SERVER_VIEW, Flaw.WENT_BACK},
    Mutation.NOT_COMMITTED: {Flaw.NOT_LINEARIZABLE, Flaw.LOST_WRITE},
    Mutation.UNTRUE_ERROR: {Flaw.NOT_LINEARIZABLE, Flaw.UNTRUE_ERROR},
    Mutation.LAST_WRITER_WINS: {Flaw.NOT_LINEARIZABLE},
    Mutation.LATE_REPLICA: {Flaw.NOT_LINEARIZABLE, Flaw.SESSION_VIEW, Flaw.STALE},
    Mutation.OWN_WRITES_FORGOTTEN: {Flaw.SERVER_VIEW, Flaw.WENT_BACK},
}
MUTATIONS = list(Mutation)[: rounds(len(Mutation), 1)]
"""Of these, the first three need one server only."""

UNMUTATED = "unmutated"
AT_ONCE = 2


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Outcome]:
    """Of each mutation by name, and of the servers as they are."""
    programs: dict[str, Sequence[str]] = {mutation: program(mutation) for mutation in MUTATIONS}
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
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_server_that_breaks_a_promise_is_found_out(mutation: Mutation, outcomes: Mapping[str, Outcome]) -> None:
    findings = outcomes[mutation].findings
    assert {finding.flaw for finding in findings} >= NAMED[mutation], [str(finding) for finding in findings]


@pytest.mark.timeout(240)
def test_a_server_that_keeps_its_promises_is_not(outcomes: Mapping[str, Outcome]) -> None:
    assert not outcomes[UNMUTATED].findings
    assert outcomes[UNMUTATED].figures.acknowledged
