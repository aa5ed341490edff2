"""Connections of the pools whose end the server has announced, and that are used before they are known to be closed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from persistence.commands.shards import CreateShards, UpdateShards
from persistence.model.outcomes import ShardsChanged
from persistence.postgres.driver import Connection
from persistence.postgres.store import open_store
from tests.support.mesh import BILLING, CHANGE, Mesh, changed, new, patch

_MESSAGE = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to unexpected postmaster exit\0\0"
_FATAL = b"E" + (len(_MESSAGE) + 4).to_bytes(4) + _MESSAGE


@pytest.fixture
async def mesh(database_url: str) -> AsyncIterator[Mesh]:
    async with open_store(database_url, write_connections=1, read_connections=1) as store:
        mesh = Mesh(store)
        await mesh.configure()
        yield mesh


def announced(monkeypatch: pytest.MonkeyPatch, statement: str) -> list[str]:
    """The next of these statements meets a connection whose end was received and not followed by its closing yet."""
    met: list[str] = []
    execute = asyncpg.prepared_stmt.PreparedStatement.fetch

    async def fetch(self: Any, *arguments: Any, **named: Any) -> Any:
        if not met and statement in self.get_query():
            met.append(self.get_query())
            self._connection._protocol.data_received(_FATAL)  # noqa: SLF001 - as from its socket
        return await execute(self, *arguments, **named)

    monkeypatch.setattr(asyncpg.prepared_stmt.PreparedStatement, "fetch", fetch)
    return met


@pytest.mark.parametrize("statement", ["FROM commit_changes(", "LEFT OUTER JOIN shard_tombstones"])
async def test_a_small_change_is_made_on_another(mesh: Mesh, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    (shard,) = changed(await mesh.execute(CreateShards([new("s1")], CHANGE))).shards
    met = announced(monkeypatch, statement)
    outcome = await mesh.execute(UpdateShards([patch(shard, owner_node_id="node-b")], CHANGE))
    assert isinstance(outcome, ShardsChanged)
    assert len(met) == 1


@pytest.mark.parametrize("statement", ["FROM commit_change(", "FROM shards"])
async def test_a_large_change_is_made_on_another(mesh: Mesh, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    met = announced(monkeypatch, statement)
    outcome = await mesh.execute(CreateShards([new(f"s{number:02}") for number in range(70)], CHANGE))
    assert isinstance(outcome, ShardsChanged)
    assert len(met) == 1


async def test_a_read_is_sent_again(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    await mesh.store.namespaces.get(BILLING)
    met: list[str] = []
    execute = Connection.fetch

    async def fetch(self: Any, statement: str, *arguments: Any, **named: Any) -> Any:
        if not met and "FROM namespaces" in statement:
            met.append(statement)
            self._protocol.data_received(_FATAL)
        return await execute(self, statement, *arguments, **named)

    monkeypatch.setattr(Connection, "fetch", fetch)
    assert await mesh.store.namespaces.get(BILLING) is not None
    assert len(met) == 1
