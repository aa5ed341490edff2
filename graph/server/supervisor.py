"""A run of a server of several processes. The first one, this, serves nothing: it binds the address, has the embedded
PostgreSQL, the schema, the demo, the declared namespaces and the processes that plan, accepts connections, and keeps as
many workers as there should be.

    SIGTERM, SIGINT     all workers finish the requests under way; a second one stops them at once
    SIGHUP              workers are replaced one after the other, with settings read anew; an old one stops once its
                        successor serves
    a worker ends       another is started, after a time that grows while they keep ending

Why so: docs/decisions/0034-workers.md.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Collection, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

from graph.auth.tokens import authentication
from graph.server.acceptor import WorkerAcceptor
from graph.server.composition import Progress, Shared, open_shared, open_writing
from graph.server.demo import load_demo
from graph.server.exposition import WORKER, Snapshot, Totals
from graph.server.namespace_sync import syncing_namespaces
from graph.server.process import CannotStart, ServerRun, added_documents, bound_socket, url_of
from graph.server.tracing import require_tracing
from graph.server.worker_pool import WorkerPool
from graph.server.worker_process import WorkerProcess, start_fork_server
from graph.settings import Settings, SettingsError
from persistence.errors import StoreUnavailable

FIXED: Final = (
    "host",
    "port",
    "workers",
    "plan_processes",
    "database_url",
    "data_dir",
    "wait_for_database_seconds",
    "demo",
)
"""Settings that only a new start changes."""

_FIRST_BACKOFF_SECONDS: Final = 0.5

_LONGEST_BACKOFF_SECONDS: Final = 30.0

_log = logging.getLogger(__name__)


class Supervisor(ServerRun):
    def __init__(
        self,
        settings: Settings,
        config: Path | None,
        reread: Callable[[], Settings],
        progress: Progress,
        announce: Callable[[str], None],
    ) -> None:
        super().__init__(progress)
        self._settings = settings
        self._config = config
        self._reread = reread
        self._announce = announce
        self._workers: _Workers | None = None
        self._stopped = asyncio.Event()

    async def _serve(self) -> None:
        settings = self._settings
        # For what is wrong with them to be reported before anything is started.
        authentication(settings)
        added_documents(settings)
        require_tracing(settings)
        async with AsyncExitStack() as stack:
            listener = bound_socket(settings.host, settings.port)
            stack.callback(listener.close)
            await asyncio.to_thread(start_fork_server)
            gc.enable()
            shared, pool = await stack.enter_async_context(open_shared(settings, self._progress))
            await self._prepare(stack, shared)
            acceptor = WorkerAcceptor(listener)
            stack.callback(acceptor.close)
            self._workers = workers = _Workers(settings, shared, pool, acceptor)
            stack.push_async_callback(workers.close)
            self._progress(f"Starting {settings.workers} workers")
            await workers.fill()
            acceptor.listen()
            self._announce(url_of(listener))
            await self._stopped.wait()
            acceptor.close()
            listener.close()

    async def _prepare(self, stack: AsyncExitStack, shared: Shared) -> None:
        """Demo and declared namespaces: once, not by each worker."""
        if not self._settings.loads_demo and self._config is None:
            return
        store, writer, strategies = await stack.enter_async_context(open_writing(shared))
        if self._settings.loads_demo:
            await load_demo(store, writer, self._progress)
        if self._config is not None:
            await stack.enter_async_context(syncing_namespaces(self._config, store.namespaces, writer, strategies))

    def _stop(self, task: asyncio.Task[None]) -> None:
        repeated, self._stopping = self._stopping, True
        if self._workers is None or not self._workers.complete:
            if not repeated:
                task.cancel()
        elif repeated:
            self._progress("Stopping at once")
            self._workers.stop_at_once()
        else:
            self._progress("Stopping; requests under way are finished")
            self._stopped.set()

    def _reload(self) -> None:
        if self._workers is None or not self._workers.complete or self._stopping:
            _log.warning("SIGHUP comes while workers start or stop, and changes nothing")
            return
        try:
            settings = self._reread()
        except SettingsError as error:
            _log.error("The settings cannot be used, so no worker is restarted: %s", error)
            return
        fixed = {name: getattr(self._settings, name) for name in FIXED}
        if changed := [name for name in FIXED if getattr(settings, name) != fixed[name]]:
            _log.warning("Only a new start changes %s", ", ".join(changed))
        self._workers.replace_all(settings.model_copy(update=fixed))


class _Slot:
    """A place for a worker."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.worker: WorkerProcess | None = None
        self.lock = asyncio.Lock()
        """Held while its worker is started or replaced."""
        self.backoff = 0.0


class _Workers:
    """All workers: as many as the settings have. Every task and process of it has ended once it is closed."""

    def __init__(self, settings: Settings, shared: Shared, pool: WorkerPool | None, acceptor: WorkerAcceptor) -> None:
        self.complete = False
        """Whether all of them have served."""
        self._settings = settings
        self._shared = shared
        self._pool = pool
        self._acceptor = acceptor
        self._slots = [_Slot(number) for number in range(1, settings.workers + 1)]
        self._alive: dict[WorkerProcess, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._forking = asyncio.Lock()
        self._replacing = asyncio.Lock()
        self._metrics = SupervisorMetrics(pool)

    async def fill(self) -> None:
        """Start a worker for each slot. Raises CannotStart."""
        starts = [self._spawn(self._refill(slot)) for slot in self._slots]
        await asyncio.gather(*starts)
        self.complete = True

    def replace_all(self, settings: Settings) -> None:
        """Replace one after the other; after those that are being replaced."""
        self._spawn(self._replace_all(settings))

    def stop_at_once(self) -> None:
        for worker in self._alive:
            self._spawn(worker.drain(replaced=False, at_once=True))

    async def close(self) -> None:
        """Drain all, and wait for their end."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        seconds = self._settings.drain_seconds
        await asyncio.gather(*(worker.drain(replaced=False, seconds=seconds) for worker in self._alive))
        await asyncio.gather(*self._alive.values(), *self._tasks, return_exceptions=True)

    # What workers call: worker_process.Host.
    async def run_job(self, job: Callable[..., Any], arguments: bytes) -> bytes:
        if self._pool is None:
            raise StoreUnavailable("there are no processes that plan")
        return await self._pool.relay(job, arguments)

    async def exposition(self) -> bytes:
        await asyncio.gather(*(worker.count() for worker in self._alive))
        return self._metrics.exposition(self._alive.keys())

    async def leaving(self, worker: WorkerProcess) -> None:
        slot = self._slot_of(worker)
        if slot is not None and not self._closing:
            _log.info("worker %d (process %s) was sent SIGTERM; it is replaced", worker.number, worker.process.pid)
            self._spawn(self._replace_one(slot))

    async def _refill(self, slot: _Slot) -> None:
        async with slot.lock:
            await self._start(slot)

    async def _start(self, slot: _Slot) -> None:
        """A worker that serves is in the slot, and is handed connections. Raises CannotStart; then nothing changes."""
        async with self._forking:
            worker = await WorkerProcess.fork(slot.number, self._settings, self._shared)
        self._alive[worker] = asyncio.create_task(self._follow(worker), name=f"omnirelay-worker-{slot.number}")
        await worker.until_it_serves()
        slot.worker = worker
        self._acceptor.add(worker.connections)
        _log.info("worker %d serves (process %s)", slot.number, worker.process.pid)

    async def _follow(self, worker: WorkerProcess) -> None:
        try:
            await worker.follow(self)
        finally:
            self._acceptor.remove(worker.connections)
            del self._alive[worker]
            self._metrics.end(worker)
            slot = self._slot_of(worker)
            if slot is not None:
                slot.worker = None
                if not self._closing:
                    self._spawn(self._revive(slot, worker))

    async def _revive(self, slot: _Slot, ended: WorkerProcess) -> None:
        """Start another until one serves."""
        if time.monotonic() - ended.serving_since > _LONGEST_BACKOFF_SECONDS:
            slot.backoff = 0.0
        _log.error("worker %d (process %s) %s; starting another", slot.number, ended.process.pid, ended.how)
        while True:
            await asyncio.sleep(slot.backoff)
            slot.backoff = min(max(_FIRST_BACKOFF_SECONDS, 2 * slot.backoff), _LONGEST_BACKOFF_SECONDS)
            async with slot.lock:
                if slot.worker is not None:
                    return
                try:
                    await self._start(slot)
                except CannotStart as error:
                    _log.error("worker %d does not start; trying again in %g s: %s", slot.number, slot.backoff, error)
                else:
                    return

    async def _replace_all(self, settings: Settings) -> None:
        async with self._replacing:
            before, self._settings = self._settings, settings
            for slot in self._slots:
                try:
                    await self._replace(slot)
                except CannotStart as error:
                    self._settings = before
                    _log.error("worker %d cannot be replaced, so workers go on as they are: %s", slot.number, error)
                    return
            _log.info("All workers have been replaced")

    async def _replace_one(self, slot: _Slot) -> None:
        try:
            await self._replace(slot)
        except CannotStart as error:
            _log.error("worker %d cannot be replaced, so it goes on: %s", slot.number, error)

    async def _replace(self, slot: _Slot) -> None:
        """Raises CannotStart; the one that serves goes on."""
        async with slot.lock:
            worker = slot.worker
            await self._start(slot)
            if worker is not None:
                self._acceptor.remove(worker.connections)
                await worker.drain(replaced=True, seconds=self._settings.drain_seconds)

    def _slot_of(self, worker: WorkerProcess) -> _Slot | None:
        """None for one that has a successor, or has never served."""
        return next((slot for slot in self._slots if slot.worker is worker), None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class SupervisorMetrics:
    """What is counted over workers and about them."""

    def __init__(self, pool: WorkerPool | None) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._jobs = Gauge(
            "omnirelay_plan_jobs",
            "Jobs that the processes that plan have, waiting ones among them.",
            registry=self._registry,
        )
        self._jobs.set_function(lambda: 0 if pool is None else pool.submitted)
        self._serving = Gauge("omnirelay_workers", "Workers that serve.", registry=self._registry)
        self._ended = Counter(
            "omnirelay_workers_ended",
            "Workers that have ended, by how (stopped, died).",
            ("how",),
            registry=self._registry,
        )
        self._totals = Totals()

    def end(self, worker: WorkerProcess) -> None:
        self._ended.labels("stopped" if worker.leaving else "died").inc()
        self._totals.end(worker.snapshot)

    def exposition(self, alive: Collection[WorkerProcess]) -> bytes:
        self._serving.set(sum(worker.serves and not worker.leaving for worker in alive))
        self._totals.leaving = [worker.snapshot for worker in alive if worker.leaving]
        self._totals.current = [self.own(), *(worker.snapshot for worker in alive if not worker.leaving)]
        return self._totals.exposition()

    def own(self) -> Snapshot:
        """What is about the workers, and this process."""
        families = list(self._registry.collect())
        for family in families:
            if family.name.startswith("process_"):
                family.samples = [it._replace(labels={**it.labels, WORKER: "supervisor"}) for it in family.samples]
        return families
