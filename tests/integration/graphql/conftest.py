"""The API over each store, and everything on the way to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette

from graph.execution.context import Feed
from graph.http.app import create_app
from persistence.feed.live import live_feed
from persistence.feed.ring import FeedLimits
from persistence.ports import Store
from persistence.postgres.store import open_store
from tests.reference.store import memory_store
from tests.support.graphql_api import Api, TestServices, api_of
from tests.support.mesh import Mesh

IMPATIENT = FeedLimits(catch_up_seconds=0.2, bookmark_seconds=0.2)


@pytest.fixture
def backend_url(request: pytest.FixtureRequest) -> str | None:
    """In memory, unless a module is marked `ON_EVERY_STORE`."""
    backend = getattr(request, "param", "memory")
    url: str | None = request.getfixturevalue("database_url") if backend == "postgres" else None
    return url


@pytest.fixture
async def store(backend_url: str | None) -> AsyncIterator[Store]:
    """An empty store."""
    if backend_url is None:
        yield memory_store()
    else:
        async with open_store(backend_url) as store:
            yield store


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
    return create_app(TestServices(mesh.store, mesh.writer, feed))


@pytest.fixture
async def api(app: Starlette) -> AsyncIterator[Api]:
    async with api_of(app) as api:
        yield api
