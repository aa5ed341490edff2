"""A process beside the server's, for plans: what takes a plan hundreds of milliseconds must not hold up lookups.

Planning and applying a plan read, digest and encode thousands of shards in Python. In a thread of the server they share
the interpreter with its event loop: measured with 10,000 shards and 200 lookups a second, the slowest hundredth of
these waited 0.2 s, and with a loop of its own in that thread far longer. A process shares nothing but the machine, and
it steps back for the server (`nice`).
"""

from __future__ import annotations

import asyncio
import copyreg
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import fields
from multiprocessing.connection import Connection, wait
from operator import attrgetter
from threading import Thread, Timer
from typing import Any, Final, ParamSpec, TypeVar

from graph.server.plugins import discover
from persistence.commands.command import ChangeRequest, Command
from persistence.commands.plans import ApplyPlan, ApprovePlan, RollbackTarget
from persistence.errors import CommitUnknown, Overloaded, StoreUnavailable
from persistence.model.outcomes import NotFound, Outcome
from persistence.model.records import ShardKey
from persistence.planning.explanation import Explanation
from persistence.planning.proposal import Move, Proposal
from persistence.planning.what_if import DrainPreflight, WhatIf
from persistence.ports import BulkStore, Refusals, UnitOfWorkFactory
from persistence.postgres.database import Fence, SharedWord
from persistence.postgres.store import open_bulk_store
from persistence.service.executor import CommandExecutor
from persistence.service.rebalancer import PlanRequest, Rebalancer
from strategies.registry import Registry

P = ParamSpec("P")

T = TypeVar("T")

TIMEOUT_SECONDS: Final = 5.0
"""Seconds that a stopping server waits for what is under way in them."""

SECONDS_UNTIL_WARM: Final = 3.0

WAITING_PER_PROCESS: Final = 8
"""Jobs that may wait for a process. They take it up to seconds each."""

_NICE: Final = 5

# Thousands of these come back. Member by member, as a dataclass is pickled, they would take twice as long and more.
_members_of: Final = attrgetter(*(member.name for member in fields(Move)))

copyreg.pickle(Move, lambda move: (Move, _members_of(move)))


class WorkerPool:
    """The processes. What they are given and give back is pickled.

    `seen` is the word of the fence that they share with the server.
    """

    def __init__(
        self,
        database_url: str,
        processes: int,
        *,
        patience: float = TIMEOUT_SECONDS,
        seen: SharedWord | None = None,
    ) -> None:
        self._processes = processes
        self._patience = patience
        self._opening = (database_url, seen)
        self._crew = _Workers(processes, self._opening)
        self._under_way = 0

    async def do(self, job: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """`job`, a function of this module, in one of the processes.

        Raises what it raises; Overloaded, if too many wait already; and if the process ended meanwhile CommitUnknown,
        or StoreUnavailable for a job that commits nothing.
        """
        if named:
            raise TypeError("jobs take positional arguments only")
        if self._under_way >= self._processes * (1 + WAITING_PER_PROCESS):
            raise Overloaded("the processes that plan have all they can do")
        self._under_way += 1
        try:
            return await self._done(job, *arguments)
        finally:
            self._under_way -= 1

    async def _done(self, job: Callable[..., T], *arguments: Any) -> T:
        try:
            future = self._crew.submit(job, *arguments)
        except BrokenProcessPool:
            # A process ended while nobody waited for it.
            self._replace(self._crew)
            future = self._crew.submit(job, *arguments)
        crew = self._crew
        try:
            return await asyncio.wrap_future(future)
        except BrokenProcessPool as error:
            self._replace(crew)
            if job in _COMMITTING:
                raise CommitUnknown(
                    "the process that plans ended before it answered; whether the change was made is unknown"
                ) from error
            raise StoreUnavailable("the process that plans ended before it answered; nothing was written") from error

    async def close(self) -> None:
        """Waits a moment for what is under way, then ends it: whoever asked for it is gone."""
        await asyncio.to_thread(self._crew.dismiss, self._patience)

    def _replace(self, broken: _Workers) -> None:
        """Once for all the jobs that were broken off together. What was left of its processes has been ended."""
        if self._crew is broken:
            self._crew = _Workers(self._processes, self._opening)


_Opening = tuple[str, SharedWord | None]


class _Workers:
    """One pool of processes, and what ends them: they all watch a pipe for its other end to be closed. That happens
    when this process ends, however it ends, for a server that was killed leaves nobody to tell them to stop."""

    def __init__(self, processes: int, opening: _Opening) -> None:
        # Spawned, not forked: a fork would copy the server's threads' locks and its connections.
        context = multiprocessing.get_context("spawn")
        watched, self._held = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(processes, context, initializer=_open, initargs=(*opening, watched))

    def submit(self, job: Callable[..., T], *arguments: Any) -> Future[T]:
        """Raises BrokenProcessPool if a process has ended since the last job.

        A new process may be started here. Ctrl-C must not end it before it gets to ignoring that.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self._pool.submit(job, *arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def dismiss(self, patience: float) -> None:
        """Ends the processes once they have done what is under way, or after so many seconds."""
        ending = Timer(patience, self._held.close)
        ending.start()
        try:
            self._pool.shutdown(cancel_futures=True)
        finally:
            ending.cancel()
            ending.join()
            self._held.close()


@asynccontextmanager
async def open_worker_pool(
    database_url: str, processes: int, *, seen: SharedWord | None = None
) -> AsyncIterator[WorkerPool]:
    """The processes are started a moment later, so that the first plan finds them: they take a second or two to load
    what they need, which the server's own start should not have to share the machine with."""
    workshop = WorkerPool(database_url, processes, seen=seen)
    warming = asyncio.create_task(_warm_up(workshop, processes), name="omnirelay-workshop")
    try:
        yield workshop
    finally:
        warming.cancel()
        await workshop.close()
        await asyncio.gather(warming, return_exceptions=True)


async def _warm_up(workshop: WorkerPool, processes: int) -> None:
    await asyncio.sleep(SECONDS_UNTIL_WARM)
    # Asked for at once, so that each goes to a process of its own: starting one under load is felt by every lookup.
    await asyncio.gather(*(workshop.do(ready) for _ in range(processes)))


class PooledWriter(CommandExecutor):
    """Applies and approves plans in the workshop; every other change is made here.

    `note` is called with what was committed, here or there.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        refusals: Refusals,
        strategies: Registry,
        workshop: WorkerPool,
        note: Callable[[Outcome], None],
    ) -> None:
        super().__init__(unit_of_work, strategies, refusals=refusals, note=note)
        self._workshop = workshop

    async def execute(self, command: Command) -> Outcome:
        if not isinstance(command, ApplyPlan | ApprovePlan):
            return await super().execute(command)
        outcome = await self._workshop.do(decide_on_plan, command)
        self._note(outcome)
        return outcome


class PooledRebalancer(Rebalancer):
    """All of it in the workshop."""

    def __init__(self, workshop: WorkerPool) -> None:
        self._workshop = workshop

    async def simulate(self, request: PlanRequest, what_if: WhatIf) -> Proposal | NotFound:
        return await self._workshop.do(simulate, request, what_if)

    async def plan(self, request: PlanRequest, change: ChangeRequest) -> Outcome:
        return await self._workshop.do(plan, request, change)

    async def roll_back(self, target: RollbackTarget, request: PlanRequest, change: ChangeRequest) -> Outcome:
        return await self._workshop.do(roll_back, target, request, change)

    async def explain(self, key: ShardKey) -> Explanation | NotFound:
        return await self._workshop.do(explain, key)

    async def preflight(self, node_id: str) -> DrainPreflight | NotFound:
        return await self._workshop.do(preflight, node_id)


# From here on everything runs in the workshop's processes.
class _WorkerState:
    """What one of the processes holds open for all its jobs. It ends with the process."""

    def __init__(self, database_url: str, seen: SharedWord | None) -> None:
        self._loop = asyncio.new_event_loop()
        strategies = Registry(discover())
        opening = open_bulk_store(database_url, fence=Fence(seen))
        store: BulkStore = self.run(AsyncExitStack().enter_async_context(opening))
        self.writer = CommandExecutor(store.unit_of_work, strategies, refusals=store.refusals)
        self.rebalancer = Rebalancer(store, self.writer, strategies)

    def run(self, job: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(job)


_worker_states: Final[list[_WorkerState]] = []


def _open(database_url: str, seen: SharedWord | None, watched: Connection) -> None:
    # Ctrl-C goes to every process of a terminal; the server decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICE)
    Thread(target=_end_with, args=(watched,), daemon=True).start()
    _worker_states.append(_WorkerState(database_url, seen))


def _end_with(watched: Connection) -> None:
    """Nothing is ever sent through it."""
    wait([watched])
    os._exit(1)


def ready() -> None:
    """Answers once the process is up."""


def decide_on_plan(command: ApplyPlan | ApprovePlan) -> Outcome:
    (bench,) = _worker_states
    return bench.run(bench.writer.execute(command))


def plan(request: PlanRequest, change: ChangeRequest) -> Outcome:
    (bench,) = _worker_states
    return bench.run(bench.rebalancer.plan(request, change))


def roll_back(target: RollbackTarget, request: PlanRequest, change: ChangeRequest) -> Outcome:
    (bench,) = _worker_states
    return bench.run(bench.rebalancer.roll_back(target, request, change))


def simulate(request: PlanRequest, what_if: WhatIf) -> Proposal | NotFound:
    (bench,) = _worker_states
    return bench.run(bench.rebalancer.simulate(request, what_if))


def explain(key: ShardKey) -> Explanation | NotFound:
    (bench,) = _worker_states
    return bench.run(bench.rebalancer.explain(key))


def preflight(node_id: str) -> DrainPreflight | NotFound:
    (bench,) = _worker_states
    return bench.run(bench.rebalancer.preflight(node_id))


_COMMITTING: Final[frozenset[Callable[..., Any]]] = frozenset({decide_on_plan, plan, roll_back})
"""Jobs that may have been carried out although nothing was heard of them."""
