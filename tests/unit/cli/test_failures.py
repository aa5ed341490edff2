"""Every failure has an exit code, a message of what happened, and advice on what to do next."""

from __future__ import annotations

from typing import Any

import pytest

from graph.cli import program
from graph.cli.errors import Exit, Failure, committed, failing, failure_of
from graph.cli.schema import schema
from graph.client.address import read_address
from graph.client.errors import (
    AnswerLost,
    ClientError,
    ConnectionLost,
    NotGraphQL,
    OperationRefused,
    ProtocolBroken,
    ServerUnreachable,
)
from graph.client.http import proxy_note


def error(code: str | None, message: str = "what happened") -> dict[str, Any]:
    return {"message": message, "extensions": {"code": code}} if code else {"message": message}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("UNAUTHENTICATED", Exit.DENIED),
        ("FORBIDDEN", Exit.DENIED),
        ("INVALID_ARGUMENT", Exit.INVALID),
        ("BAD_CURSOR", Exit.INVALID),
        ("BAD_USER_INPUT", Exit.INVALID),
        ("PAYLOAD_TOO_LARGE", Exit.INVALID),
        ("NOT_FOUND", Exit.NOT_FOUND),
        ("PLACEMENT_IMPOSSIBLE", Exit.REFUSED),
        ("COMPACTED", Exit.POSITION),
        ("EPOCH_MISMATCH", Exit.POSITION),
        ("FUTURE_CURSOR", Exit.POSITION),
        ("MISDIRECTED", Exit.UNAVAILABLE),
        ("OVERLOADED", Exit.UNAVAILABLE),
        ("LOCKED", Exit.UNAVAILABLE),
        ("UNAVAILABLE", Exit.UNAVAILABLE),
        ("STALE_READ", Exit.UNAVAILABLE),
        ("TRANSIENT_CONFLICT", Exit.UNAVAILABLE),
        ("GRAPHQL_VALIDATION_FAILED", Exit.OTHER_VERSION),
        ("INTERNAL", Exit.INTERNAL),
        ("NEVER_HEARD_OF", Exit.INTERNAL),
        (None, Exit.INTERNAL),
    ],
)
def test_every_code_of_the_api_has_an_exit_code(code: str | None, expected: Exit) -> None:
    failure = failure_of([error(code)])
    assert failure.exit is expected
    assert "what happened" in failure.message


def test_what_is_denied_says_so_and_how_to_be_let_in() -> None:
    failure = failure_of([error("UNAUTHENTICATED", "the token has expired")])
    assert failure.message == "Not allowed: the token has expired."
    assert "--token-file" in failure.advice[0]


def test_a_position_that_cannot_be_served_is_named_by_its_code() -> None:
    failure = failure_of([error("COMPACTED", "revision 3 was compacted")])
    assert failure.message == "COMPACTED: revision 3 was compacted"


def test_every_error_is_told() -> None:
    assert failure_of([error("BAD_USER_INPUT", "first"), error("BAD_USER_INPUT", "second")]).advice == ["second"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("VersionConflict", Exit.REFUSED),
        ("NamespaceVersionConflict", Exit.REFUSED),
        ("IdempotencyKeyReused", Exit.REFUSED),
        ("NodeInUse", Exit.REFUSED),
        ("PlanClosed", Exit.REFUSED),
        ("PolicyViolation", Exit.REFUSED),  # not there yet; a refusal by any other name
        ("NotFound", Exit.NOT_FOUND),
        ("InvalidInput", Exit.INVALID),
    ],
)
def test_every_refusal_has_an_exit_code(kind: str, expected: Exit) -> None:
    with pytest.raises(Failure) as refused:
        committed({"__typename": kind, "message": "no"}, ["Do this."])
    assert (refused.value.exit, refused.value.message, refused.value.advice) == (expected, "Refused: no.", ["Do this."])


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("zones[0] no node is in zone 'x'", "Refused: --zone no node is in zone 'x'."),
        ("onlyReasons must name at least one", "Refused: --only must name at least one."),
        ("vacate names node-1 (ACTIVE)", "Refused: --vacate names node-1 (ACTIVE)."),
        ("changeId changed no shard", "Refused: --of-change changed no shard."),
        ("zonesX is no field", "Refused: zonesX is no field."),
    ],
)
def test_what_narrows_a_plan_is_named_as_it_was_typed(message: str, shown: str) -> None:
    with pytest.raises(Failure) as refused:
        committed({"__typename": "InvalidInput", "message": message})
    assert refused.value.message == shown


def test_a_name_that_there_is_not_comes_with_the_nearest_one_and_a_command_that_lists() -> None:
    failure = failure_of([error("NOT_FOUND", "there is no namespace ordrs; did you mean orders?")])
    assert failure.message == "There is no namespace ordrs."
    assert failure.advice == ["Did you mean orders?", "What namespaces there are: omnirelay mesh namespaces list"]
    failure = failure_of([error("NOT_FOUND", "there is no plan p; planRebalance makes one")])
    assert (failure.message, failure.advice) == (
        "There is no plan p.",
        ["Which plans there are: omnirelay mesh rebalance list"],
    )


def test_a_committed_change_is_no_refusal() -> None:
    answer = {"__typename": "ShardsChanged", "revision": "7"}
    assert committed(answer) is answer


def test_many_conflicts_are_listed_up_to_twenty() -> None:
    conflict = {"namespace": "o", "expectedVersion": "1", "actualVersion": "2"}
    conflicts = [conflict | {"shardId": f"s{number}"} for number in range(25)]
    with pytest.raises(Failure) as refused:
        committed({"__typename": "VersionConflict", "message": "no", "conflicts": conflicts})
    assert refused.value.advice[0] == "  o/s0 is at version 2, not 1"
    assert refused.value.advice[-1] == "  and 5 more"
    assert len(refused.value.advice) == 21


NOWHERE = read_address("http://127.0.0.1:1")


def test_the_password_in_an_address_is_not_in_messages() -> None:
    address = read_address("http://ops:s3cret@127.0.0.1:1/base")
    for message in (
        str(ServerUnreachable(address, "refused")),
        str(NotGraphQL(address, 404)),
        str(NotGraphQL(address, 404, url=address.socket)),
    ):
        assert "s3cret" not in message
        assert "//ops:***@127.0.0.1:1/base" in message
    assert "s3cret" in address.graphql


def test_the_password_of_a_proxy_that_can_be_none_is_not_in_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://ops:s3cret@[::1")
    assert "through the proxy ***@[::1," in proxy_note(read_address("http://mesh.example"))


@pytest.mark.parametrize("proxy", ["http://ops:s3cret@127.0.0.1:1", "ops:s3cret@127.0.0.1:1"])
def test_the_password_of_a_proxy_is_not_in_messages(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    note = proxy_note(read_address("http://mesh.example"))
    assert note == f" (through the proxy {proxy.replace('s3cret', '***')}, which the environment names)"


@pytest.mark.parametrize(
    ("raised", "expected", "message", "advice"),
    [
        (ServerUnreachable(NOWHERE, "refused"), Exit.UNAVAILABLE, "There is no server at http://127.0.0.1:1", "serve"),
        (AnswerLost("no answer"), Exit.UNAVAILABLE, "no answer", "Look first."),
        (NotGraphQL(NOWHERE, 503), Exit.UNAVAILABLE, "with HTTP 503, not with GraphQL", "It may be starting"),
        (NotGraphQL(NOWHERE, 200), Exit.UNAVAILABLE, "with HTTP 200, not with GraphQL", "See --server."),
        (OperationRefused([error("COMPACTED")]), Exit.POSITION, "COMPACTED: what happened", "list --json"),
        (ProtocolBroken("greeted with 'ka'"), Exit.OTHER_VERSION, "greeted with 'ka'", "update the older one"),
        (ConnectionLost("broke off"), Exit.UNAVAILABLE, "broke off", "Try again."),
    ],
)
def test_every_error_of_the_client_is_a_failure_of_the_command(
    raised: ClientError, expected: Exit, message: str, advice: str
) -> None:
    with pytest.raises(Failure) as failed, failing("Look first."):
        raise raised
    assert failed.value.exit is expected
    assert message in failed.value.message
    assert advice in "".join(failed.value.advice)


@pytest.mark.parametrize(
    ("url", "graphql", "socket"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/graphql", "ws://127.0.0.1:8080/graphql"),
        ("https://mesh.example/", "https://mesh.example/graphql", "wss://mesh.example/graphql"),
        ("http://[::1]:1/mesh/graphql", "http://[::1]:1/mesh/graphql", "ws://[::1]:1/mesh/graphql"),
    ],
)
def test_an_address_says_where_requests_and_sockets_go(url: str, graphql: str, socket: str) -> None:
    address = read_address(url)
    assert (address.graphql, address.socket, str(address)) == (graphql, socket, url)


def test_the_proxies_of_the_environment_are_not_asked_for_a_server_on_this_machine() -> None:
    hosts = ("127.0.0.1", "[::1]", "localhost", "mesh.example", "192.0.2.1")
    assert [read_address(f"http://{host}").through_proxy for host in hosts] == [False, False, False, True, True]


@pytest.mark.parametrize(
    "url", ["", "mesh", "127.0.0.1:8080", "ftp://mesh", "http://", "http://mesh:0", "http://mesh:x"]
)
def test_an_address_that_is_none_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ValueError, match=r"write for example http://127\.0\.0\.1:8080"):
        read_address(url)


@pytest.mark.parametrize(
    ("raised", "code", "told"),
    [
        (Failure(Exit.REFUSED, "No \x1b[2J.", ["Do this."]), 3, "No \\x1b[2J.\nDo this.\n"),
        (KeyboardInterrupt(), 130, "\nInterrupted.\n"),
        (ZeroDivisionError("by zero"), 70, "This is a defect of omnirelay; please report it with the lines above.\n"),
    ],
)
def test_whatever_a_command_raises_becomes_an_exit_code_and_words(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: BaseException,
    code: int,
    told: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(schema.commands["export"], "callback", fail)
    assert program.run(["schema", "export"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith(told)


def test_wrong_usage_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.run(["mesh", "shards", "lst"]) == Exit.INVALID
    assert "'list'" in capsys.readouterr().err
