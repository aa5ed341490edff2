"""What a program loads before it has anything to do: each start of it waits for that."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Final

import pytest

_CLIENT: Final = {"httpx2", "rich", "ssl"}
_SERVER: Final = {
    "alembic",
    "asyncio",
    "asyncpg",
    "cryptography",
    "graphql",
    "jwt",
    "numpy",
    "pydantic",
    "sqlalchemy",
    "starlette",
    "strawberry",
    "uvicorn",
}


def loaded_after(program: str, *, stopped: bool = False) -> set[str]:
    """Names of the packages and modules that a new process has loaded once it has run `program`, its own words aside.

    `stopped`: with SIGTERM, after its first line.
    """
    program = f"{program}\nimport sys; print(*sys.modules)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own code
        assert process.stdout is not None
        if stopped:
            assert process.stdout.readline()
            process.send_signal(signal.SIGTERM)
        lines = process.stdout.read().splitlines()
    assert process.returncode == 0
    return set(lines[-1].split())


@pytest.mark.parametrize(
    "command",
    ["--help", "--version", "mesh --help", "mesh shards --help", "mesh nodes --help", "mesh rebalance --help"],
)
def test_help_loads_nothing_that_talks_to_a_server_or_is_one(command: str) -> None:
    loaded = loaded_after(f"from graph.cli.program import run; assert run({command.split()}) == 0")
    assert "graph.cli.program" in loaded
    assert loaded & (_CLIENT | _SERVER) == set()


def test_a_command_is_loaded_without_the_others_of_its_group() -> None:
    loaded = loaded_after("from graph.cli.program import run; assert run(['mesh', 'shards', 'get', '--help']) == 0")
    assert "graph.cli.shards.get" in loaded
    assert {name for name in loaded if name.startswith("graph.cli.shards.")} <= {
        "graph.cli.shards.shared",
        "graph.cli.shards.get",
    }
    assert not any(name.startswith(("graph.cli.nodes", "graph.cli.rebalance")) for name in loaded)


def test_a_server_without_authentication_loads_no_cryptography() -> None:
    loaded = loaded_after("import graph.http.app, graph.server.lifecycle, graph.server.web_server")
    assert "strawberry" in loaded
    assert loaded & {"alembic", "cryptography", "jwt", "rich"} == set()


def test_a_server_on_a_schema_that_is_up_to_date_loads_no_alembic(database_url: str) -> None:
    serve = ["serve", "--port", "0", "--database-url", database_url]
    loaded = loaded_after(f"from graph.cli.program import run; assert run({serve}) == 0", stopped=True)
    assert {"graph.http.app", "migrations"} <= loaded
    assert "alembic" not in loaded


def test_an_upgrade_loads_alembic_only_where_there_is_something_to_migrate(
    database_url: str, empty_database_url: str
) -> None:
    upgrade = "import asyncio, migrations; asyncio.run(migrations.upgrade({!r}))"
    assert "alembic" not in loaded_after(upgrade.format(database_url))
    assert "alembic" in loaded_after(upgrade.format(empty_database_url))
