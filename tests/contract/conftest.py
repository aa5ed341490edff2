"""Every test of this folder runs against every backend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import asyncpg
import pytest

from persistence.memory import Memory, store_on
from persistence.ports import Store
from persistence.postgres import open_store
from tests.support.mesh import Mesh


@dataclass(frozen=True)
class Backend:
    """A store, and how its history is compacted: an operator's job, which the ports do not offer."""

    store: Store
    compact: Callable[[int], Awaitable[None]]


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
            yield Backend(store, lambda revision: _compact(backend_url, revision))


@pytest.fixture
def store(backend: Backend) -> Store:
    """An empty store."""
    return backend.store


@pytest.fixture
async def mesh(store: Store) -> Mesh:
    """A store with the namespace `billing`, and no shard."""
    mesh = Mesh(store)
    await mesh.configure()
    return mesh


def _in_memory() -> Backend:
    memory = Memory()

    async def compact(revision: int) -> None:
        memory.compact(revision)

    return Backend(store_on(memory), compact)


async def _compact(url: str, revision: int) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("UPDATE stream_head SET floor = $1", revision)
    finally:
        await connection.close()
