"""The password of the database's role in a password file, and the whole connection in a service file, as for libpq: a
server starts on them, and one that others may read is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from migrations import upgrade
from persistence.errors import InvalidArgument, StoreError, StoreUnavailable, Unavailable
from persistence.postgres.driver import connect
from persistence.postgres.store import open_store
from tests.support.command_line import omnirelay
from tests.support.own_postgres import own_postgres
from tests.support.real_server import real_server
from tests.support.secret_file import write_secret

PASSWORD = "of one's own server"  # noqa: S105 - of this test's


@dataclass(frozen=True)
class Guarded:
    """A role whose password is asked for, and a folder for files that have it."""

    url: str
    host: str
    port: int
    folder: Path

    def password_file(self, password: str = PASSWORD) -> Path:
        return write_secret(self.folder / "pgpass", f"# host:port:database:user:password\n*:*:*:guarded:{password}\n")

    def service_file(self) -> Path:
        lines = "[mesh]", f"host={self.host}", f"port={self.port}", "dbname=postgres", "user=guarded"
        path = self.folder / "services.conf"
        path.write_text("\n".join(lines) + "\n")
        return path


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    with own_postgres(folder / "server", migrated=False) as server:
        quoted = PASSWORD.replace("'", "''")
        asyncio.run(server.sql(f"CREATE ROLE guarded LOGIN SUPERUSER PASSWORD '{quoted}'"))
        rules = server.cluster / "pg_hba.conf"
        rules.write_text("local all guarded scram-sha-256\n" + rules.read_text())
        asyncio.run(server.sql("SELECT pg_reload_conf()"))
        parts = urlsplit(server.url)
        given = dict(pair.split("=") for pair in parts.query.split("&"))
        host, port = given["host"], int(given.get("port", parts.port or 5432))
        url = f"postgresql://guarded@/postgres?host={host}&port={port}"
        yield Guarded(url, host.replace("%2F", "/"), port, folder)


async def who(url: str) -> str:
    connection = await connect(url)
    try:
        name: str = await connection.fetchval("SELECT current_user")
    finally:
        await connection.close()
    return name


async def test_the_role_is_asked_for_its_password(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSFILE", str(guarded.folder / "none"))
    with pytest.raises(StoreUnavailable, match="password authentication failed") as denied:
        await who(guarded.url)
    assert denied.value.reason is Unavailable.ACCESS_DENIED


async def test_it_is_read_from_the_file_of_the_url(guarded: Guarded) -> None:
    assert await who(f"{guarded.url}&passfile={guarded.password_file()}") == "guarded"


async def test_it_is_read_from_the_file_of_the_variable(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSFILE", str(guarded.password_file()))
    assert await who(guarded.url) == "guarded"


async def test_a_wrong_one_is_refused_and_not_shown(guarded: Guarded) -> None:
    with pytest.raises(StoreError) as refused:
        await who(f"{guarded.url}&passfile={guarded.password_file('hush')}")
    assert "hush" not in str(refused.value)


async def test_a_service_names_all_of_it(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSERVICEFILE", str(guarded.service_file()))
    monkeypatch.setenv("PGPASSFILE", str(guarded.password_file()))
    for url in ("postgresql:///?service=mesh", "postgresql://?service=mesh"):
        assert await who(url) == "guarded"


async def test_a_store_is_opened_by_a_service(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSERVICEFILE", str(guarded.service_file()))
    monkeypatch.setenv("PGPASSFILE", str(guarded.password_file()))
    url = "postgresql:///?service=mesh"
    await upgrade(url)
    async with open_store(url) as store:
        assert (await store.stream.head()).revision == 0


async def test_a_file_that_others_may_read_is_refused(guarded: Guarded) -> None:
    path = guarded.password_file()
    path.chmod(0o644)
    with pytest.raises(InvalidArgument, match=rf"passfile: {path} may be read by others \(mode 0644\)"):
        await who(f"{guarded.url}&passfile={path}&application_name=exposed")


def test_a_server_serves_by_a_service_and_a_password_file(guarded: Guarded) -> None:
    environment = {"PGSERVICEFILE": str(guarded.service_file()), "PGPASSFILE": str(guarded.password_file())}
    url = "postgresql:///?service=mesh"
    asyncio.run(_upgraded(guarded))
    with real_server(url, environment=environment) as server:
        assert server.http.get(f"{server.url}/readyz").status_code == 200


async def _upgraded(guarded: Guarded) -> None:
    await upgrade(f"{guarded.url}&passfile={guarded.password_file()}")


def test_a_password_on_the_command_line_is_warned_of(guarded: Guarded) -> None:
    url = f"postgresql://guarded:hush@/postgres?host={guarded.host}&port={guarded.port}"
    answer = omnirelay("db", "check", "--database-url", url)
    assert answer.err.startswith("Warning: --database-url has a password in it")
    assert "PGPASSFILE" in answer.err
    assert "hush" not in answer.err
    assert "Warning" not in omnirelay("db", "check", "--database-url", guarded.url).err
