"""What tests of the audit log request: a store in which everything that is audited has happened."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from persistence.postgres.store import open_store
from tests.support.audited_mesh import tell
from tests.support.databases import Databases
from tests.support.planned_mesh import PlannedMesh


@pytest.fixture(scope="module")
async def told(module_database_url: str) -> str:
    async with open_store(module_database_url) as store:
        mesh = PlannedMesh(store)
        await mesh.configure()
        await tell(mesh)
    return module_database_url


@pytest.fixture
def told_url(told: str, databases: Databases) -> Iterator[str]:
    """A copy of this test's own."""
    with databases.copy(told) as url:
        yield url
