"""How large a request may be, and JSON of megabytes, read in slices: a bulk change must not hold up every other request
for as long as it is read.

A parser in C holds the interpreter until it is done, in whatever thread it runs, and another process would have to send
back what it has read, which takes as long again. So the containers that are large are walked through here, and what
fits into a window is given to the parser, as many elements of a list at a time as fit.
"""

import asyncio
import json
import re
from collections.abc import Generator
from contextlib import suppress
from http import HTTPStatus
from json.decoder import scanstring  # type: ignore[attr-defined] # in C, and in no stub
from time import perf_counter
from typing import Any, Final

import orjson
from graphql import OperationDefinitionNode, OperationType
from starlette.requests import Request
from starlette.types import Message, Receive

from graph.auth.principal import Principal, Scope
from graph.execution.errors import Code
from graph.http.requests import BadRequest, has_long_integer, malformed, read_json, require_json, require_plain

_READS: Final = frozenset({Scope.READ})

READ: Final = "omnirelay.body"
"""Key of the ASGI scope: the JSON of its body and the size of that, where both were read already."""

LARGE_BYTES: Final = 262_144
"""From here on JSON is read in slices; less takes the event loop a millisecond."""

_WINDOW: Final = 65_536
"""Characters that are given to the parser at once."""

_SMALL_WINDOW: Final = 1_024

_MAX_STRING: Final = 1_048_576
"""Characters of one string: it is read in one go, a megabyte of it in a millisecond or two."""

_MAX_VALUES: Final = 500_000
"""Commas, and opening brackets, of JSON that is large. A bulk change of ten thousand shards has a tenth of that; each
value takes up to 80 bytes of memory, and what is a container is walked through by the garbage collector."""

_ENDS: Final = {"{": "}", "[": "]", '"': '"'}
"""What an element ends with that begins so."""

_SLICE_SECONDS: Final = 0.001

_MAX_DEPTH: Final = 200
"""Of containers that are larger than a window."""

_SPACE: Final = re.compile(r"[ \t\n\r]{0,65536}")

_EMPTY: Final = re.compile(r"\[[ \t\n\r]*\]|\{[ \t\n\r]*\}")

_QUERY_FIRST: Final = re.compile(rb'[ \t\n\r]*\{[ \t\n\r]*"query"[ \t\n\r]*:[ \t\n\r]*"((?:[^"\\]|\\[^u])*)"')
"""Of most clients' bodies: the document, where nothing in it is written by its number."""

_scan: Final = json.JSONDecoder().scan_once  # type: ignore[attr-defined] # public by its name, and in no stub

_LARGE: Final = object()


class Bodies:
    """Bodies of requests and messages on sockets of one application. Sizes are in bytes."""

    def __init__(self, most: int, most_of_mutation: int) -> None:
        """`most` of anything that is no mutation."""
        self.most = most
        self.most_of_mutation = max(most, most_of_mutation)
        # What is read takes many times the memory of its text, so one is read at a time.
        self._reading = asyncio.Semaphore(1)

    def most_of(self, principal: Principal) -> int:
        """Of what this caller sends, before it is known what that is."""
        return self.most if principal.scopes <= _READS else self.most_of_mutation

    def check(self, size: int, definition: OperationDefinitionNode | None) -> None:
        """Raises BadRequest for an operation that may not be as large."""
        if size > self.most and (definition is None or definition.operation is not OperationType.MUTATION):
            raise self.too_large()

    def too_large(self) -> BadRequest:
        allowed = f"{self.most:,} bytes this server accepts"
        if self.most_of_mutation > self.most:
            allowed += f" ({self.most_of_mutation:,} of a mutation of a caller that may write)"
        return BadRequest(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, Code.PAYLOAD_TOO_LARGE, f"the body is larger than the {allowed}"
        )

    async def read(self, request: Request, principal: Principal) -> tuple[Any, int]:
        """The JSON of a POST, and its size. Raises BadRequest, for what is announced to be too large before it is
        read."""
        if (known := request.scope.pop(READ, None)) is not None:
            given, size = known
            return given, size
        require_plain(",".join(request.headers.getlist("content-encoding")))
        require_json(request.headers.get("content-type", ""))
        most = self.most_of(principal)
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > most:
            raise self.too_large()
        body = bytearray()
        async for chunk in request.stream():
            is_first_above = len(body) <= self.most < len(body) + len(chunk)
            body += chunk
            if len(body) > most or (is_first_above and has_no_mutation(body)):
                raise self.too_large()
        try:
            return await self.read_json(bytes(body), "the body"), len(body)
        except BadRequest:
            if len(body) > self.most:
                raise self.too_large() from None  # it is no mutation, whatever else it is not
            raise

    async def receive(self, receive: Receive, principal: Principal) -> tuple[list[Message], bytes | None]:
        """What was received, and the body; null for a body that is too large, or not received to its end."""
        most = self.most_of(principal)
        message = await receive()
        received = [message]
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            return received, body if len(body) <= most else None
        size = len(message.get("body", b""))
        while message["type"] == "http.request" and message.get("more_body"):
            if size > most:
                return received, None
            message = await receive()
            received.append(message)
            before, size = size, size + len(message.get("body", b""))
            if before <= self.most < size and has_no_mutation(b"".join(each.get("body", b"") for each in received)):
                return received, None
        if message["type"] != "http.request" or size > most:
            return received, None
        return received, b"".join(each.get("body", b"") for each in received)

    async def read_json(self, text: str | bytes, what: str) -> Any:
        """As `requests.read_json`, but that other tasks run every millisecond. Raises BadRequest."""
        if len(text) < LARGE_BYTES:
            return read_json(text, what)
        if await _is_fragmented(text):
            raise _too_large(f"more than {_MAX_VALUES:,} values")
        async with self._reading:
            try:
                steps = _Reader(text if isinstance(text, str) else text.decode()).steps()
                began = perf_counter()
                while True:
                    next(steps)
                    if perf_counter() - began > _SLICE_SECONDS:
                        await asyncio.sleep(0)
                        began = perf_counter()
            except StopIteration as ended:
                return ended.value
            except UnicodeDecodeError:
                raise malformed(f"{what} is not UTF-8") from None
            except RecursionError:
                raise malformed(f"{what} is nested too deeply") from None
            except (ValueError, IndexError):
                raise malformed(f"{what} is not JSON") from None


class _Reader:
    """`steps` ends with what the text is, and may be left between two of them. Raises ValueError, IndexError and
    RecursionError."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._containers: list[dict[str, Any] | list[Any]] = []
        self._keys: list[str] = []
        # Where elements are read many at a time again, after that was tried in vain.
        self._many_from = 0

    def steps(self) -> Generator[None, None, Any]:
        text = self._text
        at = _space(text, 0)
        while True:
            yield
            at = self._elements(at)
            value, end = _value(text, at)
            if value is _LARGE:
                at = self._open(at)
                continue
            at = _space(text, end)
            while self._containers:
                self._add(value)
                if text[at] == ",":
                    at = self._next(at + 1)
                    break
                value, at = self._close(at)
            else:
                if at != len(text):
                    raise ValueError
                return value

    def _elements(self, at: int) -> int:
        """Read elements of a list, as many as a window holds and at least one more follows. Where the next one is."""
        text, container = self._text, self._containers[-1] if self._containers else None
        if at < self._many_from or not isinstance(container, list):
            return at
        # The comma may stand in a string or a container: then what is before it is no list.
        end = _ENDS.get(text[at : at + 1], "")
        last = text.rfind(f"{end},", at, at + _WINDOW)
        if last >= 0:
            with suppress(orjson.JSONDecodeError):
                part = f"[{text[at : last + len(end)]}]".encode()
                if not has_long_integer(part):
                    container += orjson.loads(part)
                    return _space(text, last + len(end) + 1)
        self._many_from = at + _WINDOW
        return at

    def _open(self, at: int) -> int:
        """Where the first value in it is."""
        if len(self._containers) >= _MAX_DEPTH:
            raise RecursionError
        self._containers.append({} if self._text[at] == "{" else [])
        self._keys.append("")
        return self._next(at + 1)

    def _next(self, at: int) -> int:
        """Where the next value of the innermost container is."""
        if isinstance(self._containers[-1], list):
            return _space(self._text, at)
        self._keys[-1], at = _key(self._text, at)
        return at

    def _add(self, value: Any) -> None:
        container = self._containers[-1]
        if isinstance(container, dict):
            container[self._keys[-1]] = value
        else:
            container.append(value)

    def _close(self, at: int) -> tuple[Any, int]:
        """The innermost container, which ends there, and where what follows is."""
        container = self._containers.pop()
        self._keys.pop()
        if self._text[at] != ("}" if isinstance(container, dict) else "]"):
            raise ValueError
        return container, _space(self._text, at + 1)


def replaying(received: list[Message], receive: Receive) -> Receive:
    """Receives again what was received, then what follows."""
    messages = iter(received)

    async def replay() -> Message:
        for message in messages:
            return message
        return await receive()

    return replay


def has_no_mutation(beginning: bytes | bytearray) -> bool:
    """Whether that shows in the beginning of a body: so that one of megabytes, which only mutations may have, need not
    be received and read to its end."""
    query = _QUERY_FIRST.match(beginning, 0, _WINDOW)
    return query is not None and b"mutation" not in query[1]


async def _is_fragmented(text: str | bytes) -> bool:
    commas = brackets = 0
    for at in range(0, len(text), _MAX_STRING):
        part = text[at : at + _MAX_STRING]
        if isinstance(part, str):
            part = part.encode()
        commas += part.count(b",")
        brackets += part.count(b"[") + part.count(b"{")
        await asyncio.sleep(0)
    return max(commas, brackets) > _MAX_VALUES


def _value(text: str, at: int) -> tuple[Any, int]:
    """The value that begins there, and its end; _LARGE for a container that no window holds."""
    if (empty := _EMPTY.match(text, at)) is not None:
        return ([] if text[at] == "[" else {}), empty.end()
    for size in (_SMALL_WINDOW, _WINDOW):
        is_cut = at + size < len(text)
        try:
            value, end = _scan(text[at : at + size], 0)
        except (StopIteration, ValueError):
            if is_cut:
                continue
            raise ValueError from None
        if is_cut and end == size and isinstance(value, int | float):
            continue
        return value, at + end
    if text[at] in "{[":
        return _LARGE, at
    if text[at] != '"':
        raise ValueError  # a number of that length is none
    return _string(text, at)


def _string(text: str, at: int) -> tuple[str, int]:
    try:
        value, end = scanstring(text[at : at + _MAX_STRING], 1, True)  # noqa: FBT003 - it takes no keywords
    except ValueError:
        if at + _MAX_STRING < len(text):
            raise _too_large(f"a string of over {_MAX_STRING:,} characters, or one that does not end") from None
        raise
    return value, at + end


def _too_large(what: str) -> BadRequest:
    message = f"the request holds {what}; this server does not accept that"
    return BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, Code.PAYLOAD_TOO_LARGE, message)


def _key(text: str, at: int) -> tuple[str, int]:
    """The name of a member, and where its value begins."""
    at = _space(text, at)
    if text[at] != '"':
        raise ValueError
    key, at = _string(text, at)
    at = _space(text, at)
    if text[at] != ":":
        raise ValueError
    return key, _space(text, at + 1)


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()
