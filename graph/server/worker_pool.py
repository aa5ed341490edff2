"""Processes beside the server's, for plans: what takes hundreds of milliseconds of a processor must not delay lookups.

Planning and applying a plan read, digest and encode thousands of shards in Python. In a thread of the server they share
the interpreter with its event loop: measured with 10,000 shards and 200 lookups a second, the p99 of these was 0.2 s,
and with a loop of its own in that thread far longer. A process shares nothing but the machine, at a lower priority
(`nice`).
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from multiprocessing.connection import Connection, wait
from threading import Thread, Timer
from typing import Any, Final, ParamSpec, Protocol, TypeAlias, TypeVar

from graph.server.packed_moves import pack_moves
from graph.server.plugins import discover
from persistence.commands.command import ChangeRequest, Command
from persistence.commands.plans import ApplyPlan, ApprovePlan, RollbackTarget
from persistence.errors import CommitUnknown, Overloaded, StoreError, StoreUnavailable
from persistence.model.outcomes import NotFound, Outcome
from persistence.model.records import ShardKey
from persistence.planning.explanation import Explanation
from persistence.planning.proposal import Proposal
from persistence.planning.scope import Narrowing
from persistence.planning.what_if import DrainPreflight, WhatIf
from persistence.ports.store import BulkStore, Store
from persistence.service.executor import CommandExecutor
from persistence.service.rebalancer import PlanRequest, Rebalancer
from persistence.tracing import NO_TRACING, Tracer
from strategies.registry import Registry

P = ParamSpec("P")

T = TypeVar("T")

OpenStore: TypeAlias = Callable[[], AbstractAsyncContextManager[BulkStore]]
"""Opens a store in a worker. Pickled when a worker is spawned."""

SHUTDOWN_SECONDS: Final = 5.0
"""How long a stopping server waits for jobs that run."""

SECONDS_UNTIL_WARM: Final = 3.0

WAITING_PER_PROCESS: Final = 8
"""Jobs that may wait for a process; each may take seconds."""

_NICE: Final = 10
"""A tenth of the share of what runs at the usual priority, where that wants all of a processor."""

pack_moves()


class Jobs(Protocol):
    """Takes jobs to processes that plan: those of this process, or those that it shares with others."""

    async def submit(self, job: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """`job`, a function of this module, in one of the processes.

        Raises what it raises; Overloaded, if too many wait already; and if the process ended meanwhile CommitUnknown,
        or StoreUnavailable for a job that commits nothing.
        """


class WorkerPool:
    """So many processes. Jobs, their arguments and their results are pickled."""

    def __init__(
        self,
        open_store: OpenStore,
        processes: int,
        *,
        timeout: float = SHUTDOWN_SECONDS,
        begin: Callable[[], None] | None = None,
    ) -> None:
        """`begin`, which is pickled, is called first in each process."""
        self._open_store = open_store
        self._processes = processes
        self._timeout = timeout
        self._begin = begin
        self._workers = _Workers(open_store, processes, begin)
        self.submitted = 0
        """Jobs that have not ended."""

    async def submit(self, job: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """As Jobs has it."""
        if named:
            raise TypeError("jobs take positional arguments only")
        return await self._submit(job, job, *arguments)

    async def relay(self, job: Callable[..., Any], arguments: bytes) -> bytes:
        """The same for another process: arguments and result are pickled, and are not read here."""
        return await self._submit(job, _pickled, job, arguments)

    async def _submit(self, job: Callable[..., Any], function: Callable[..., T], *arguments: Any) -> T:
        if self.submitted >= self._processes * (1 + WAITING_PER_PROCESS):
            raise Overloaded("the processes that plan have all they can do")
        self.submitted += 1
        try:
            return await self._result(job, function, *arguments)
        finally:
            self.submitted -= 1

    async def _result(self, job: Callable[..., Any], function: Callable[..., T], *arguments: Any) -> T:
        try:
            future = self._workers.submit(function, *arguments)
        except BrokenProcessPool:
            # A process ended while it was idle.
            self._replace(self._workers)
            future = self._workers.submit(function, *arguments)
        workers = self._workers
        try:
            return await asyncio.wrap_future(future)
        except BrokenProcessPool as error:
            self._replace(workers)
            raise _unanswered(job) from error

    async def shutdown(self) -> None:
        """Waits for the jobs that run, `timeout` seconds at most, then ends the processes."""
        await asyncio.to_thread(self._workers.shutdown, self._timeout)

    def _replace(self, broken: _Workers) -> None:
        """Once for all jobs that failed together. The executor has ended the other processes already."""
        if self._workers is broken:
            self._workers = _Workers(self._open_store, self._processes, self._begin)


class RelayedJobs:
    """Jobs of a process that shares the pool of another. `relay` calls `WorkerPool.relay` there; it raises
    ConnectionError if that process ends."""

    def __init__(self, relay: Callable[[Callable[..., Any], bytes], Awaitable[bytes]]) -> None:
        self._relay = relay

    async def submit(self, job: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """As Jobs has it."""
        if named:
            raise TypeError("jobs take positional arguments only")
        try:
            result = await self._relay(job, pickle.dumps(arguments, pickle.HIGHEST_PROTOCOL))
        except ConnectionError as error:
            raise _unanswered(job) from error
        answer: T = pickle.loads(result)  # noqa: S301 - of a process of this server
        return answer


def _unanswered(job: Callable[..., Any]) -> StoreError:
    if job in _COMMITTING:
        return CommitUnknown("the process that plans ended before it answered; whether the change was made is unknown")
    return StoreUnavailable("the process that plans ended before it answered; nothing was written")


class _Workers:
    """Processes that end when the write end of a pipe is closed, which they all hold the read end of: so they end with
    this process, however it ends, also when it is killed."""

    def __init__(self, open_store: OpenStore, processes: int, begin: Callable[[], None] | None) -> None:
        # Spawned, not forked: a fork would copy the server's threads' locks and its connections.
        context = multiprocessing.get_context("spawn")
        read_end, self._write_end = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(processes, context, initializer=_open, initargs=(open_store, read_end, begin))

    def submit(self, job: Callable[..., T], *arguments: Any) -> Future[T]:
        """Raises BrokenProcessPool if a process has ended since the last job.

        A new process may be started here. SIGINT must not end it before it ignores that.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self._pool.submit(job, *arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def shutdown(self, timeout: float) -> None:
        """Ends the processes once the jobs that run have ended, or after `timeout` seconds. Others are cancelled."""
        ending = Timer(timeout, self._write_end.close)
        ending.start()
        try:
            self._pool.shutdown(cancel_futures=True)
        finally:
            ending.cancel()
            ending.join()
            self._write_end.close()


@asynccontextmanager
async def open_worker_pool(
    open_store: OpenStore, processes: int, begin: Callable[[], None] | None = None
) -> AsyncIterator[WorkerPool]:
    """The processes are started after 3 s, ahead of the first plan: they take a second or two to load what they need,
    and the start of the server is not to share the machine with that."""
    pool = WorkerPool(open_store, processes, begin=begin)
    warming = asyncio.create_task(_warm_up(pool, processes), name="omnirelay-worker-pool")
    try:
        yield pool
    finally:
        warming.cancel()
        await pool.shutdown()
        await asyncio.gather(warming, return_exceptions=True)


async def _warm_up(pool: WorkerPool, processes: int) -> None:
    await asyncio.sleep(SECONDS_UNTIL_WARM)
    # At once, so that each goes to a process of its own: starting one under load is felt by every lookup.
    await asyncio.gather(*(pool.submit(ready) for _ in range(processes)))


class PooledWriter(CommandExecutor):
    """Applies and approves plans in the worker pool; every other change is made here.

    `arrived` and `note` are called with what was committed, here or there.
    """

    def __init__(
        self,
        store: Store,
        strategies: Registry,
        pool: Jobs,
        note: Callable[[Outcome], None],
        arrived: Callable[[Outcome], Awaitable[None]],
        tracer: Tracer = NO_TRACING,
    ) -> None:
        super().__init__(
            store.unit_of_work,
            strategies,
            refusals=store.refusals,
            note=note,
            arrived=arrived,
            group=store.change_group,
            tracer=tracer,
        )
        self._pool = pool

    async def execute(self, command: Command) -> Outcome:
        if not isinstance(command, ApplyPlan | ApprovePlan):
            return await super().execute(command)
        with self._tracer.span("commit", kind=command.kind.value):
            outcome = await self._pool.submit(decide_on_plan, command)
        await self._noted(outcome)
        return outcome

    async def foresee(self, command: Command) -> Outcome | None:
        if not isinstance(command, ApplyPlan | ApprovePlan):
            return await super().foresee(command)
        return await self._pool.submit(foresee_plan, command)


class PooledRebalancer(Rebalancer):
    """All of it in the worker pool."""

    def __init__(self, pool: Jobs, tracer: Tracer = NO_TRACING) -> None:
        self._pool = pool
        self._tracer = tracer

    async def simulate(self, request: PlanRequest, what_if: WhatIf) -> Proposal | NotFound:
        return await self._pool.submit(simulate, request, what_if)

    async def plan(self, request: PlanRequest, change: ChangeRequest) -> Outcome:
        with self._tracer.span("plan"):
            return await self._pool.submit(plan, request, change)

    async def roll_back(self, target: RollbackTarget, request: PlanRequest, change: ChangeRequest) -> Outcome:
        with self._tracer.span("plan"):
            return await self._pool.submit(roll_back, target, request, change)

    async def explain(self, key: ShardKey) -> Explanation | NotFound:
        return await self._pool.submit(explain, key)

    async def preflight(self, nodes: Narrowing) -> DrainPreflight | NotFound:
        return await self._pool.submit(preflight, nodes)


# From here on everything runs in the workers.
class _WorkerState:
    """What a worker holds open for all its jobs. It ends with the process."""

    def __init__(self, open_store: OpenStore) -> None:
        self._loop = asyncio.new_event_loop()
        strategies = Registry(discover())
        store = self.run(AsyncExitStack().enter_async_context(open_store()))
        self.writer = CommandExecutor(store.unit_of_work, strategies, refusals=store.refusals)
        self.rebalancer = Rebalancer(store, self.writer, strategies)

    def run(self, job: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(job)


_worker_states: Final[list[_WorkerState]] = []


def _open(open_store: OpenStore, read_end: Connection, begin: Callable[[], None] | None) -> None:
    # SIGINT goes to every process of a terminal; the server decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICE)
    if begin is not None:
        begin()
    Thread(target=_end_with, args=(read_end,), daemon=True).start()
    _worker_states.append(_WorkerState(open_store))


def _end_with(read_end: Connection) -> None:
    """Nothing is ever sent through it: it becomes readable when the write end is closed."""
    wait([read_end])
    os._exit(1)


def ready() -> None:
    """Returns once the worker is up."""


def _pickled(job: Callable[..., Any], arguments: bytes) -> bytes:
    return pickle.dumps(job(*pickle.loads(arguments)), pickle.HIGHEST_PROTOCOL)  # noqa: S301 - of a process of this server


def decide_on_plan(command: ApplyPlan | ApprovePlan) -> Outcome:
    (state,) = _worker_states
    return state.run(state.writer.execute(command))


def foresee_plan(command: ApplyPlan | ApprovePlan) -> Outcome | None:
    (state,) = _worker_states
    return state.run(state.writer.foresee(command))


def plan(request: PlanRequest, change: ChangeRequest) -> Outcome:
    (state,) = _worker_states
    return state.run(state.rebalancer.plan(request, change))


def roll_back(target: RollbackTarget, request: PlanRequest, change: ChangeRequest) -> Outcome:
    (state,) = _worker_states
    return state.run(state.rebalancer.roll_back(target, request, change))


def simulate(request: PlanRequest, what_if: WhatIf) -> Proposal | NotFound:
    (state,) = _worker_states
    return state.run(state.rebalancer.simulate(request, what_if))


def explain(key: ShardKey) -> Explanation | NotFound:
    (state,) = _worker_states
    return state.run(state.rebalancer.explain(key))


def preflight(nodes: Narrowing) -> DrainPreflight | NotFound:
    (state,) = _worker_states
    return state.run(state.rebalancer.preflight(nodes))


_COMMITTING: Final[frozenset[Callable[..., Any]]] = frozenset({decide_on_plan, plan, roll_back})
"""Jobs that may have committed although no result of them arrived."""
