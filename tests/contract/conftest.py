"""Every test of this folder runs against every backend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

import asyncpg
import pytest

from persistence.memory import Memory, store_on
from persistence.ports import Store
from persistence.postgres import open_store
from persistence.records import Pin, ShardKey
from tests.support.planned_mesh import PlannedMesh


@dataclass(frozen=True)
class Backend:
    """A store, and what the ports do not offer: compacting its history, and pinning a shard behind history's back."""

    store: Store
    compact: Callable[[int], Awaitable[None]]
    pin: Callable[[ShardKey, Pin], Awaitable[None]]


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
            yield Backend(store, partial(_compact, backend_url), partial(_pin, backend_url))


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

    async def compact(revision: int) -> None:
        memory.compact(revision)

    async def pin(key: ShardKey, pinned: Pin) -> None:
        shards = {**memory.tables.shards, key: replace(memory.tables.shards[key], pinned=pinned)}
        memory.publish(replace(memory.tables, shards=shards))

    return Backend(store_on(memory), compact, pin)


async def _compact(url: str, revision: int) -> None:
    await _execute(url, "UPDATE stream_head SET floor = $1", revision)


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
