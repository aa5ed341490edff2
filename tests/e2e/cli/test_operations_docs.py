"""Every command that docs/operations/ prints is run here, in its order; every one that it names is there."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import asyncpg
import click
import pytest

from graph.cli.program import omnirelay
from graph.embedded_postgres.server import find_binaries, start_embedded_postgres
from persistence import errors
from persistence.postgres import barrier, engine
from persistence.postgres import driver as connecting
from persistence.postgres.store import open_store
from tests.support.databases import Databases
from tests.support.fork_client import CONTROL, write_script
from tests.support.fork_server import fork_server
from tests.support.mesh import Mesh, new
from tests.support.operations_book import blocks, book

PAGE: Final = book()
RESTORED: Final = "mesh_restored"


def type_in(folder: Path, block: str, *, programs: Path = Path(sys.executable).parent, **environment: str) -> None:
    """Each line must succeed, and PostgreSQL's programs must print nothing."""
    path = os.pathsep.join([str(programs), str(find_binaries()), os.defpath])
    control = fork_server().fileno()
    typed = subprocess.run(  # noqa: S603 - our own page
        ["bash", "-euo", "pipefail", "-c", block],  # noqa: S607 - the shell of the documentation
        cwd=folder,
        env={"PATH": path, CONTROL: str(control), **environment},
        pass_fds=[control],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert typed.returncode == 0, f"{block}\n{typed.stdout}{typed.stderr}"
    assert "pg_restore:" not in typed.stderr, typed.stderr


@pytest.fixture
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With an `omnirelay` that has the program imported already. The other test uses the one that is installed."""
    folder = tmp_path_factory.mktemp("programs")
    write_script(folder / "omnirelay", "graph.cli")
    return folder


def write(url: str, *shard_ids: str, first: bool = False) -> None:
    async def writing() -> None:
        async with open_store(url) as store:
            mesh = Mesh(store)
            if first:
                await mesh.configure()
            await mesh.create(*map(new, shard_ids))

    asyncio.run(writing())


def stream_of(url: str) -> tuple[str, int]:
    """Epoch and revision, as they stand in the table: a store that is opened begins a new epoch where it must."""

    async def reading() -> tuple[str, int]:
        connection = await asyncpg.connect(url)
        try:
            return tuple(await connection.fetchrow("SELECT epoch, revision FROM stream_head"))
        finally:
            await connection.close()

    return asyncio.run(reading())


def test_there_is_no_block_that_is_not_run_below() -> None:
    assert sorted(blocks(PAGE)) == sorted(
        ["Install without a clone", "A PostgreSQL of your own", "Upgrades", "A dump", "A copy of the data folder"]
    )


@pytest.mark.timeout(180)
def test_a_database_is_made_dumped_and_restored_as_it_is_printed(
    empty_database_url: str, databases: Databases, programs: Path, tmp_path: Path
) -> None:
    typed, restored = blocks(PAGE), databases.url(RESTORED)
    named = {"OMNIRELAY_DATABASE_URL": empty_database_url, "RESTORED_URL": restored}
    (make,) = typed["A PostgreSQL of your own"]
    type_in(tmp_path, make, programs=programs, **named)
    write(empty_database_url, "a", "b", first=True)
    (look,) = typed["Upgrades"]
    type_in(tmp_path, look, programs=programs, **named)
    dump, into_a_new_one, over_the_old = typed["A dump"]
    type_in(tmp_path, dump, programs=programs, **named)
    dumped = stream_of(empty_database_url)
    try:
        type_in(tmp_path, into_a_new_one, programs=programs, **named)
        assert stream_of(restored) == dumped
        write(restored, "c")
        assert stream_of(restored)[0] != dumped[0]
    finally:
        databases.drop(RESTORED)
    write(empty_database_url, "lost")
    type_in(tmp_path, over_the_old, programs=programs, **named)
    assert stream_of(empty_database_url) == dumped
    write(empty_database_url, "d")
    assert stream_of(empty_database_url)[0] != dumped[0]


@pytest.mark.timeout(180)
def test_a_data_folder_is_copied_and_put_back_as_it_is_printed(tmp_path: Path) -> None:
    away, back = blocks(PAGE)["A copy of the data folder"]
    type_in(tmp_path, "omnirelay db upgrade")
    server = start_embedded_postgres(tmp_path / ".omnirelay")
    try:
        write(server.url, "a", "b", first=True)
        copied = stream_of(server.url)
    finally:
        server.stop()
    type_in(tmp_path, away)
    server = start_embedded_postgres(tmp_path / ".omnirelay")
    try:
        write(server.url, "lost")
    finally:
        server.stop()
    type_in(tmp_path, back)
    server = start_embedded_postgres(tmp_path / ".omnirelay")
    try:
        epoch, revision = stream_of(server.url)
        assert (epoch != copied[0], revision) == (True, copied[1])
        write(server.url, "c")
    finally:
        server.stop()


NAMED: Final = sorted({" ".join(name.split()) for name in re.findall(r"`(omnirelay [^`]+)`", PAGE)})


@pytest.mark.parametrize("named", NAMED)
def test_every_command_that_is_named_is_there_with_its_options(named: str) -> None:
    command: click.Command = omnirelay
    words = re.findall(r"\S+", named)[1:]
    while words and isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_every_code_of_what_can_go_wrong_is_one_that_is_answered() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)`(?: for every subscriber)? \|", PAGE, re.MULTILINE)
    codes = {error.code for error in vars(errors).values() if isinstance(getattr(error, "code", None), str)}
    assert len(rows) > 8
    assert set(rows) <= codes | set(errors.Unavailable)
    assert all(f"`{reason}`" in PAGE for reason in errors.Unavailable)


def test_the_time_limits_are_those_of_the_code() -> None:
    page = " ".join(PAGE.split())
    for limit in (
        (
            f"Each has {connecting.HOST_SECONDS:.0f} seconds, or `connect_timeout` of the URL; all together have "
            f"{connecting.CONNECT_SECONDS:.0f}."
        ),
        f"not answered within {engine.COMMAND_SECONDS:.0f} seconds is given up",
        f"If that takes more than {barrier.BARRIER_SECONDS:.0f} seconds",
    ):
        assert limit in page
