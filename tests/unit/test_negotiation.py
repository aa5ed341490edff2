"""Which media type an Accept header asks for."""

from __future__ import annotations

import pytest

from graph.negotiation import EVENT_STREAM, GRAPHQL_RESPONSE, JSON, accepts, response_type


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/json", JSON),
        ("application/graphql-response+json", GRAPHQL_RESPONSE),
        ("Application/GraphQL-Response+JSON; charset=utf-8", GRAPHQL_RESPONSE),
        ("application/graphql-response+json, application/json;q=0.9", GRAPHQL_RESPONSE),
        ("application/json, application/graphql-response+json;q=0.9", JSON),
        ("application/graphql-response+json, */*", GRAPHQL_RESPONSE),
        ("application/graphql-response+json;q=0", JSON),
        ("application/graphql-response+json;q=nonsense", GRAPHQL_RESPONSE),
        ("text/html", JSON),
        (",;,=;q=", JSON),
    ],
)
def test_the_type_preferred_is_answered_in(accept: str | None, expected: str) -> None:
    assert response_type(accept) == expected


def test_an_event_stream_must_be_asked_for_by_name() -> None:
    assert accepts("application/json;q=0.5, text/event-stream", EVENT_STREAM)
    assert not accepts("*/*", EVENT_STREAM)
    assert not accepts("text/event-stream;q=0", EVENT_STREAM)
    assert not accepts(None, EVENT_STREAM)
