"""Entity tags: what they depend on, and which of them a client has."""

from __future__ import annotations

from typing import Any, Final

import pytest
from starlette.responses import Response
from strawberry.http import GraphQLRequestData

from graph.auth.principal import Principal, Scope
from graph.http.conditional import Condition
from persistence.model.records import UNMARKED, ChangeMark, StreamPosition

OPERATION: Final = GraphQLRequestData("query ($id: ID) { a }", {"id": "1"}, None, None)
READER: Final = Principal("reader", frozenset({Scope.READ}))
MEDIA_TYPE: Final = "application/json"
AT_7: Final = StreamPosition("epoch", 7, UNMARKED)


def condition(*headers: str, **given: Any) -> Condition:
    named = {"operation": OPERATION, "principal": READER, "media_type": MEDIA_TYPE, **given}
    return Condition(headers, **named)


def tag(position: StreamPosition | None = AT_7, body: bytes = b"{}", **given: Any) -> str:
    answer = condition(**given).tagged(Response(body), position)
    assert (answer.status_code, bytes(answer.body)) == (200, body)
    return answer.headers["etag"]


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', '"other",W/{} , "third"', '"a,b",{}'])
def test_a_tag_that_the_client_has_is_answered_304(form: str) -> None:
    given = condition(form.format(tag()))
    for answer in (given.known_at(AT_7), given.tagged(Response(b"{}"), AT_7)):
        assert answer is not None
        assert (answer.status_code, answer.body, answer.headers["etag"]) == (304, b"", tag())
        assert answer.headers["cache-control"] == "private, no-cache"
        assert answer.headers["vary"] == "accept, authorization"
        assert "content-type" not in answer.headers


@pytest.mark.parametrize("headers", [(), ("",), ("nonsense",), ('"', '"'), ('"x"',), ('""',), ('"."',)])
def test_without_it_the_answer_is_sent(headers: tuple[str, ...]) -> None:
    given = condition(*headers)
    assert given.known_at(AT_7) is None
    answer = given.tagged(Response(b"{}"), AT_7)
    assert (answer.status_code, answer.headers["etag"]) == (200, tag())


def test_a_star_stands_for_any_answer_once_there_is_one() -> None:
    given = condition(" * ")
    assert given.known_at(AT_7) is None
    answer = given.tagged(Response(b"{}"), AT_7)
    assert (answer.status_code, answer.headers["etag"]) == (304, tag())


@pytest.mark.parametrize(
    "position",
    [
        StreamPosition("epoch", 8, UNMARKED),
        StreamPosition("another", 7, UNMARKED),
        StreamPosition("epoch", 7, ChangeMark(3, b"12345678")),
    ],
)
def test_at_another_position_it_is_answered_anew_and_compared(position: StreamPosition) -> None:
    given = condition(tag())
    assert given.known_at(position) is None
    unchanged = given.tagged(Response(b"{}"), position)
    assert (unchanged.status_code, unchanged.headers["etag"]) == (304, tag()), "the tag of what the client has stored"
    changed = given.tagged(Response(b"[]"), position)
    assert (changed.status_code, changed.headers["etag"]) == (200, tag(position, b"[]"))


def test_an_answer_that_depends_on_more_is_known_by_its_bytes_alone() -> None:
    given = condition(tag(None))
    assert given.known_at(AT_7) is None
    assert given.tagged(Response(b"{}"), None).status_code == 304
    assert given.tagged(Response(b"[]"), None).status_code == 200


@pytest.mark.parametrize(
    "other",
    [
        {"operation": GraphQLRequestData("query ($id: ID) { b }", {"id": "1"}, None, None)},
        {"operation": GraphQLRequestData(OPERATION.query, {"id": "2"}, None, None)},
        {"operation": GraphQLRequestData(OPERATION.query, {"id": "1"}, "Named", None)},
        {"principal": Principal("reader", frozenset({Scope.READ, Scope.ADMIN}))},
        {"principal": Principal("other", frozenset({Scope.READ}))},
        {"principal": Principal(None, frozenset({Scope.READ}))},
        {"media_type": "application/graphql-response+json"},
    ],
)
def test_the_tag_of_another_request_is_another_even_for_the_same_bytes(other: dict[str, Any]) -> None:
    given = condition(tag(**other))
    assert given.known_at(AT_7) is None
    assert given.tagged(Response(b"{}"), AT_7).status_code == 200
