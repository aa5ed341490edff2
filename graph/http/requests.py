"""Reading a GraphQL request from HTTP: every way it can be malformed has a status, a code and a sentence.

Media types of GraphQL over HTTP, https://graphql.github.io/graphql-over-http/draft/: which one a client wants.

Weights and specificity are those of https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1. Several Accept headers count
as one, their values joined by commas.

Every request has an id: the caller's own from `x-request-id` if it is fit to be logged, else a new one.

It comes back on every response, stands in masked errors, and in the log beside what they mask.
"""

import asyncio
import email.message
import json
import re
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from strawberry.http import GraphQLRequestData

from graph.execution.errors import Code


@dataclass(slots=True)
class BadRequest(Exception):
    """The request never was a GraphQL operation."""

    status: HTTPStatus
    code: str
    message: str
    headers: Mapping[str, str] | None = None
    extensions: Mapping[str, Any] = field(default_factory=dict)


async def read_operation(request: Request, max_body_bytes: int) -> GraphQLRequestData:
    """The operation a GET or POST asks for. Raises BadRequest."""
    if request.method == "POST":
        return _operation(await _read_body(request, max_body_bytes))
    parameters: dict[str, Any] = dict(request.query_params)
    for name in ("variables", "extensions"):
        if name in parameters:
            parameters[name] = read_json(parameters[name], f"the parameter {name}") if parameters[name] else None
    return _operation(parameters)


@asynccontextmanager
async def while_connected(request: Request) -> AsyncIterator[None]:
    """Cancels what runs inside when the client hangs up, and raises ClientDisconnect then. To follow the body.

    A client that stops sending while it still listens counts as gone: HTTP/1.1 has no way to tell.
    """
    task = asyncio.current_task()
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        if task is not None:
            task.cancel()

    watcher = asyncio.create_task(watch(), name="omnirelay-disconnect")
    try:
        yield
    except asyncio.CancelledError:
        # Cancelled by somebody else as well, who then is to hear of it.
        if task is None or not gone or task.uncancel():
            raise
        raise ClientDisconnect from None
    finally:
        # Not waited for: whatever comes with what runs inside must not be lost on the way out. It ends at once.
        watcher.cancel()


def read_json(text: str | bytes, what: str) -> Any:
    """Raises BadRequest for anything but JSON in UTF-8 that Python can hold."""
    try:
        return json.loads(text.decode() if isinstance(text, bytes) else text)
    except RecursionError:
        raise _malformed(f"{what} is nested too deeply") from None
    except UnicodeDecodeError:
        raise _malformed(f"{what} is not UTF-8") from None
    except ValueError:  # also for integers of thousands of digits
        raise _malformed(f"{what} is not JSON") from None


def _operation(given: Any) -> GraphQLRequestData:
    if not isinstance(given, dict):
        raise _malformed("the request must be one JSON object; batches are not supported")
    query = given.get("query")
    if not isinstance(query, str) or not query:
        raise _malformed("`query` must be a string that holds a GraphQL document")
    for name, kind, words in (
        ("operationName", str, "a string"),
        ("variables", dict, "an object"),
        ("extensions", dict, "an object"),
    ):
        if not isinstance(given.get(name), kind | None):
            raise _malformed(f"`{name}` must be {words} or null")
    return GraphQLRequestData(query, given.get("variables"), given.get("operationName"), given.get("extensions"))


async def _read_body(request: Request, max_body_bytes: int) -> Any:
    _require_json(request.headers.get("content-type", ""))
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_body_bytes:
            raise BadRequest(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                Code.PAYLOAD_TOO_LARGE,
                f"the body is larger than the {max_body_bytes:,} bytes this server accepts",
            )
    return read_json(bytes(body), "the body")


def _require_json(content_type: str) -> None:
    header = email.message.Message()
    header["content-type"] = content_type or "none"
    charset = header.get_content_charset("utf-8")
    if header.get_content_type() != JSON or charset not in ("utf-8", "utf8"):
        raise BadRequest(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            Code.UNSUPPORTED_MEDIA_TYPE,
            "the content type of a POST must be application/json in UTF-8",
        )


def _malformed(message: str) -> BadRequest:
    return BadRequest(HTTPStatus.BAD_REQUEST, Code.BAD_REQUEST, message)


JSON: Final = "application/json"

GRAPHQL_RESPONSE: Final = "application/graphql-response+json"

EVENT_STREAM: Final = "text/event-stream"

HTML: Final = "text/html"

_ITEM: Final = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*"?)+')

_PARAMETER: Final = re.compile(r'(?:[^;"]|"(?:\\.|[^"\\])*"?)+')


class Accept:
    """The Accept headers of one request. Without any, or with nothing in them, JSON is wanted."""

    def __init__(self, headers: Sequence[str]) -> None:
        self._weights = dict(_weights(headers)) or {JSON: 1.0}

    def names(self, media_type: str) -> bool:
        """Whether this very type is accepted by name; a wildcard does not say that a client can read it."""
        return self._weights.get(media_type, 0.0) > 0

    @property
    def response_type(self) -> str:
        """The media type to answer in: of GRAPHQL_RESPONSE and JSON the more welcome one, and the former where it is
        named and as welcome.

        JSON for a client that accepts neither: an answer it did not ask for tells it more than 406 would.
        """
        graphql_response, json = self._weight(GRAPHQL_RESPONSE), self._weight(JSON)
        wanted = graphql_response >= json and self.names(GRAPHQL_RESPONSE)
        return GRAPHQL_RESPONSE if wanted or graphql_response > json else JSON

    @property
    def prefers_event_stream(self) -> bool:
        """Whether one result should come as an event stream: it is named, and more welcome than JSON of either type.

        Clients that can read streams accept them beside JSON (urql: last, and of equal weight), and read the result of
        a mutation that comes as a stream as a failure of the network.
        """
        json = max(self._weight(GRAPHQL_RESPONSE), self._weight(JSON))
        return self.names(EVENT_STREAM) and self._weight(EVENT_STREAM) > json

    def _weight(self, media_type: str) -> float:
        """By the most specific range that the type is in; 0 if it is in none."""
        ranges = (media_type, media_type.partition("/")[0] + "/*", "*/*")
        return next((self._weights[each] for each in ranges if each in self._weights), 0.0)


def _weights(headers: Sequence[str]) -> Iterator[tuple[str, float]]:
    """By range, 0 to 1. Of a range that stands there twice, with other parameters, the greatest."""
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
    """What cannot be read counts as 1, as if it were not there."""
    try:
        quality = float(parameters.get("q", "1"))
    except ValueError:
        return 1.0
    return quality if 0 <= quality <= 1 else 1.0


HEADER: Final = "x-request-id"

_FIT: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")

_KEY: Final = "omnirelay.request_id"


class RequestIds:
    """ASGI middleware, to stand outside everything that answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _FIT.fullmatch(given) else uuid.uuid4().hex
        scope[_KEY] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)


def request_id_of(connection: HTTPConnection) -> str:
    return str(connection.scope.get(_KEY, "none"))
