"""Database URLs as libpq, and so every provider, spells them: one reading for the pools and for the listener."""

from __future__ import annotations

import pytest

from persistence.errors import InvalidArgument
from persistence.postgres.database import Database
from persistence.postgres.listener import listening
from persistence.postgres.store import open_store
from tests.support.mesh import Mesh


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
async def test_parameters_that_only_libpq_spells_so_are_understood_everywhere(database_url: str, scheme: str) -> None:
    url = f"{scheme}://{database_url.partition('://')[2]}&sslmode=disable"
    async with open_store(url) as store, listening(Database(url)) as listener:
        await Mesh(store).configure()
        await listener.wait()
        assert listener.connected


async def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="database_url: must begin with postgresql://"):
        async with open_store("mysql://db/mesh"):
            pass
