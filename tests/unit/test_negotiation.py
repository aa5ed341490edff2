"""Which media type the Accept headers of a request select."""

from __future__ import annotations

import pytest

from graph.http.requests import EVENT_STREAM, GRAPHQL_RESPONSE, HTML, JSON, Accept


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ((), JSON),
        (("",), JSON),
        (("*/*",), JSON),
        (("application/*",), JSON),
        (("application/json",), JSON),
        (("application/graphql-response+json",), GRAPHQL_RESPONSE),
        (("Application/GraphQL-Response+JSON; charset=utf-8",), GRAPHQL_RESPONSE),
        (("application/graphql-response+json, application/json;q=0.9",), GRAPHQL_RESPONSE),
        (("application/json, application/graphql-response+json;q=0.9",), JSON),
        (("application/json", "application/graphql-response+json"), GRAPHQL_RESPONSE),
        (("application/json;q=0.5", "application/graphql-response+json;q=0.4"), JSON),
        (("application/graphql-response+json, */*",), GRAPHQL_RESPONSE),
        (("application/graphql-response+json;q=0.5, */*",), JSON),
        (("application/graphql-response+json;q=0.5, application/*;q=0.4, */*",), GRAPHQL_RESPONSE),
        (("application/json;q=0, */*",), GRAPHQL_RESPONSE),
        (("application/json;q=0.2, application/*;q=0.8",), GRAPHQL_RESPONSE),
        (("application/graphql-response+json;q=0",), JSON),
        (("application/graphql-response+json;q=nonsense",), GRAPHQL_RESPONSE),
        (("application/graphql-response+json;q=nan",), GRAPHQL_RESPONSE),
        (("application/json;q=0.5;q=0.9, application/graphql-response+json;q=0.7",), JSON),
        (('multipart/mixed;boundary="a,application/graphql-response+json", application/json',), JSON),
        (("text/html",), JSON),
        ((",;,=;q=, ;",), JSON),
        (('"' * 1_000 + "\\",), JSON),
    ],
)
def test_the_more_welcome_type_is_answered_in(accept: tuple[str, ...], expected: str) -> None:
    assert Accept(accept).response_type == expected


@pytest.mark.parametrize(
    ("accept", "named"),
    [
        ("application/json;q=0.5, text/event-stream", True),
        ("application/json, text/event-stream;q=0.1", True),
        ("*/*", False),
        ("text/*", False),
        ("text/event-stream;q=0", False),
        ("", False),
    ],
)
def test_an_event_stream_must_be_asked_for_by_name(accept: str, *, named: bool) -> None:
    assert Accept([accept]).names(EVENT_STREAM) is named


@pytest.mark.parametrize(
    ("accept", "preferred"),
    [
        ("text/event-stream", True),
        ("text/event-stream, application/json;q=0.9", True),
        ("text/event-stream;q=0.2, application/json;q=0.1, application/graphql-response+json;q=0.1", True),
        ("text/event-stream, */*;q=0.1", True),
        ("text/event-stream, application/json;q=0", True),
        ("text/event-stream, application/json", False),
        ("text/event-stream, application/graphql-response+json, application/json;q=0.1", False),
        ("text/event-stream, */*", False),
        ("text/event-stream, application/*", False),
        ("text/event-stream;q=0", False),
        ("text/*", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_one_result_is_a_stream_only_where_that_is_more_welcome_than_json(accept: str, *, preferred: bool) -> None:
    assert Accept([accept]).prefers_event_stream is preferred


def test_a_browser_names_html() -> None:
    assert Accept(["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"]).names(HTML)
    assert not Accept(["*/*"]).names(HTML)
