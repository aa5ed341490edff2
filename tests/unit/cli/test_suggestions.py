"""Commands to type next, ready for a shell."""

from __future__ import annotations

from collections.abc import Callable

import click
import pytest

from graph.cli.options import KEY_VALUE, change_options, server_options
from graph.cli.suggestions import suggest_next, suggest_retry, suggest_to_another
from graph.client.address import read_address
from tests.support import suggestions

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


def test_another_operator_types_no_name_token_or_context_of_this_one(told: Told) -> None:
    mesh = read_address("http://mesh")
    words = ("n1", "--ticket", "CHG-1", "--actor", "alice", "--token-file", "alice.token", "--server", "http://mesh")
    assert told(lambda: suggest_to_another("mesh approve", arguments=["p1"], server=mesh), *words) == (
        "mesh approve p1 --reason 'why not' --ticket CHG-1 --server http://mesh"
    )
    assert told(lambda: suggest_to_another("mesh approve", server=mesh), "n1") == "mesh approve --reason 'why not'"


def test_an_id_that_begins_with_a_dash_is_no_option(told: Told) -> None:
    assert told(lambda: suggest_retry(node="-7"), "n1") == "mesh set --reason 'why not' -- -7"
    assert told(lambda: suggest_next("mesh drain", arguments=["-7"]), "n1") == "mesh drain --reason 'why not' -- -7"


def test_several_arguments_and_a_flag_that_is_off_come_back() -> None:
    @click.command("evacuate")
    @click.argument("nodes", nargs=-1)
    @click.option("--wait/--no-wait", default=True)
    def command(**_: object) -> str:
        return suggest_retry()

    typed = ["n1", "n 2", "--no-wait"]
    assert command.main(typed, prog_name="mesh evacuate", standalone_mode=False) == "mesh evacuate n1 'n 2' --no-wait"


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ("  omnirelay mesh rebalance approve 0123", "Missing option '--reason'"),
        ("What there is: omnirelay mesh nodes lst", "No such command 'lst'"),
        ("Write it with: omnirelay schema export --output a b", "unexpected extra argument"),
        ("Try 'omnirelay mesh rebalance pla --json'.", "No such command 'pla'"),
        ("there is no plan 1; planRebalance makes one", "words of the API"),
        ("Say acceptBlockers to go on.", "words of the API"),
    ],
)
def test_what_does_not_work_as_the_next_command_is_noticed(printed: str, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        suggestions.check("", printed)


def test_what_works_is_collected() -> None:
    suggestions.PRINTED.clear()
    suggestions.check("", "To go on:\n  omnirelay mesh nodes list\n'omnirelay mesh rebalance plan --json' writes one.")
    assert suggestions.PRINTED == ["mesh nodes list"]
