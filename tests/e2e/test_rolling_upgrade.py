"""A server of this program on a database that a later one upgrades under it, with migrations that exist here only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from unittest import mock

import asyncpg
import httpx2
import pytest
from alembic.config import Config

import migrations
from graph.cli.errors import Exit
from graph.operations import operation
from tests.support.command_line import omnirelay
from tests.support.real_server import RealServer, real_server

NEWEST: Final = migrations.newest()
ADDITIVE: Final = "9998"
BREAKING: Final = "9999"
MIGRATION: Final = """
import sqlalchemy as sa
from alembic import op
from migrations.compatibility import serves

revision = "{revision}"
down_revision = "{before}"

def upgrade():
    op.add_column("shards", sa.Column("{column}", sa.Text(), {column_options}))
    serves({serves})
"""
TIMEOUT_SECONDS: Final = 30.0

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """Migrations of two later programs: one adds what this program may leave out, the other what it may not."""
    additive = {"column": "colour", "column_options": "nullable=True", "serves": f'"{ADDITIVE}", "{NEWEST}"'}
    # No statement of this program fails by it: nothing but the list keeps it from leaving the meaning out.
    breaking = {"column": "meaning", "column_options": "nullable=False, server_default='x'", "serves": f'"{BREAKING}"'}
    for revision, before, rest in ((ADDITIVE, NEWEST, additive), (BREAKING, ADDITIVE, breaking)):
        script = MIGRATION.format(revision=revision, before=before, **rest)
        (tmp_path / f"{revision}_of_a_later_program.py").write_text(script)
    return tmp_path


def upgrade(url: str, later: Path, revision: str) -> None:
    """As the later program does it."""
    ours = migrations._config()  # noqa: SLF001 - there is no other way to have more migrations than the installed ones

    def config() -> Config:
        ours.set_main_option("path_separator", "os")
        ours.set_main_option("version_locations", f"{Path(migrations.__file__).parent / 'versions'}:{later}")
        return ours

    known = migrations.known() | {ADDITIVE, BREAKING}
    with mock.patch.object(migrations, "_config", config), mock.patch.object(migrations, "known", return_value=known):
        asyncio.run(migrations.upgrade(url, revision))
        assert asyncio.run(migrations.current(url)) == revision


def fill(server: RealServer) -> None:
    server.change("ConfigureNamespace", "NamespaceConfigured", name="orders", strategy="ring", expectedVersion="0")
    server.change("RegisterNode", "NodeChanged", nodeId="node-1")
    shards = [{"namespace": "orders", "shardId": f"s{number}", "ownerNodeId": "node-gone"} for number in range(3)]
    server.change("CreateShards", "ShardsChanged", shards=shards)


def an_update(shard_id: str, version: int) -> dict[str, Any]:
    return {
        "namespace": "orders",
        "shardId": shard_id,
        "expectedVersion": str(version),
        "capacityHint": float(version),
        "change": {"actor": "ops", "reason": "go on"},
    }


def code_of(server: RealServer, name: str, **variables: Any) -> object:
    """Of the error that the operation is answered with; null if it is none."""
    body = {"query": operation(name), "variables": variables}
    answer = server.http.post(f"{server.url}/graphql", json=body).json()
    return answer["errors"][0]["extensions"]["code"] if "errors" in answer else None


def everything(url: str) -> dict[str, list[str]]:
    """Each row of each table but that of the schema's own revision."""

    async def read() -> dict[str, list[str]]:
        connection = await asyncpg.connect(url)
        try:
            tables = await connection.fetch(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
            )
            return {
                name: [row[0] for row in await connection.fetch(f"SELECT t::text FROM {name} AS t ORDER BY 1")]  # noqa: S608 - of the catalog
                for (name,) in tables
            }
        finally:
            await connection.close()

    return asyncio.run(read())


def eventually(holds: Callable[[], bool]) -> None:
    """Each look is a request, so there is no busy loop; the server rechecks what it is connected to on its own time."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not within {TIMEOUT_SECONDS:.0f} s"
        time.sleep(0.1)


def test_an_additive_migration_under_a_running_server_stops_nothing(database_url: str, later: Path) -> None:
    with real_server(database_url) as server:
        fill(server)
        upgrade(database_url, later, ADDITIVE)
        for version in range(1, 6):
            server.ask("UpdateShard", input=an_update("s1", version))
        assert server.http.get(f"{server.url}/readyz").status_code == httpx2.codes.OK
        history = server.command("shards", "history", "orders", "s1", "--json").documents
        assert sorted(int(row["version"]) for row in history) == [1, 2, 3, 4, 5, 6]
        with real_server(database_url) as beside:
            beside.ask("UpdateShard", input=an_update("s2", 1))
            assert beside.http.get(f"{beside.url}/readyz").status_code == httpx2.codes.OK
    assert omnirelay("mesh", "audit", "verify", "--database-url", database_url).exit == Exit.OK


def test_after_a_breaking_migration_a_running_server_writes_nothing(database_url: str, later: Path) -> None:
    because = {"change": {"actor": "ops", "reason": "go on"}}
    shards = [{"namespace": "orders", "shardId": "late", "ownerNodeId": "node-1"}]
    with real_server(database_url, environment={"OMNIRELAY_PLAN_PROCESSES": "1"}) as server:
        fill(server)
        upgrade(database_url, later, BREAKING)
        before = everything(database_url)
        asked = {
            "UpdateShard": an_update("s1", 1),
            "CreateShards": {"shards": shards} | because,
            "RegisterNode": {"nodeId": "node-late"} | because,
            "PlanRebalance": because,
        }
        codes = {name: code_of(server, name, input=given) for name, given in asked.items()}
        assert codes == dict.fromkeys(asked, "SCHEMA_OUT_OF_DATE")
        assert everything(database_url) == before


def test_after_a_breaking_migration_a_running_server_is_not_ready_and_answers_nothing(
    database_url: str, later: Path
) -> None:
    with real_server(database_url) as server:
        fill(server)
        upgrade(database_url, later, BREAKING)
        eventually(lambda: server.http.get(f"{server.url}/readyz").status_code == httpx2.codes.SERVICE_UNAVAILABLE)
        eventually(lambda: code_of(server, "ListNodes", first=10) == "SCHEMA_OUT_OF_DATE")


def test_no_server_starts_on_a_schema_that_does_not_serve_it(database_url: str, later: Path) -> None:
    upgrade(database_url, later, BREAKING)
    end = omnirelay("serve", "--port", 0, "--no-demo", "--database-url", database_url)
    assert (end.exit, end.out) == (Exit.NO, "")
    assert f"newer than this program ({NEWEST}), and serves programs of {BREAKING}; update this program" in end.err
