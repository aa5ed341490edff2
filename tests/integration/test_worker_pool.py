"""Plans made in processes of their own: the same answers, and processes that come and go as they should."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import IO, Any

import pytest

from graph.server.worker_pool import PooledRebalancer, PooledWriter, WorkerPool, open_worker_pool
from persistence.commands.plans import ApplyPlan, ApprovePlan, RollbackTarget
from persistence.errors import CommitUnknown, FieldError, FutureCursor, InvalidArgument, Overloaded, StoreUnavailable
from persistence.model.outcomes import NotFound, Outcome, PlanApplied, PlanChanged, PlanClosed, PlanProposed
from persistence.model.records import ShardKey
from persistence.planning.planner import PlacementImpossible
from persistence.planning.scope import Narrowing
from persistence.planning.what_if import WhatIf
from persistence.postgres.store import open_bulk_store, open_store
from persistence.service.rebalancer import PlanRequest
from strategies.registry import Registry
from tests.support.fork_server import ROOT
from tests.support.mesh import BILLING, CHANGE, because
from tests.support.planned_mesh import PlannedMesh


@pytest.fixture
async def mesh(database_url: str) -> AsyncIterator[PlannedMesh]:
    """Two nodes, one of which owns all of twelve shards."""
    async with open_store(database_url) as store:
        mesh = PlannedMesh(store)
        await mesh.configure()
        await mesh.registered("node-a", "node-b")
        await mesh.filled(12)
        yield mesh


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[WorkerPool]:
    async with open_worker_pool(partial(open_bulk_store, database_url), 2) as pool:
        yield pool


@pytest.fixture
def rebalancer(pool: WorkerPool) -> PooledRebalancer:
    return PooledRebalancer(pool)


async def test_questions_are_answered_as_without_it(mesh: PlannedMesh, rebalancer: PooledRebalancer) -> None:
    key = ShardKey(BILLING, "s0000")
    lost = ShardKey(BILLING, "lost")
    simulated = await rebalancer.simulate(PlanRequest(), WhatIf())
    assert simulated == await mesh.rebalancer.simulate(PlanRequest(), WhatIf())
    assert not isinstance(simulated, NotFound)
    assert simulated.moves
    assert await rebalancer.explain(key) == await mesh.rebalancer.explain(key)
    assert await rebalancer.explain(lost) == NotFound(shards=(lost,))
    vacated = Narrowing(("node-a",))
    assert await rebalancer.preflight(vacated) == await mesh.rebalancer.preflight(vacated)


async def test_a_plan_is_kept_and_applied_and_seen_from_here(
    mesh: PlannedMesh, pool: WorkerPool, rebalancer: PooledRebalancer
) -> None:
    heard: list[tuple[str, Outcome]] = []

    async def arrived(outcome: Outcome) -> None:
        heard.append(("arrived", outcome))

    def note(outcome: Outcome) -> None:
        heard.append(("noted", outcome))

    writer = PooledWriter(mesh.store, Registry(), pool, note, arrived)
    proposed = await rebalancer.plan(PlanRequest(), CHANGE)
    assert isinstance(proposed, PlanProposed)
    assert await mesh.plan() == replace(proposed, replayed=True)
    moves = (await mesh.proposal(proposed.plan)).moves
    approved = await writer.execute(ApprovePlan(proposed.plan.id, CHANGE))
    assert isinstance(approved, PlanChanged)
    applied = await writer.execute(ApplyPlan(proposed.plan.id, CHANGE))
    assert isinstance(applied, PlanApplied)
    assert applied.change == (await mesh.changes())[-1]
    assert heard[-2:] == [("arrived", applied), ("noted", applied)]
    table = await mesh.table()
    assert {table[move.key].owner_node_id for move in moves} == {"node-b"}
    assert await writer.execute(ApplyPlan(proposed.plan.id, because("once more"))) == PlanClosed(applied.plan)
    back = await rebalancer.roll_back(RollbackTarget(change_id=applied.change.id), PlanRequest(), CHANGE)
    assert isinstance(back, PlanProposed)
    assert await mesh.roll_back(change_id=applied.change.id) == replace(back, replayed=True)
    assert [move.key for move in (await mesh.proposal(back.plan)).moves] == sorted(move.key for move in moves)


async def test_what_is_refused_is_refused_with_its_fields(
    mesh: PlannedMesh, pool: WorkerPool, rebalancer: PooledRebalancer
) -> None:
    with pytest.raises(InvalidArgument) as invalid:
        await rebalancer.simulate(PlanRequest([], 0), WhatIf())
    assert [error.field for error in invalid.value.errors] == ["namespaces", "maxMoves"]
    writer = PooledWriter(mesh.store, Registry(), pool, _unnoted, _unawaited)
    with pytest.raises(InvalidArgument) as invalid:
        await writer.execute(ApplyPlan("x", CHANGE))
    assert invalid.value.errors == (FieldError("planId", "must be the id of a plan: 32 hex digits"),)
    with pytest.raises(FutureCursor) as future:
        await rebalancer.roll_back(RollbackTarget(since_revision=99), PlanRequest(), CHANGE)
    assert (future.value.requested, future.value.head) == (99, 12)
    await mesh.configure(parameters={"selector": "disk=ssd"}, expected=1)
    with pytest.raises(PlacementImpossible) as expected:
        await mesh.rebalancer.plan(PlanRequest(), CHANGE)
    with pytest.raises(PlacementImpossible) as impossible:
        await rebalancer.plan(PlanRequest(), CHANGE)
    assert impossible.value.violations == expected.value.violations
    assert str(impossible.value) == str(expected.value)


async def test_a_process_that_is_killed_at_work_costs_what_it_was_doing_and_no_more(
    mesh: PlannedMesh, pool: WorkerPool, rebalancer: PooledRebalancer
) -> None:
    with pytest.raises(StoreUnavailable, match="ended before it answered; nothing was written"):
        await pool.submit(signal.raise_signal, signal.SIGKILL)
    assert await rebalancer.explain(ShardKey(BILLING, "s0000")) == await mesh.rebalancer.explain(
        ShardKey(BILLING, "s0000")
    )


async def test_what_a_killed_process_may_have_committed_is_unknown(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.server.worker_pool._COMMITTING", frozenset({signal.raise_signal}))
    with pytest.raises(CommitUnknown, match="whether the change was made is unknown"):
        await pool.submit(signal.raise_signal, signal.SIGKILL)


async def test_no_more_jobs_wait_than_can_be_done_soon(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graph.server.worker_pool.WAITING_PER_PROCESS", 1)
    async with open_worker_pool(partial(open_bulk_store, database_url), 1) as pool:
        jobs = [asyncio.create_task(pool.submit(os.getpid)) for _ in range(3)]
        with pytest.raises(Overloaded, match="have all they can do"):
            await jobs[2]
        assert await jobs[0] == await jobs[1] == await pool.submit(os.getpid)


async def test_a_process_that_is_killed_while_it_waits_costs_nothing(pool: WorkerPool) -> None:
    idle = await pool.submit(os.getpid)
    executor: Any = pool._workers._pool  # noqa: SLF001 - nothing else says when the death was noticed
    watching = executor._executor_manager_thread  # noqa: SLF001 - see above
    os.kill(idle, signal.SIGKILL)
    await asyncio.to_thread(watching.join)
    assert await pool.submit(os.getpid) != idle


async def test_work_that_does_not_end_does_not_keep_the_server_from_stopping(database_url: str) -> None:
    pool = WorkerPool(partial(open_bulk_store, database_url), 2, timeout=0)
    await pool.submit(os.getpid)
    endless = asyncio.create_task(pool.submit(time.sleep, 3600))
    await asyncio.sleep(0)  # it is handed over
    await asyncio.wait_for(pool.shutdown(), 30)
    # Handed over, but perhaps not begun: then it is given up.
    with pytest.raises((StoreUnavailable, asyncio.CancelledError)):
        await endless


@contextmanager
def parent(database_url: str) -> Iterator[subprocess.Popen[str]]:
    """`worker_pool_parent.py` in a process group of its own."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-m", "tests.support.worker_pool_parent", database_url],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):  # all have ended, and were waited for
                os.killpg(process.pid, signal.SIGKILL)


def line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().strip()


def test_ctrl_c_leaves_them_to_the_server(database_url: str) -> None:
    with parent(database_url) as server:
        assert line(server.stdout) == "open"
        os.killpg(server.pid, signal.SIGINT)  # while the first one is being started
        first = line(server.stdout)
        assert first.isdecimal(), server.stderr and server.stderr.read()
        os.killpg(server.pid, signal.SIGINT)
        assert line(server.stdout) == first


def test_they_end_with_a_server_that_is_killed(database_url: str) -> None:
    with parent(database_url) as server:
        assert line(server.stdout) == "open"
        server.send_signal(signal.SIGINT)
        assert line(server.stdout).isdecimal()
        server.kill()
        # At its end once no process is left that could write to it.
        assert server.communicate(timeout=30)[0] == ""


def _unnoted(_outcome: Outcome) -> None:
    """There is no replica here that would have to hear of it."""


async def _unawaited(_outcome: Outcome) -> None:
    """Nor would have to receive it."""
