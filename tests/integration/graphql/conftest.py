"""The API over each store, and everything on the way to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from starlette.applications import Starlette

from graph.execution.services import Feed
from graph.http.app import create_app
from persistence.feed.live import live_feed
from persistence.feed.tailer import FeedLimits
from persistence.ports.store import Store
from tests.reference.store import memory_store
from tests.support.graphql_api import Api, api_of, services_of
from tests.support.mesh import Mesh
from tests.support.reused_store import ReusedStores
from tests.support.shared_schema import shared_schema

IMPATIENT = FeedLimits(catch_up_seconds=0.2, bookmark_seconds=0.2)


@pytest.fixture(scope="session", autouse=True)
def _one_schema() -> Iterator[None]:
    with shared_schema():
        yield


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> ReusedStores | None:
    """None for a store in memory, unless a module is marked `ON_EVERY_STORE`."""
    name = getattr(request, "param", "memory")
    stores: ReusedStores | None = request.getfixturevalue("reused_stores") if name == "postgres" else None
    return stores


@pytest.fixture
async def store(backend: ReusedStores | None) -> Store:
    """An empty store."""
    return memory_store() if backend is None else (await backend.empty()).store


@pytest.fixture
async def mesh(store: Store) -> Mesh:
    """A store with the namespace `billing`, and no shard."""
    mesh = Mesh(store)
    await mesh.configure()
    return mesh


@pytest.fixture
async def feed(store: Store) -> AsyncIterator[Feed]:
    async with live_feed(store.stream, store.signal, IMPATIENT) as feed:
        yield feed


@pytest.fixture
def app(mesh: Mesh, feed: Feed) -> Starlette:
    return create_app(services_of(mesh.store, mesh.writer, feed))


@pytest.fixture
async def api(app: Starlette) -> AsyncIterator[Api]:
    async with api_of(app) as api:
        yield api
