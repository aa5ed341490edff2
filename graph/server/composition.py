"""The composition root: the one place that names the engine, and the order in which a process opens its services.

Commands that work on the database without a server call it here, too. What only they need is imported by the functions
at the end, when they are called.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import stamina

import migrations
from graph.embedded_postgres.server import EmbeddedPostgres, EmbeddedPostgresError, start_embedded_postgres
from graph.execution.services import Services
from graph.logs import log_to_stderr
from graph.server.audit_export import ProcessExporter
from graph.server.plugins import discover
from graph.server.replica_memory import replica_limits
from graph.server.tracing import open_tracer
from graph.server.worker_pool import Jobs, PooledRebalancer, PooledWriter, WorkerPool, open_worker_pool
from graph.settings import Settings
from persistence.errors import StoreUnavailable, Unavailable
from persistence.feed.live import LiveFeed, live_feed
from persistence.feed.tailer import FeedLimits
from persistence.ports.store import Store
from persistence.postgres.database import Fence, SharedWord
from persistence.postgres.driver import connect
from persistence.postgres.store import open_bulk_store, open_store
from persistence.replica.reader import ReplicaShards, ReplicaTotals
from persistence.replica.replica import Replica, following
from persistence.service.executor import CommandExecutor
from persistence.service.rebalancer import Rebalancer
from persistence.tracing import Tracer
from strategies.registry import Registry

if TYPE_CHECKING:
    from persistence.audit.checkpoints import Checkpoint, Verdict
    from persistence.audit.compliance import CheckFilter, Report
    from persistence.audit.export import ExportFilter, ExportForm, Manifest, Write
    from persistence.ports.writes import Retention

Progress = Callable[[str], None]
"""Called with each step, in a few words."""

CountedProgress = Callable[[int, int], None]
"""Called with how much is done, and how much there is."""

_LOOK_SECONDS: Final = 0.5
"""Between two looks at whether the embedded PostgreSQL runs."""

_FIRST_BACKOFF_SECONDS: Final = 0.5

_LONGEST_BACKOFF_SECONDS: Final = 5.0

_LEAST_CONNECTIONS: Final = 100
"""PostgreSQL's default."""

_SPARE_CONNECTIONS: Final = 20

_FREE_CONNECTIONS: Final = 2
"""For reading, that lookups leave to the feed where they are not answered from memory."""

_log = logging.getLogger(__name__)


def connections_of(settings: Settings) -> int:
    """How many connections to the database a server opens at most: one worker more than there are while they are
    restarted, and the supervisor's own."""
    for_plans = 3 * settings.plan_processes
    each = settings.read_connections + settings.write_connections + 2
    return for_plans + (each if settings.workers == 1 else (settings.workers + 1) * each + 4)


@asynccontextmanager
async def open_database(settings: Settings, progress: Progress, *, create: bool) -> AsyncIterator[str]:
    """The URL of the database: the one configured, which may not be up, or an embedded one, which this process starts
    and uses until the context ends; `create`: whether one is made where there is none.

    Cancelled at any point, it leaves no PostgreSQL behind that only this process used. Raises EmbeddedPostgresError.
    """
    if settings.database_url is not None:
        yield settings.database_url
        return
    limits = {"max_connections": str(max(_LEAST_CONNECTIONS, connections_of(settings) + _SPARE_CONNECTIONS))}
    given_up = threading.Event()
    start = partial(
        start_embedded_postgres,
        settings.data_dir,
        settings=limits,
        create=create,
        starting=lambda: progress(f"Starting PostgreSQL in {settings.data_dir}"),
        abandoned=given_up.is_set,
    )
    loop = asyncio.get_running_loop()
    starting = loop.run_in_executor(None, start)
    cancelled = await _wait_for(starting, given_up.set)
    if cancelled and starting.exception() is not None:
        raise asyncio.CancelledError
    server = starting.result()
    try:
        if cancelled:
            raise asyncio.CancelledError
        watching = asyncio.create_task(_supervise(server), name="omnirelay-embedded-postgres")
        try:
            yield server.url
        finally:
            watching.cancel()
            await _wait_for(watching)
    finally:
        stopping = loop.run_in_executor(None, server.stop, lambda: progress("Stopping PostgreSQL"))
        cancelled = await _wait_for(stopping)
        stopping.result()
        if cancelled:
            raise asyncio.CancelledError


async def _wait_for(future: asyncio.Future[Any], cancelled: Callable[[], None] = lambda: None) -> bool:
    """Until it is done, however often the waiting task is cancelled; whether it was. A thread cannot be interrupted:
    left alone, it would start a server that nothing stops."""
    was_cancelled = False
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            was_cancelled = True
            cancelled()
    return was_cancelled


@asynccontextmanager
async def open_services(settings: Settings, progress: Progress) -> AsyncIterator[Services]:
    """All that a server of one process serves from: database, schema, store, feed, replica, worker pool, opened in this
    order, closed in the reverse. Raises as `open_shared`."""
    async with AsyncExitStack() as stack:
        tracer = await stack.enter_async_context(open_tracer(settings))
        shared = await stack.enter_async_context(_prepared(settings, progress))
        opened = await stack.enter_async_context(_open_replica(settings, shared))
        jobs = await stack.enter_async_context(_open_jobs(settings, shared))
        plan_jobs = (lambda: 0) if jobs is None else (lambda: jobs.submitted)
        yield replace(_services(*opened, jobs, tracer), plan_jobs=plan_jobs, exporter=ProcessExporter(shared.url))


@dataclass(frozen=True)
class Shared:
    """What the processes of a server have in common. Pickled when a process is spawned."""

    url: str
    timeline: SharedWord
    """A timeline that one of the processes has seen is known to all (`Fence`)."""


@asynccontextmanager
async def open_shared(settings: Settings, progress: Progress) -> AsyncIterator[tuple[Shared, WorkerPool | None]]:
    """What is there once for all workers: database, schema, worker pool.

    The schema of the embedded database is brought up to date; a configured one may be shared with processes of another
    version, so that is left to `omnirelay db upgrade`. Raises SchemaOutOfDate when that has not been run,
    StoreUnavailable when the database is not up in time, and PlugInError, before anything is opened, for a strategy
    that cannot be used.
    """
    async with (
        _prepared(settings, progress) as shared,
        _open_jobs(settings, shared) as pool,
    ):
        yield shared, pool


@asynccontextmanager
async def open_writing(shared: Shared) -> AsyncIterator[tuple[Store, CommandExecutor, Registry]]:
    """A store for a process that serves nothing and changes little."""
    strategies = Registry(discover())
    async with open_store(shared.url, read_connections=1, write_connections=1, fence=Fence(shared.timeline)) as store:
        yield store, CommandExecutor(store.unit_of_work, strategies, refusals=store.refusals), strategies


@asynccontextmanager
async def open_worker_services(settings: Settings, shared: Shared, jobs: Jobs | None) -> AsyncIterator[Services]:
    """What a worker serves from. `jobs` takes its plans to the processes that make them; null where each worker is to
    make its own. Raises StoreError."""
    async with open_tracer(settings) as tracer, _open_replica(settings, shared) as (store, feed, replica):
        yield replace(_services(store, feed, replica, jobs, tracer), exporter=ProcessExporter(shared.url))


@asynccontextmanager
async def _prepared(settings: Settings, progress: Progress) -> AsyncIterator[Shared]:
    Registry(discover())
    async with open_database(settings, progress, create=True) as url:
        if settings.database_url is None:
            progress("Bringing the schema up to date")
            await migrations.upgrade(url)
        else:
            if settings.wait_for_database_seconds:
                await _wait_for_database(url, settings.wait_for_database_seconds, progress)
            await migrations.require_compatible(url)
        yield Shared(url, multiprocessing.get_context("spawn").RawValue("Q"))


@asynccontextmanager
async def _open_replica(settings: Settings, shared: Shared) -> AsyncIterator[tuple[Store, LiveFeed, Replica]]:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            open_store(
                shared.url,
                read_connections=settings.read_connections,
                write_connections=settings.write_connections,
                fence=Fence(shared.timeline),
            )
        )
        limits = FeedLimits(ring=settings.feed_ring, bookmark_seconds=settings.bookmark_seconds)
        feed = await stack.enter_async_context(live_feed(store.stream, store.signal, limits))
        replica = await stack.enter_async_context(
            following(store.shards, feed, replica_limits(settings.replica_shards, settings.workers))
        )
        lookups = ReplicaShards(replica, store.shards, max(1, settings.read_connections - _FREE_CONNECTIONS))
        yield replace(store, shards=lookups, totals=ReplicaTotals(replica, store.totals)), feed, replica


@asynccontextmanager
async def _open_jobs(settings: Settings, shared: Shared) -> AsyncIterator[WorkerPool | None]:
    if not settings.plan_processes:
        yield None
        return
    opening = partial(open_bulk_store, shared.url, fence=Fence(shared.timeline))
    begin = partial(log_to_stderr, settings.log_level, settings.log_format)
    async with open_worker_pool(opening, settings.plan_processes, begin) as pool:
        yield pool


def _services(store: Store, feed: LiveFeed, replica: Replica, jobs: Jobs | None, tracer: Tracer) -> Services:
    strategies = Registry(discover())
    memory = store.shards if isinstance(store.shards, ReplicaShards) else None
    if jobs is None:
        writer = CommandExecutor(
            store.unit_of_work,
            strategies,
            refusals=store.refusals,
            note=replica.note,
            arrived=replica.arrived,
            group=store.change_group,
            tracer=tracer,
        )
        rebalancer = Rebalancer(store, writer, strategies)
    else:
        writer = PooledWriter(store, strategies, jobs, replica.note, replica.arrived, tracer)
        rebalancer = PooledRebalancer(jobs, tracer)
    return Services(store, writer, feed, strategies, rebalancer, replica.settled, memory, replica, tracer)


async def _wait_for_database(url: str, seconds: float, progress: Progress) -> None:
    """Until it can be connected to. Raises StoreUnavailable if that takes longer, and at once what waiting does not
    mend: a wrong password, a URL that is none."""
    began = monotonic()

    def backoff(error: Exception) -> float | bool:
        """As long as has passed already, within bounds; false to give up."""
        passed = monotonic() - began
        left = seconds - passed
        if not isinstance(error, StoreUnavailable) or error.reason is Unavailable.ACCESS_DENIED or left <= 0:
            return False
        progress(f"Waiting for the database, {left:.0f} s at most ({error})")
        return min(max(_FIRST_BACKOFF_SECONDS, passed), _LONGEST_BACKOFF_SECONDS, left)

    async for attempt in stamina.retry_context(on=backoff, attempts=None, timeout=None):
        with attempt:
            await (await connect(url)).close()


async def _supervise(server: EmbeddedPostgres) -> None:
    """Restart the embedded PostgreSQL whenever it is gone, until cancelled."""
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        if await asyncio.to_thread(server.is_running):
            continue
        _log.error("the embedded PostgreSQL (process %d) has died; starting it again", server.postmaster_pid)
        async for attempt in stamina.retry_context(
            on=EmbeddedPostgresError,
            attempts=None,
            timeout=None,
            wait_initial=_FIRST_BACKOFF_SECONDS,
            wait_max=_LONGEST_BACKOFF_SECONDS,
            wait_jitter=0,
        ):
            with attempt:
                server = await _revived(server, attempt.next_wait)
        _log.warning("the embedded PostgreSQL is up again (process %d)", server.postmaster_pid)


async def _revived(server: EmbeddedPostgres, next_wait: float) -> EmbeddedPostgres:
    try:
        return await asyncio.to_thread(server.revive)
    except EmbeddedPostgresError:
        _log.exception("the embedded PostgreSQL cannot be started; trying again in %g s", next_wait)
        raise


async def begin_new_epoch(url: str) -> int:
    """Have every subscriber list again. Returns how many connections other programs hold to the database. Raises
    StoreError."""
    from persistence.postgres.stream import begin_new_epoch  # noqa: PLC0415 - a server need not load it

    return await begin_new_epoch(url)


def open_retention(url: str, progress: Progress) -> Retention:
    """What compacts history."""
    from persistence.postgres.compaction import PostgresRetention  # noqa: PLC0415 - a server need not load it

    return PostgresRetention(url, progress)


async def check_audit(url: str, where: CheckFilter, progress: CountedProgress) -> Report:
    """Hold history, and where every shard is now, against the policies. Raises StoreError, PlugInError."""
    from persistence.postgres.audit.check import check  # noqa: PLC0415 - a server need not load it

    return await check(url, Registry(discover()), where, progress)


async def verify_audit(
    url: str, since: Checkpoint | None, anchor: Checkpoint | None, *, processes: int | None, progress: CountedProgress
) -> Verdict:
    """Verify the chains and the tables: from `since`, in so many processes (one a processor). Raises StoreError."""
    from persistence.postgres.audit.verify import verify  # noqa: PLC0415 - a server need not load it

    return await verify(url, since, anchor, processes=processes, progress=progress)


async def export_audit(
    url: str, where: ExportFilter, form: ExportForm, write: Write, progress: CountedProgress
) -> Manifest:
    """Pass the audit log to `write`, but for the manifest. Raises StoreError."""
    from persistence.postgres.audit.export import export  # noqa: PLC0415 - a server need not load it

    return await export(url, where, form, write, progress)


async def audit_unless_namespace(url: str, name: str) -> Sequence[str] | None:
    """Null if the audit log has anything of this namespace, else namespaces that there are. Raises StoreError."""
    from persistence.postgres.audit.export import unless_namespace  # noqa: PLC0415 - a server need not load it

    return await unless_namespace(url, name)
