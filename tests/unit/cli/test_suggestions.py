"""Commands to type next, ready for a shell."""

from __future__ import annotations

from collections.abc import Callable

import click
import pytest

from graph.cli.options import KEY_VALUE, change_options, server_options
from graph.cli.suggestions import suggest_next, suggest_retry

Told = Callable[..., str]


@pytest.fixture
def told() -> Told:
    """The command that is suggested next, when it is given these words."""

    def tell(say: Callable[[], str], *words: str) -> str:
        @click.command("set")
        @click.argument("node")
        @click.option("--expected-version", type=int)
        @click.option("--label", multiple=True, type=KEY_VALUE)
        @click.option("--accept-blockers", is_flag=True)
        @change_options
        @server_options
        def command(**_: object) -> str:
            return say()

        answer = command.main([*words, "--reason", "why not"], prog_name="mesh set", standalone_mode=False)
        return str(answer)

    return tell


def test_the_command_comes_back_as_it_was_typed(told: Told) -> None:
    assert told(suggest_retry, "n1", "--label", "a=1", "--label", "b=x y") == (
        "mesh set n1 --label a=1 --label 'b=x y' --reason 'why not'"
    )


def test_a_value_can_be_changed_or_added(told: Told) -> None:
    assert told(lambda: suggest_retry(expected_version=3), "n1", "--expected-version", "2") == (
        "mesh set n1 --expected-version 3 --reason 'why not'"
    )
    assert told(lambda: suggest_retry(accept_blockers=True), "n1") == (
        "mesh set n1 --accept-blockers --reason 'why not'"
    )


def test_a_value_can_be_left_out(told: Told) -> None:
    assert told(lambda: suggest_retry(expected_version=None, accept_blockers=False), "n1", "--accept-blockers") == (
        "mesh set n1 --reason 'why not'"
    )


def test_what_follows_is_for_the_same_reason_at_the_same_server(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIRELAY_ACTOR", "ops")
    following = lambda: suggest_next("mesh apply", "a plan")  # noqa: E731 - said where it is used
    assert told(following, "n1", "--ticket", "CHG-1", "--server", "http://mesh") == (
        "mesh apply 'a plan' --reason 'why not' --ticket CHG-1 --server http://mesh"
    )


def test_what_follows_shows_the_same_token(told: Told) -> None:
    assert told(lambda: suggest_next("mesh apply", "p1"), "n1", "--token-file", "alice.token") == (
        "mesh apply p1 --reason 'why not' --token-file alice.token"
    )
