"""Every command that docs/operations/ prints is run here, in its order; every one that it names is there."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
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
from tests.support.fork_client import CONTROL, write_script
from tests.support.fork_server import fork_server
from tests.support.mesh import Mesh, new
from tests.support.operations_book import DOCS, PAGES, blocks, book, page
from tests.support.own_postgres import OwnPostgres
from tests.support.real_server import real_server

PAGE: Final = book()
ROOT: Final = DOCS.parent


def type_in(folder: Path, block: str, *, programs: Path = Path(sys.executable).parent, **environment: str) -> None:
    """Each line must succeed, and PostgreSQL's programs must print nothing."""
    path = os.pathsep.join([str(programs), str(find_binaries()), os.defpath])
    control = fork_server().fileno()
    typed = subprocess.run(  # noqa: S603 - our own page
        ["bash", "-euo", "pipefail", "-c", block],  # noqa: S607 - the shell of the documentation
        cwd=folder,
        env={"PATH": path, "HOME": str(folder), CONTROL: str(control), **environment},
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
    """With an `omnirelay` that has the program imported already. One test uses the one that is installed."""
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


@dataclass(frozen=True)
class Newcomer:
    """An empty folder, PostgreSQL without a database for the servers, and the programs."""

    folder: Path
    admin: str
    programs: Path

    def url(self, database: str) -> str:
        """As the role of the servers, which the page makes."""
        socket = self.admin.partition("?")[2]
        return f"postgresql://mesh@/{database}?{socket}"

    def type(self, block: str, server: str = "http://127.0.0.1:0", **environment: str) -> None:
        """With the addresses of this database, and of this server in place of the one that is printed."""
        named = {
            "ADMIN_URL": self.admin,
            "OMNIRELAY_DATABASE_URL": self.url("mesh"),
            "RESTORED_URL": self.url("mesh_restored"),
            "OMNIRELAY_SERVER": server,
        }
        printed = block.replace("http://127.0.0.1:8080", server)
        type_in(self.folder, printed, programs=self.programs, **{**named, **environment})


@pytest.fixture
def newcomer(tmp_path: Path, programs: Path) -> Iterator[Newcomer]:
    postgres = OwnPostgres.start(tmp_path / "postgres")
    folder = tmp_path / "empty"
    folder.mkdir()
    try:
        yield Newcomer(folder, postgres.url, programs)
    finally:
        postgres.stop()


def test_there_is_no_block_that_is_not_run_below() -> None:
    assert {name: found for name in PAGES if (found := list(blocks(page(name))))} == {
        # The first needs an index of packages for what builds a wheel: `make deploy-check` builds it with what is here.
        "run": ["Install without a clone", "Start, reload, stop", "A PostgreSQL of your own"],
        "secure": ["A secret and tokens"],
        "watch": ["Watch"],
        "scale": ["Beyond one PostgreSQL"],
        "retain": ["Retention"],
        "back-up": ["A dump", "A copy of the data folder"],
        "upgrade": ["Upgrades"],
    }


@pytest.mark.skipif(shutil.which("curl", path=os.defpath) is None, reason="the pages print curl, which is not here")
@pytest.mark.timeout(180)
def test_a_newcomer_makes_a_database_and_serves_it_with_tokens(newcomer: Newcomer) -> None:
    make, migrate = blocks(page("run"))["A PostgreSQL of your own"]
    newcomer.type(make)
    newcomer.type(migrate)
    (look,) = blocks(page("upgrade"))["Upgrades"]
    newcomer.type(look)
    issue, use = blocks(page("secure"))["A secret and tokens"]
    newcomer.type(issue)
    (ready,) = blocks(page("run"))["Start, reload, stop"]
    (watch,) = blocks(page("watch"))["Watch"]
    secret = {"OMNIRELAY_AUTH_SECRET_FILE": str(newcomer.folder / "secret")}
    with real_server(newcomer.url("mesh"), environment=secret) as server:
        newcomer.type(ready, server.url)
        newcomer.type(watch, server.url)
        newcomer.type(use, server.url)
        assert server.http.post(f"{server.url}/graphql", json={"query": "{ head { revision } }"}).status_code == 401


@pytest.mark.timeout(180)
def test_a_database_is_dumped_restored_and_compacted_as_it_is_printed(newcomer: Newcomer) -> None:
    for block in blocks(page("run"))["A PostgreSQL of your own"]:
        newcomer.type(block)
    url, restored = newcomer.url("mesh"), newcomer.url("mesh_restored")
    write(url, "a", "b", first=True)
    dump, into_a_new_one, over_the_old = blocks(page("back-up"))["A dump"]
    newcomer.type(dump)
    dumped = stream_of(url)
    newcomer.type(into_a_new_one)
    assert stream_of(restored) == dumped
    write(restored, "c")
    assert stream_of(restored)[0] != dumped[0]
    write(url, "lost")
    newcomer.type(over_the_old)
    assert stream_of(url) == dumped
    write(url, "d")
    assert stream_of(url)[0] != dumped[0]
    (compact,) = blocks(page("retain"))["Retention"]
    with pytest.raises(AssertionError, match=r"Nothing to do: .* none of it is older"):
        newcomer.type(compact)
    newcomer.type(compact.replace("30d", "2"))


@pytest.mark.timeout(180)
def test_a_namespace_is_moved_to_another_cell_and_a_client_reads_both(newcomer: Newcomer) -> None:
    make, migrate = blocks(page("run"))["A PostgreSQL of your own"]
    newcomer.type(make)
    newcomer.type(
        make.replace("--command=\"CREATE ROLE mesh LOGIN PASSWORD 'CHANGE-ME'\"", "").replace(
            "DATABASE mesh", "DATABASE other"
        )
    )
    newcomer.type(migrate)
    newcomer.type(migrate, OMNIRELAY_DATABASE_URL=newcomer.url("other"))
    (move,) = blocks(page("scale"))["Beyond one PostgreSQL"]
    (read,) = blocks(page("scale"), "python")["Beyond one PostgreSQL"]
    with real_server(newcomer.url("mesh")) as old, real_server(newcomer.url("other")) as new_one:
        for server, name in ((old, "orders"), (new_one, "orders"), (new_one, "sessions")):
            server.change("ConfigureNamespace", "NamespaceConfigured", name=name, strategy="ring", expectedVersion="0")
        for server, name in ((old, "orders"), (new_one, "sessions")):
            shard = {"namespace": name, "shardId": "s1", "ownerNodeId": f"node-of-{name}"}
            server.change("CreateShards", "ShardsChanged", shards=[shard])
        newcomer.type(move, OLD_CELL=old.url, NEW_CELL=new_one.url, OMNIRELAY_ACTOR="ops")
        program = read.replace("http://cell-1.mesh.example.com", old.url)
        program = program.replace("http://cell-2.mesh.example.com", new_one.url)
        assert program.count("http://127.0.0.1") == 2
        answered = subprocess.run(  # noqa: S603 - our own page
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
        )
    assert answered.stdout.splitlines() == [
        "orders node-of-orders LIVE",
        "sessions node-of-sessions LIVE",
    ]


@pytest.mark.timeout(180)
def test_a_data_folder_is_copied_and_put_back_as_it_is_printed(tmp_path: Path) -> None:
    away, back = blocks(page("back-up"))["A copy of the data folder"]
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
    text = " ".join(PAGE.split())
    for limit in (
        (
            f"Each has {connecting.HOST_SECONDS:.0f} seconds, or `connect_timeout` of the URL; all together have "
            f"{connecting.CONNECT_SECONDS:.0f}."
        ),
        f"not answered within {engine.COMMAND_SECONDS:.0f} seconds is given up",
        f"If that takes more than {barrier.BARRIER_SECONDS:.0f} seconds",
    ):
        assert limit in text
