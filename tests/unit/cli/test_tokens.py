"""Tokens for development, and what commands show to servers: never anything from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from graph.auth.principal import Scope
from graph.auth.tokens import authentication
from graph.cli.errors import Exit
from graph.cli.options import change_options, server_options
from graph.client.address import Address
from graph.settings import load_settings
from tests.support.command_line import omnirelay
from tests.support.secret_file import write_secret
from tests.support.tokens import SECRET


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "somebody")


def test_a_token_is_signed_that_a_server_with_these_settings_takes(tmp_path: Path) -> None:
    write_secret(tmp_path / "secret", SECRET)
    config = tmp_path / "mesh.toml"
    config.write_text(f'auth_secret_file = "{tmp_path}/secret"\nauth_issuer = "here"\nauth_audience = "mesh"\n')
    answer = omnirelay(
        "token", "issue", "--subject", "alice", "--scope", "mesh.operate", "--scope", "mesh.approve", "--config", config
    )
    assert (answer.exit, answer.err) == (Exit.OK, "")
    principal = authentication(load_settings(config, {})).caller(f"Bearer {answer.out.strip()}")
    assert principal.subject == "alice"
    assert principal.scopes == {Scope.READ, Scope.OPERATE, Scope.APPROVE}


@pytest.mark.parametrize(
    ("secret", "subject", "problem"),
    [
        (None, "alice", "  auth_secret, auth_secret_file: neither is set, so there is no secret to sign with"),
        ("short", "alice", "  auth_secret: must be at least 32 bytes long, not 5"),
        (SECRET.decode(), " ", "Error: --subject must not be blank."),
    ],
)
def test_without_a_secret_or_a_subject_nothing_is_signed(
    monkeypatch: pytest.MonkeyPatch, secret: str | None, subject: str, problem: str
) -> None:
    if secret is not None:
        monkeypatch.setenv("OMNIRELAY_AUTH_SECRET", secret)
    answer = omnirelay("token", "issue", "--subject", subject)
    assert (answer.exit, answer.out) == (Exit.INVALID, "")
    assert problem in answer.err.splitlines()


def given_to(*words: str) -> dict[str, Any]:
    """What a command gets that changes something."""

    @click.command()
    @change_options
    @server_options
    def command(**given: Any) -> dict[str, Any]:
        return given

    found: dict[str, Any] = command.main([*words, "--reason", "why not"], standalone_mode=False)
    return found


def shown(server: Address) -> str | None:
    return None if server.token is None else server.token()


def test_a_file_comes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    write_secret(file, "from-the-file")
    assert shown(given_to()["server"]) is None
    monkeypatch.setenv("OMNIRELAY_TOKEN", "from-the-environment")
    assert shown(given_to()["server"]) == "from-the-environment"
    assert shown(given_to("--token-file", str(file))["server"]) == "from-the-file"


def test_the_actor_is_left_to_the_token_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert given_to()["actor"] == "somebody"
    assert given_to("--token-file", "alice.token")["actor"] is None
    monkeypatch.setenv("OMNIRELAY_TOKEN", "t")
    assert given_to()["actor"] is None
    assert given_to("--actor", "bob")["actor"] == "bob"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "The token cannot be read from {file}: No such file or directory."),
        (b"", "What should be a token is none: it is empty, or not one word of letters, digits and ._~+/-"),
        (b"two words", "What should be a token is none: it is empty, or not one word of letters, digits and ._~+/-"),
        (b"\xff", "The token cannot be read from {file}: not a text file."),
    ],
)
def test_a_file_without_a_token_is_said_before_anything_is_asked(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        write_secret(file, content)
    for command in (("nodes", "list"), ("shards", "watch")):
        answer = omnirelay("mesh", *command, "--token-file", file, "--server", "http://127.0.0.1:1")
        assert answer.exit == Exit.DENIED
        first, advice = answer.err.splitlines()
        assert first == problem.format(file=file)
        assert "--token-file" in advice
        assert "two words" not in answer.err
