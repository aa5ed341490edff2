"""Every test of this folder runs against every backend; those of shards, also against a replica of one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TypeAlias

import asyncpg
import pytest

from persistence.feed.live import live_feed
from persistence.model.outcomes import Outcome
from persistence.model.records import Pin, ShardKey
from persistence.ports.store import Store
from persistence.ports.writes import HistoryCompacted, Retention
from persistence.postgres.compaction import PostgresRetention
from persistence.replica.reader import ReplicaShards
from persistence.replica.replica import following
from tests.reference.retention import MemoryRetention
from tests.reference.store import store_on
from tests.reference.tables import Memory
from tests.support.mesh import because
from tests.support.planned_mesh import PlannedMesh
from tests.support.replicas import UpToDate
from tests.support.reused_store import ReusedStores

FailOver: TypeAlias = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Backend:
    """A store, the retention of its history, and what the ports do not offer: a pin that has ended by now, letting a
    plan's time run out, a failover that loses everything since `keep`, which gives what does that, and a newest change
    that was committed so far ahead of the clock, which was set back since. `note` is what writers call with what they
    committed."""

    store: Store
    retention: Retention
    pin: Callable[[ShardKey, Pin], Awaitable[None]]
    expire: Callable[[str], Awaitable[None]]
    keep: Callable[[], Awaitable[FailOver]]
    run_ahead: Callable[[timedelta], Awaitable[None]]
    note: Callable[[Outcome], None] = lambda _: None

    async def compact(self, floor: int) -> HistoryCompacted:
        """A compaction that there must be something to do for."""
        done = await self.retention.compact(floor, because("nobody reads this any more"))
        assert done is not None
        return done


@pytest.fixture(params=["memory", "postgres"])
def backend_name(request: pytest.FixtureRequest) -> str:
    """Modules of shards are marked `ON_A_REPLICA_TOO`."""
    name: str = request.param
    return name


@pytest.fixture
def stores(backend_name: str, request: pytest.FixtureRequest) -> ReusedStores | None:
    """Without PostgreSQL where no test needs it."""
    stores: ReusedStores | None = request.getfixturevalue("reused_stores") if backend_name == "postgres" else None
    return stores


@pytest.fixture
async def backend(backend_name: str, stores: ReusedStores | None) -> AsyncIterator[Backend]:
    if stores is not None:
        reused = await stores.empty()
        yield Backend(
            reused.store,
            PostgresRetention(reused.url),
            partial(_pin, reused.url),
            partial(_expire, reused.url),
            partial(_keep, reused.url),
            partial(_run_ahead, reused.url),
        )
    elif backend_name == "replica":
        async with replicated(_in_memory()) as backend:
            yield backend
    else:
        yield _in_memory()


@pytest.fixture
def store(backend: Backend) -> Store:
    """An empty store."""
    return backend.store


@pytest.fixture
async def mesh(backend: Backend) -> PlannedMesh:
    """A store with the namespace `billing`, and neither shard nor node."""
    mesh = PlannedMesh(backend.store, backend.note)
    await mesh.configure()
    return mesh


@asynccontextmanager
async def replicated(backend: Backend) -> AsyncIterator[Backend]:
    """The same, with its shards read from a replica as in a server."""
    store = backend.store
    async with live_feed(store.stream, store.signal) as feed, following(store.shards, feed) as replica:
        await replica.ready()
        shards = UpToDate(ReplicaShards(replica, store.shards), replica, feed, store.stream)
        yield replace(backend, store=replace(store, shards=shards), note=replica.note)


def _in_memory() -> Backend:
    memory = Memory()

    async def pin(key: ShardKey, pinned: Pin) -> None:
        shards = {**memory.tables.shards, key: replace(memory.tables.shards[key], pinned=pinned)}
        memory.publish(replace(memory.tables, shards=shards))

    async def expire(plan_id: str) -> None:
        kept = memory.tables.plans[plan_id]
        plan = replace(kept.plan, expires_at=kept.plan.created.committed_at)
        memory.publish(replace(memory.tables, plans={**memory.tables.plans, plan_id: replace(kept, plan=plan)}))

    async def keep() -> FailOver:
        kept = memory.tables

        async def fail_over() -> None:
            memory.publish(kept)

        return fail_over

    async def run_ahead(time: timedelta) -> None:
        newest = memory.tables.changes[-1]
        ahead = replace(newest, committed_at=memory.clock() + time)
        memory.publish(replace(memory.tables, changes=(*memory.tables.changes[:-1], ahead)))

    return Backend(store_on(memory), MemoryRetention(memory), pin, expire, keep, run_ahead)


async def _pin(url: str, key: ShardKey, pin: Pin) -> None:
    statement = (
        "UPDATE shards SET pinned_by = $3, pinned_reason = $4, pinned_until = $5 WHERE namespace = $1 AND shard_id = $2"
    )
    await _execute(url, statement, *key, pin.by, pin.reason, pin.until)


async def _expire(url: str, plan_id: str) -> None:
    # As a replica applies changes: without the triggers that keep a plan from being edited.
    connection = await asyncpg.connect(url, server_settings={"session_replication_role": "replica"})
    try:
        await connection.execute("UPDATE rebalance_plans SET expires_at = now() WHERE id = $1", plan_id)
    finally:
        await connection.close()


_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'shard\\_history\\_%'"


_GO = """
    COMMIT;
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


async def _keep(url: str) -> FailOver:
    """Where the tables are as they were, and every connection is gone, a server finds what it finds on a standby that
    was promoted without having received the rest."""
    connection = await asyncpg.connect(url)
    try:
        names = [row[0] for row in await connection.fetch(_TABLES)]
        await connection.execute("CREATE SCHEMA kept")
        for name in names:
            await connection.execute(f"CREATE TABLE kept.{name} AS TABLE public.{name}")
    finally:
        await connection.close()
    emptied = [f"DELETE FROM public.{name};" for name in names]  # noqa: S608 - names of tables
    filled = [f"INSERT INTO public.{name} SELECT * FROM kept.{name};" for name in names]  # noqa: S608 - as above
    return partial(_execute, url, " ".join(["SET session_replication_role = replica; BEGIN;", *emptied, *filled, _GO]))


async def _run_ahead(url: str, time: timedelta) -> None:
    await _execute(url, "UPDATE stream_head SET committed_at = clock_timestamp() + $1::interval", time)


async def _execute(url: str, statement: str, *arguments: object) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()
