"""Secrets in files that others may read are not used: those of settings, of clients, and of the database's driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from graph.auth.keys import KeyFile, secret_key
from graph.auth.tokens import authentication
from graph.client.credentials import TokenUnusable, token_file
from graph.settings import SettingsError, has_password, load_settings
from persistence.errors import InvalidArgument
from persistence.postgres.driver import hosts_of
from persistence.secret_files import SecretExposed, read_secret
from tests.support.secret_file import write_secret

SECRET = b"a secret of more than 32 bytes, as it must be"


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o620, 0o666])
def test_a_file_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = write_secret(tmp_path / "secret", SECRET)
    path.chmod(mode)
    with pytest.raises(SecretExposed, match=rf"may be read by others \(mode {mode:04o}\).*chmod 600"):
        read_secret(path)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_one_that_is_its_owners_alone_is_read(tmp_path: Path, mode: int) -> None:
    path = write_secret(tmp_path / "secret", SECRET)
    path.chmod(mode)
    assert read_secret(path) == SECRET


def test_a_servers_secret_is_refused_by_its_setting(tmp_path: Path) -> None:
    path = write_secret(tmp_path / "secret", SECRET)
    path.chmod(0o644)
    with pytest.raises(SettingsError, match=r"^auth_secret_file: .*/secret may be read by others \(mode 0644\)"):
        authentication(load_settings(None, {}, auth_secret_file=path))


def test_a_secret_that_becomes_readable_is_not_taken_over_until_that_is_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_secret(tmp_path / "secret", SECRET)
    keys = KeyFile(path, secret_key, is_secret=True)
    before = keys()
    path.chmod(0o644)
    assert keys() is before
    assert keys() is before
    (line,) = [record.getMessage() for record in caplog.records]
    assert "may be read by others (mode 0644)" in line
    path.chmod(0o600)
    assert keys() is not before


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (f'auth_secret = "{SECRET.decode()}"', "auth_secret"),
        ('database_url = "postgresql://mesh:hush@db/mesh"', "database_url"),
        ('database_url = "postgresql://db/mesh?user=mesh&password=hush"', "database_url"),
    ],
)
def test_a_settings_file_with_a_secret_in_it_is_refused(tmp_path: Path, line: str, named: str) -> None:
    path = write_secret(tmp_path / "mesh.toml", line + "\n")
    assert load_settings(path, {}).port == 8080
    path.chmod(0o644)
    with pytest.raises(SettingsError, match=rf"^{named} \({path}\): the file may be read by others") as refused:
        load_settings(path, {})
    assert "hush" not in str(refused.value)


def test_a_settings_file_without_one_may_be_read_by_all(tmp_path: Path) -> None:
    path = tmp_path / "mesh.toml"
    path.write_text('database_url = "postgresql://mesh@db/mesh"\n')
    path.chmod(0o644)
    assert load_settings(path, {}).database_url == "postgresql://mesh@db/mesh"


def test_a_token_is_not_sent_from_a_file_that_others_may_read(tmp_path: Path) -> None:
    path = write_secret(tmp_path / "token", "a.b.c")
    assert token_file(path)() == "a.b.c"
    path.chmod(0o644)
    with pytest.raises(TokenUnusable, match=r"token is not used: the file may be read by others|is not used"):
        token_file(path)()


@pytest.mark.parametrize(("parameter", "variable"), [("passfile", "PGPASSFILE"), ("sslkey", "PGSSLKEY")])
def test_the_drivers_files_are_refused_by_url_and_by_variable(
    tmp_path: Path, parameter: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_secret(tmp_path / "file", "db:5432:mesh:mesh:hush\n")
    path.chmod(0o640 if path.stat().st_uid else 0o644)
    with pytest.raises(InvalidArgument, match=rf"{parameter}: {path} may be read by others"):
        hosts_of(f"postgresql://mesh@db/{parameter}?{parameter}={path}")
    monkeypatch.setenv(variable, str(path))
    with pytest.raises(InvalidArgument, match=rf"{variable}: {path} may be read by others"):
        hosts_of(f"postgresql://mesh@db/{variable}")


@pytest.mark.parametrize(
    ("url", "has"),
    [
        ("postgresql://mesh:hush@db/mesh", True),
        ("postgresql://mesh:hush@db:5432,db2:5432/mesh", True),
        ("postgresql://db/mesh?password=hush", True),
        ("postgresql://mesh@db/mesh?passfile=/etc/pgpass", False),
        ("postgresql:///?service=mesh", False),
    ],
)
def test_a_password_in_a_url_is_noticed(url: str, *, has: bool) -> None:
    assert has_password(url) is has
