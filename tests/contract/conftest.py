"""Every test of this folder runs against every backend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

import asyncpg
import pytest

from persistence.memory import Memory, MemoryRetention, store_on
from persistence.ports import HistoryCompacted, Retention, Store
from persistence.postgres import PostgresRetention, open_store
from persistence.records import Pin, ShardKey
from tests.support.mesh import because
from tests.support.planned_mesh import PlannedMesh


@dataclass(frozen=True)
class Backend:
    """A store, the retention of its history, and what the ports do not offer: pinning a shard behind its back."""

    store: Store
    retention: Retention
    pin: Callable[[ShardKey, Pin], Awaitable[None]]

    async def compact(self, floor: int) -> HistoryCompacted:
        """A compaction that there must be something to do for."""
        done = await self.retention.compact(floor, because("nobody reads this any more"))
        assert done is not None
        return done


@pytest.fixture(params=["memory", "postgres"])
def backend_url(request: pytest.FixtureRequest) -> str | None:
    url: str | None = request.getfixturevalue("database_url") if request.param == "postgres" else None
    return url


@pytest.fixture
async def backend(backend_url: str | None) -> AsyncIterator[Backend]:
    if backend_url is None:
        yield _in_memory()
    else:
        async with open_store(backend_url) as store:
            yield Backend(store, PostgresRetention(backend_url), partial(_pin, backend_url))


@pytest.fixture
def store(backend: Backend) -> Store:
    """An empty store."""
    return backend.store


@pytest.fixture
async def mesh(store: Store) -> PlannedMesh:
    """A store with the namespace `billing`, and neither shard nor node."""
    mesh = PlannedMesh(store)
    await mesh.configure()
    return mesh


def _in_memory() -> Backend:
    memory = Memory()

    async def pin(key: ShardKey, pinned: Pin) -> None:
        shards = {**memory.tables.shards, key: replace(memory.tables.shards[key], pinned=pinned)}
        memory.publish(replace(memory.tables, shards=shards))

    return Backend(store_on(memory), MemoryRetention(memory), pin)


async def _pin(url: str, key: ShardKey, pin: Pin) -> None:
    statement = (
        "UPDATE shards SET pinned_by = $3, pinned_reason = $4, pinned_until = $5 WHERE namespace = $1 AND shard_id = $2"
    )
    await _execute(url, statement, *key, pin.by, pin.reason, pin.until)


async def _execute(url: str, statement: str, *arguments: object) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()
