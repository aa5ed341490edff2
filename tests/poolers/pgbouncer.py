"""PgBouncer itself, in each of its modes: `make poolers`. Debian: apt-get install pgbouncer."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from migrations import upgrade
from persistence.errors import StoreUnavailable, Unavailable
from persistence.postgres.store import open_store
from tests.support.databases import Databases
from tests.support.mesh import Mesh, new
from tests.support.own_postgres import own_postgres

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="cannot run: pgbouncer is not installed")


@contextmanager
def pooled(database_url: str, folder: Path, mode: str, **more: str) -> Iterator[str]:
    """The URL of a PgBouncer before that database."""
    parts = urlsplit(database_url)
    query = parse_qs(parts.query)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": mode,
        "logfile": str(folder / "pgbouncer.log"),
        **more,
    }
    lines = [
        "[databases]",
        f"mesh = host={query['host'][0]} port={query['port'][0]} dbname={parts.path[1:]} user=postgres",
        "[pgbouncer]",
        *(f"{name} = {value}" for name, value in settings.items()),
    ]
    configuration = folder / "pgbouncer.ini"
    configuration.write_text("\n".join(lines))
    user = None
    if os.geteuid() == 0:  # which it refuses to run as; and the embedded PostgreSQL's socket is for its own group
        user = "nobody"
        (folder / "pgbouncer.log").touch()
        shutil.chown(folder / "pgbouncer.log", user)
    process = subprocess.Popen(  # noqa: S603 - found above
        [str(PGBOUNCER), str(configuration)],
        user=user,
        group=65_533 if user else None,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None, (folder / "pgbouncer.log").read_text()
                assert time.monotonic() < deadline
        yield f"postgresql://postgres@127.0.0.1:{port}/mesh?sslmode=disable"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One that another user may enter: PgBouncer does not run as root."""
    made = Path(tempfile.mkdtemp(prefix="pgbouncer-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def shared_url(folder: Path) -> Iterator[str]:
    with own_postgres(folder / "data") as server:
        yield server.url


@pytest.fixture
def database_url(shared_url: str) -> Iterator[str]:
    """Of a database with nothing in it but the schema."""
    databases = Databases(shared_url)
    databases.create("mesh")
    url = databases.url("mesh")
    asyncio.run(upgrade(url))
    yield url
    databases.drop("mesh")


async def test_session_mode_will_do(database_url: str, folder: Path) -> None:
    with pooled(database_url, folder, "session") as url:
        async with open_store(url) as store:
            mesh = Mesh(store)
            await mesh.configure()
            await mesh.create(new("a"))
            assert (await store.stream.head()).revision == 1


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_other_modes_are_refused_by_name(database_url: str, folder: Path, mode: str) -> None:
    with pooled(database_url, folder, mode) as url:
        async with open_store(url) as store:
            for _ in range(3):
                with pytest.raises(StoreUnavailable, match="a pooler in transaction mode stands in between") as refused:
                    await store.stream.head()
                assert refused.value.reason is Unavailable.TRANSACTION_POOLER


async def test_session_mode_with_no_room_left_for_another_client_will_do(database_url: str, folder: Path) -> None:
    """So that a second one cannot find out whether the first keeps its backend."""
    with pooled(database_url, folder, "session", default_pool_size="4") as url:
        async with open_store(url, read_connections=1, write_connections=1) as store:
            mesh = Mesh(store)
            await mesh.configure()
            assert (await store.stream.head()).revision == 0
