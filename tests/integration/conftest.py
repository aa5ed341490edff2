"""What tests of the audit log request: a store in which everything that is audited has happened."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from persistence.postgres.store import open_store
from tests.support.audited_mesh import fill_audit_log
from tests.support.databases import Databases
from tests.support.planned_mesh import PlannedMesh


@pytest.fixture(scope="module")
async def audited(module_database_url: str) -> str:
    async with open_store(module_database_url) as store:
        mesh = PlannedMesh(store)
        await mesh.configure()
        await fill_audit_log(mesh)
    return module_database_url


@pytest.fixture
def audited_url(audited: str, databases: Databases) -> Iterator[str]:
    """A copy of this test's own."""
    with databases.copy(audited) as url:
        yield url
