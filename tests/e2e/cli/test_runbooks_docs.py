"""Every command and every statement that docs/runbooks.md prints is run here, against a server with a mesh."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from tests.support.fork_client import CONTROL, write_script
from tests.support.fork_server import fork_server
from tests.support.real_server import RealServer, real_server

PAGE: Final = (Path(__file__).parents[3] / "docs" / "runbooks.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return list(dict.fromkeys(found))


@pytest.fixture(scope="module")
def server(module_database_url: str) -> Iterator[RealServer]:
    """With a shard of a node that is not registered."""
    with real_server(module_database_url) as server:
        given = {"name": "orders", "strategy": "rendezvous", "expectedVersion": "0"}
        server.change("ConfigureNamespace", "NamespaceConfigured", **given)
        server.change("RegisterNode", "NodeChanged", nodeId="node-1")
        shard = {"namespace": "orders", "shardId": "s1", "ownerNodeId": "node-7"}
        server.change("CreateShards", "ShardsChanged", shards=[shard])
        yield server


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """With an `omnirelay` that has the program imported already."""
    folder = tmp_path_factory.mktemp("programs")
    write_script(folder / "omnirelay", "graph.cli")
    return os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.defpath])


@pytest.mark.parametrize("block", blocks("sh"))
def test_a_command_does_what_it_is_printed_for(
    server: RealServer, path: str, module_database_url: str, block: str, tmp_path: Path
) -> None:
    control = fork_server().fileno()
    typed = subprocess.run(  # noqa: S603 - our own page
        ["bash", "-euo", "pipefail", "-c", block],  # noqa: S607 - the shell of the documentation
        cwd=tmp_path,
        env={
            "PATH": path,
            CONTROL: str(control),
            "OMNIRELAY_SERVER": server.url,
            "OMNIRELAY_DATABASE_URL": module_database_url,
        },
        pass_fds=[control],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    # A history of seconds has nothing that is older than days.
    done = typed.returncode == 0 or typed.stderr.startswith("Nothing to do: ")
    assert done, f"{block}\n{typed.stdout}{typed.stderr}"


@pytest.mark.parametrize("block", blocks("sql"))
async def test_a_statement_is_one(module_database_url: str, block: str) -> None:
    statements = list(filter(str.strip, block.split(";")))
    assert statements
    connection = await asyncpg.connect(module_database_url)
    try:
        for statement in statements:
            await connection.fetch(statement)
    finally:
        await connection.close()


def test_what_is_named_in_passing_is_printed_or_run_elsewhere() -> None:
    """`omnirelay db upgrade` by the tests of operations; anything else has a block."""
    named = set(re.findall(r"`(omnirelay [a-z][^`]*)`", " ".join(PAGE.split())))
    assert named <= {"omnirelay db", "omnirelay db upgrade"}
