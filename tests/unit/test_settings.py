"""Settings: where they come from, what is refused, and that the documentation lists them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from graph.settings import Settings, SettingsError, load_settings, variable

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations" / "settings.md"


def test_the_defaults_need_nothing() -> None:
    settings = load_settings(None, {})
    assert (settings.host, settings.port, settings.database_url) == ("127.0.0.1", 8080, None)
    assert settings.loads_demo


def test_the_command_line_beats_the_environment_and_that_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mesh.toml"
    file.write_text('port = 1\nfeed_ring = 501\nread_connections = 3\n[namespaces.orders]\nstrategy = "ring"\n')
    environment = {"OMNIRELAY_PORT": "2", "OMNIRELAY_READ_CONNECTIONS": "4"}
    settings = load_settings(file, environment, port=5)
    assert (settings.port, settings.read_connections, settings.feed_ring) == (5, 4, 501)
    assert settings.namespaces["orders"].strategy == "ring"


def test_allowed_hosts_are_a_list_in_a_file_and_separated_by_commas_in_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "mesh.toml"
    file.write_text('allowed_hosts = ["mesh.example"]\n')
    assert load_settings(file, {}).allowed_hosts == ("mesh.example",)
    assert load_settings(None, {"OMNIRELAY_ALLOWED_HOSTS": "a.example, b.example"}).allowed_hosts == (
        "a.example",
        "b.example",
    )


def test_allowed_origins_are_written_as_browsers_write_them() -> None:
    given = "https://Ops.example.com:443/, http://localhost:5173, http://[::1]:80,"
    assert load_settings(None, {"OMNIRELAY_ALLOWED_ORIGINS": given}).allowed_origins == (
        "https://ops.example.com",
        "http://localhost:5173",
        "http://[::1]",
    )
    assert load_settings(None, {}).allowed_origins == ()


@pytest.mark.parametrize(
    "given", ["*", "ops.example.com", "https://ops.example.com/path", "null", "https://user@ops.example.com"]
)
def test_what_is_no_origin_is_refused_and_any_is_where_everyone_may_write(given: str) -> None:
    with pytest.raises(SettingsError, match="allowed_origins"):
        load_settings(None, {"OMNIRELAY_ALLOWED_ORIGINS": given})


def test_any_origin_may_be_allowed_with_authentication() -> None:
    environment = {"OMNIRELAY_ALLOWED_ORIGINS": "*", "OMNIRELAY_AUTH_SECRET": "0123456789" * 4}
    assert load_settings(None, environment).allowed_origins == ("*",)


def test_an_empty_variable_counts_as_unset() -> None:
    assert load_settings(None, {"OMNIRELAY_PORT": ""}).port == 8080


def test_a_configured_database_gets_no_demo_unless_asked() -> None:
    environment = {"OMNIRELAY_DATABASE_URL": "postgresql://db/mesh"}
    assert not load_settings(None, environment).loads_demo
    assert load_settings(None, environment, demo=True).loads_demo


def test_every_wrong_setting_is_named_with_where_it_was_set(tmp_path: Path) -> None:
    file = tmp_path / "mesh.toml"
    file.write_text("feed_ring = 1\nunheard_of = 2\n")
    with pytest.raises(SettingsError) as refused:
        load_settings(file, {"OMNIRELAY_PORT": "many"}, log_level="chatty")
    lines = str(refused.value).splitlines()
    assert len(lines) == 4
    for beginning in (
        "port (OMNIRELAY_PORT): ",
        "log_level (command line): ",
        f"feed_ring ({file}): ",
        f"unheard_of ({file}): ",
    ):
        assert any(line.startswith(beginning) for line in lines), beginning


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "mesh.example"])  # noqa: S104 - what must be refused
def test_without_authentication_only_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(SettingsError, match="authentication is not configured"):
        load_settings(None, {}, host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_loopback_has_several_names(host: str) -> None:
    assert load_settings(None, {}, host=host).host == host


@pytest.mark.parametrize("name", ["auth_secret", "auth_secret_file", "auth_jwks_file"])
def test_with_authentication_any_address_may_be_listened_on(name: str) -> None:
    settings = load_settings(None, {variable(name): "x" * 32}, host="192.0.2.1")
    assert settings.host == "192.0.2.1"


def test_keys_come_from_one_place_only() -> None:
    environment = {"OMNIRELAY_AUTH_SECRET": "s" * 32, "OMNIRELAY_AUTH_JWKS_FILE": "keys.json"}
    with pytest.raises(SettingsError) as refused:
        load_settings(None, environment, auth_secret_file="secret")  # noqa: S106 - a file
    assert str(refused.value).splitlines() == [
        "auth_secret_file (command line): must not be set together with auth_secret",
        "auth_jwks_file (OMNIRELAY_AUTH_JWKS_FILE): must not be set together with auth_secret",
    ]


def test_a_secret_is_not_shown_with_the_settings() -> None:
    assert "hush" not in repr(load_settings(None, {"OMNIRELAY_AUTH_SECRET": "hush" * 8}))


def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"database_url .*postgresql://"):
        load_settings(None, {"OMNIRELAY_DATABASE_URL": "mysql://db/mesh"})


@pytest.mark.parametrize("content", ["port = ", "\xff"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "mesh.toml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"mesh\.toml: not TOML"):
        load_settings(file, {})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml: No such file"):
        load_settings(tmp_path / "nowhere.toml", {})


def test_the_documentation_lists_every_setting_as_it_is() -> None:
    documented = {
        cells[1].strip("` "): (cells[2].strip("` "), cells[3].strip("` "), cells[4].strip())
        for line in DOCUMENT.read_text().splitlines()
        if len(cells := line.split("|")) == 6 and cells[1].startswith(" `")
    }
    expected = {
        name: (
            "" if name == "namespaces" else variable(name),
            _written("" if field.default is None or name == "namespaces" else field.default),
            field.description,
        )
        for name, field in Settings.model_fields.items()
    }
    assert documented == expected


def _written(default: object) -> str:
    return ",".join(default) if isinstance(default, tuple) else str(default)
