"""The composition root: the one place that names concrete engines, stores and feeds, and the order they open in."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import migrations
from graph.plug_ins import discover
from graph.settings import Settings
from graph.workshop import DividingWriter, WorkshopRebalancer, open_workshop
from persistence.feed import FeedLimits, LiveFeed, live_feed
from persistence.ports import Store
from persistence.postgres.fence import Fence
from persistence.postgres.store import open_store
from persistence.rebalancing import Rebalancer
from persistence.replica import Replica, ReplicaLimits, ReplicaShards, following, noting
from persistence.write import Writer
from strategies.registry import Registry

Progress = Callable[[str], None]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything a server process holds open."""

    store: Store
    writer: Writer
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
    # Imported here: a deployment with a database of its own need not have the extra installed.
    from graph.embedded_postgres import start_embedded_postgres  # noqa: PLC0415

    progress(f"Starting PostgreSQL in {settings.data_dir}")
    server = await asyncio.to_thread(start_embedded_postgres, settings.data_dir)
    try:
        yield server.url
    finally:
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
        store = _served_from(replica, store)
        writer, rebalancer = Writer(store.unit_of_work, strategies, refusals=store.refusals), None
        if settings.plan_processes:
            workshop = await stack.enter_async_context(open_workshop(url, settings.plan_processes, seen=seen))
            writer = DividingWriter(store.unit_of_work, store.refusals, strategies, workshop, replica.note)
            rebalancer = WorkshopRebalancer(workshop)
        yield Runtime(store, writer, feed, strategies, rebalancer or Rebalancer(store, writer, strategies))


def _served_from(replica: Replica, store: Store) -> Store:
    """The store with its shards read from the replica, which hears of what is committed here before the feed tells."""
    return replace(
        store, shards=ReplicaShards(replica, store.shards), unit_of_work=noting(store.unit_of_work, replica.note)
    )
