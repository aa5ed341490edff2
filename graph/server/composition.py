"""The composition root: the one place that names concrete engines, stores and feeds, and the order they open in."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final

import migrations
from graph.embedded_postgres.server import EmbeddedPostgres, EmbeddedPostgresError, start_embedded_postgres
from graph.server.plugins import discover
from graph.server.worker_pool import PooledRebalancer, PooledWriter, open_worker_pool
from graph.settings import Settings
from persistence.errors import StoreUnavailable
from persistence.feed.live import LiveFeed, live_feed
from persistence.feed.tailer import FeedLimits
from persistence.ports import Store
from persistence.postgres.database import Fence
from persistence.postgres.driver import connect
from persistence.postgres.store import open_store
from persistence.replica.adapters import ReplicaShards
from persistence.replica.replica import ReplicaLimits, following
from persistence.service.executor import CommandExecutor
from persistence.service.rebalancer import Rebalancer
from strategies.registry import Registry

Progress = Callable[[str], None]

_FIRST_PAUSE: Final = 0.5

_LONGEST_PAUSE: Final = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything a server process holds open."""

    store: Store
    writer: CommandExecutor
    feed: LiveFeed
    strategies: Registry
    rebalancer: Rebalancer


@asynccontextmanager
async def open_database(settings: Settings, progress: Progress) -> AsyncIterator[str]:
    """The URL of a database that is up: the one configured, or an embedded one that this process then holds on to.

    Raises EmbeddedPostgresError when the embedded one cannot be had.
    """
    if settings.database_url is not None:
        yield settings.database_url
        return
    progress(f"Starting PostgreSQL in {settings.data_dir}")
    server = await asyncio.to_thread(start_embedded_postgres, settings.data_dir)
    watching = asyncio.create_task(_supervise(server), name="omnirelay-embedded-postgres")
    try:
        yield server.url
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        progress("Stopping PostgreSQL")
        await asyncio.to_thread(server.stop)


@asynccontextmanager
async def open_runtime(settings: Settings, progress: Progress) -> AsyncIterator[Runtime]:
    """Database, schema, store, feed, replica, workshop: opened in this order, closed in the reverse.

    The embedded database is ours, so its schema is brought up to date; a configured one may be shared with processes of
    another version, so that is left to `omnirelay db upgrade`. Raises SchemaOutOfDate when it has not been run, and
    PlugInError, before anything is opened, for a strategy that cannot be used.
    """
    strategies = Registry(discover())
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(open_database(settings, progress))
        if settings.database_url is None:
            progress("Bringing the schema up to date")
            await migrations.upgrade(url)
        else:
            await _wait_for_database(url, settings.wait_for_database_seconds, progress)
            await migrations.require_compatible(url)
        # Timelines that one of these processes has seen are known to all of them.
        seen = multiprocessing.get_context("spawn").RawValue("Q")
        store = await stack.enter_async_context(
            open_store(
                url,
                read_connections=settings.read_connections,
                write_connections=settings.write_connections,
                fence=Fence(seen),
            )
        )
        limits = FeedLimits(ring=settings.feed_ring, bookmark_seconds=settings.bookmark_seconds)
        feed = await stack.enter_async_context(live_feed(store.stream, store.signal, limits))
        replica = await stack.enter_async_context(
            following(store.shards, feed, ReplicaLimits(shards=settings.replica_shards))
        )
        store = replace(store, shards=ReplicaShards(replica, store.shards))
        writer = CommandExecutor(store.unit_of_work, strategies, refusals=store.refusals, note=replica.note)
        rebalancer = None
        if settings.plan_processes:
            workshop = await stack.enter_async_context(open_worker_pool(url, settings.plan_processes, seen=seen))
            writer = PooledWriter(store.unit_of_work, store.refusals, strategies, workshop, replica.note)
            rebalancer = PooledRebalancer(workshop)
        yield Runtime(store, writer, feed, strategies, rebalancer or Rebalancer(store, writer, strategies))


async def _wait_for_database(url: str, seconds: float, progress: Progress) -> None:
    """Until it can be connected to. Raises StoreUnavailable if that takes longer, and at once what waiting does not
    mend: a wrong password, a URL that is none."""
    if not seconds:
        return
    deadline, pause = monotonic() + seconds, _FIRST_PAUSE
    while True:
        try:
            await (await connect(url)).close()
        except StoreUnavailable as error:
            if (left := deadline - monotonic()) <= 0:
                raise
            progress(f"Waiting for the database, {left:.0f} s at most ({error})")
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 2, _LONGEST_PAUSE)
        else:
            return


async def _supervise(server: EmbeddedPostgres) -> None:
    """Restart the embedded PostgreSQL whenever it is gone, until cancelled."""
    pause = _FIRST_PAUSE
    while True:
        await asyncio.sleep(pause)
        if await asyncio.to_thread(server.is_running):
            pause = _FIRST_PAUSE
            continue
        _log.error("the embedded PostgreSQL (process %d) has died; starting it again", server.postmaster_pid)
        try:
            server = await asyncio.to_thread(server.revive)
        except EmbeddedPostgresError:
            pause = min(pause * 2, _LONGEST_PAUSE)
            _log.exception("the embedded PostgreSQL cannot be started; trying again in %g s", pause)
        else:
            _log.warning("the embedded PostgreSQL is up again (process %d)", server.postmaster_pid)
