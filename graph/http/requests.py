"""Reading a GraphQL request from HTTP: every way it can be malformed has a status, a code and a sentence."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
import email.message
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request
from strawberry.http import GraphQLRequestData

from graph.codes import Code
from graph.negotiation import JSON


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
