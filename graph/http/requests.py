"""Reading a GraphQL request from HTTP: its operation, and the media type that its client accepts.

Every way a request can be malformed has a status, a code and a message. Media types are those of GraphQL over HTTP,
https://graphql.github.io/graphql-over-http/draft/, their weights and specificity those of
https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1. Several Accept headers count as one, joined by commas.
"""

import email.message
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import orjson
from starlette.requests import Request
from strawberry.http import GraphQLRequestData

from graph.execution.errors import Code

REQUEST_ID: Final = "x-request-id"

JSON: Final = "application/json"

GRAPHQL_RESPONSE: Final = "application/graphql-response+json"

EVENT_STREAM: Final = "text/event-stream"

HTML: Final = "text/html"

_FIT_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")

_ITEM: Final = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*"?)+')

_PARAMETER: Final = re.compile(r'(?:[^;"]|"(?:\\.|[^"\\])*"?)+')

_LONGEST_CACHED: Final = 1_024
"""Characters of an Accept header."""


@dataclass(slots=True)
class BadRequest(Exception):
    """The request never was a GraphQL operation. `json_status` is the status where the answer is `application/json`,
    whose older clients read no body beside another than 200; null for the same."""

    status: HTTPStatus
    code: str
    message: str
    headers: Mapping[str, str] | None = None
    extensions: Mapping[str, Any] = field(default_factory=dict)
    json_status: HTTPStatus | None = None


def fit_request_id(given: str) -> str | None:
    """What a client calls its request, if that is fit to be logged."""
    return given if _FIT_REQUEST_ID.fullmatch(given) else None


TextOf: TypeAlias = Callable[[Mapping[str, Any]], str]
"""The text of the document of a request, from its members. Raises BadRequest."""


def operation_of_url(request: Request, text_of: TextOf) -> GraphQLRequestData:
    """The operation of a GET or HEAD. Raises BadRequest."""
    parameters: dict[str, Any] = dict(request.query_params)
    parameters["operationName"] = parameters.get("operationName") or None  # empty means left out
    for name in ("variables", "extensions"):
        if name in parameters:
            parameters[name] = read_json(parameters[name], f"the parameter {name}") if parameters[name] else None
    return operation_of(parameters, text_of)


_DIGITS_AS_ZERO: Final = bytes(ord("0") if chr(byte) in "0123456789" else ord(" ") for byte in range(256))

_LONG_INTEGER: Final = b"0" * 19
"""orjson reads integers beyond 64 bits as floats. A regular expression takes ten times as long to look for digits: 20
ms in a megabyte."""


def has_long_integer(text: bytes) -> bool:
    return _LONG_INTEGER in text.translate(_DIGITS_AS_ZERO)


def read_json(text: str | bytes, what: str) -> Any:
    """Raises BadRequest for anything but JSON in UTF-8 that Python can hold.

    What orjson refuses, the standard library reads: lone surrogates, NaN, numbers beyond a float.
    """
    if isinstance(text, bytes) and not has_long_integer(text):
        with suppress(orjson.JSONDecodeError):
            return orjson.loads(text)
    try:
        return json.loads(text.decode() if isinstance(text, bytes) else text)
    except RecursionError:
        raise malformed(f"{what} is nested too deeply") from None
    except UnicodeDecodeError:
        raise malformed(f"{what} is not UTF-8") from None
    except ValueError:  # also for integers of thousands of digits
        raise malformed(f"{what} is not JSON") from None


def operation_of(given: Any, text_of: TextOf) -> GraphQLRequestData:
    """The operation of a request whose JSON was read. Raises BadRequest."""
    if not isinstance(given, dict):
        raise malformed("the request must be one JSON object; batches are not supported")
    for name, kind, words in (
        ("operationName", str, "a string"),
        ("variables", dict, "an object"),
        ("extensions", dict, "an object"),
    ):
        if not isinstance(given.get(name), kind | None):
            raise malformed(f"`{name}` must be {words} or null")
    text = text_of(given)
    if not text:
        raise malformed("`query` must be a string that holds a GraphQL document")
    return GraphQLRequestData(text, given.get("variables"), given.get("operationName"), given.get("extensions"))


def require_json(content_type: str) -> None:
    """Raises BadRequest for another content type."""
    header = email.message.Message()
    header["content-type"] = content_type or "none"
    charset: object = None
    with suppress(TypeError, ValueError):  # of parameters whose parts are numbered amiss
        charset = header.get_content_charset("utf-8")
    if header.get_content_type() != JSON or charset not in ("utf-8", "utf8"):
        raise BadRequest(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            Code.UNSUPPORTED_MEDIA_TYPE,
            "the content type of a POST must be application/json in UTF-8",
        )


def require_plain(content_encoding: str) -> None:
    """Raises BadRequest for a body that would have to be decompressed: a few kilobytes may hold gigabytes."""
    if content_encoding.strip().lower() not in ("", "identity"):
        raise BadRequest(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            Code.UNSUPPORTED_MEDIA_TYPE,
            "the body of a request must not be compressed (Content-Encoding)",
            {"accept-encoding": "identity"},
        )


def malformed(message: str) -> BadRequest:
    return BadRequest(HTTPStatus.BAD_REQUEST, Code.BAD_REQUEST, message)


class Accept:
    """The Accept headers of one request. Without any, or with nothing in them, JSON is accepted.

    `response_type` is the media type to answer in: of GRAPHQL_RESPONSE and JSON the one of greater weight, of equal
    ones the former where it is named. JSON for a client that accepts neither: it is of more use than 406 would be.

    `prefers_event_stream`: whether one result is to be sent as an event stream, which is named, and of greater weight
    than JSON of either type. Clients that can read streams accept them beside JSON (urql: last, and of equal weight),
    and take the result of a mutation that comes as a stream for a failure of the network.
    """

    def __init__(self, headers: Sequence[str]) -> None:
        self._weights = dict(_weights(headers)) or {JSON: 1.0}
        graphql_response, json = self._weight(GRAPHQL_RESPONSE), self._weight(JSON)
        preferred = graphql_response > json or (graphql_response == json and self.names(GRAPHQL_RESPONSE))
        self.response_type = GRAPHQL_RESPONSE if preferred else JSON
        stream = self._weight(EVENT_STREAM)
        self.prefers_event_stream = self.names(EVENT_STREAM) and stream > max(graphql_response, json)

    def names(self, media_type: str) -> bool:
        """Whether this type is accepted by name; a wildcard does not show that a client can read it."""
        return self._weights.get(media_type, 0.0) > 0

    def _weight(self, media_type: str) -> float:
        """By the most specific range that the type is in; 0 if it is in none."""
        ranges = (media_type, media_type.partition("/")[0] + "/*", "*/*")
        return next((self._weights[each] for each in ranges if each in self._weights), 0.0)


_accept_of: Final = lru_cache(256)(lambda header: Accept([header]))
"""Clients send the same few headers for ever, and reading one takes a dozen calls."""


def read_accept(request: Request) -> Accept:
    header = ",".join(request.headers.getlist("accept"))
    return _accept_of(header) if len(header) <= _LONGEST_CACHED else Accept([header])


def accepted_encodings(header: str) -> frozenset[str]:
    """The encodings that a client takes. https://www.rfc-editor.org/rfc/rfc9110#name-accept-encoding"""
    names = set()
    for part in header.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if not any(parameter.replace(" ", "") in {"q=0", "q=0.0", "q=0.00", "q=0.000"} for parameter in parameters):
            names.add(name)
    return frozenset(names)


def _weights(headers: Sequence[str]) -> Iterator[tuple[str, float]]:
    """By range, 0 to 1. Of a range that is given twice, with other parameters, the greatest."""
    weights: dict[str, float] = {}
    for item in _ITEM.findall(",".join(headers)):
        media_range, *parameters = [part.strip() for part in _PARAMETER.findall(item)] or [""]
        if "/" in media_range:
            media_range = media_range.lower()
            weights[media_range] = max(weights.get(media_range, 0.0), _quality(_named(parameters)))
    yield from weights.items()


def _named(parameters: Sequence[str]) -> Mapping[str, str]:
    pairs = (parameter.partition("=") for parameter in parameters)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _quality(parameters: Mapping[str, str]) -> float:
    """What is no number counts as 1, as if it were not there."""
    try:
        quality = float(parameters.get("q", "1"))
    except ValueError:
        return 1.0
    return quality if 0 <= quality <= 1 else 1.0
