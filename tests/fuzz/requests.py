"""HTTP requests and sockets that are nearly right, as the parts in which they are sent."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Any, Final
from urllib.parse import quote, urlencode

from graphql import OperationType

from graph.auth.principal import Scope
from graph.operations import operation
from tests.fuzz import mutation, operations
from tests.support.tokens import bearer

_METHODS: Final = ("POST", "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PRI", "get", "CONNECT", "TRACE")
_PATHS: Final = (
    "/graphql",
    "/graphql/",
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/%2e%2e/",
    "//graphql",
    "*",
    "/graphiql/x.js",
)
_HEADERS: Final = (
    *("content-length: 5", "content-length: -1", "content-length: 99999999999999999999", "transfer-encoding: chunked"),
    *("transfer-encoding: gzip, chunked", "content-encoding: gzip", "expect: 100-continue", "host: other", "host:"),
    *(
        "connection: close",
        "connection: keep-alive, upgrade",
        "upgrade: websocket",
        "upgrade: h2c",
        "accept: text/html",
    ),
    *("accept: */*;q=0", "accept: text/event-stream", "accept: application/json;q=nan, ;,;", "x-request-id: \x00\xff"),
    *(
        "x-request-id: " + "a" * 300,
        "if-none-match: *",
        'if-none-match: W/"a.b", "c',
        "origin: null",
        "referer: http://x",
    ),
    *("sec-fetch-site: cross-site", "last-event-id: x", "authorization: Bearer x.y.z", "authorization: Basic \xe9"),
    *(
        "traceparent: 00-" + "0" * 32 + "-" + "0" * 16 + "-01",
        "cookie: a=b",
        "content-type: application/json; charset=latin-1",
    ),
    *(
        "content-type: text/plain",
        "content-type: multipart/form-data",
        "x-forwarded-for: ::1",
        "a" * 300 + ": b",
        ": b",
    ),
)
_JSON: Final = "content-type: application/json"
_ONCE: Final = (OperationType.QUERY, OperationType.MUTATION)


@cache
def good_token() -> str:
    """Good for an hour, for everything."""
    return bearer(*Scope)


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: tuple[str, ...]
    body: bytes = b""
    chunked: bool = False

    def serialized(self) -> bytes:
        framing = ("transfer-encoding: chunked",) if self.chunked else (f"content-length: {len(self.body)}",)
        headers = (*self.headers, *(framing if self.body else ()))
        head = "\r\n".join([f"{self.method} {self.target} HTTP/1.1", *headers, "", ""])
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(self.body), self.body) if self.chunked and self.body else self.body
        return head.encode("latin-1", "replace") + body


def http(random: Random) -> list[bytes]:
    """The parts of one or more requests on a connection."""
    sent = b"".join(_http(random) for _ in range(random.choice((1, 1, 1, 1, 2, 5))))
    return in_parts(random, sent)


def _http(random: Random) -> bytes:
    request = _good(random)
    for _ in range(random.choice((0, 0, 1, 2))):
        request = _changed(random, request)
    data = request.serialized()
    return mutation.damaged(random, data) if random.randrange(8) == 0 else data


def _good(random: Random) -> Request:
    """Right in its form; its operation is nearly right."""
    kind = random.choice(("post", "post", "post", "get", "get", "stream", "other"))
    headers: tuple[str, ...] = ("host: localhost",)
    if random.randrange(8):
        headers = (*headers, f"authorization: {good_token()}")
    if kind == "other":
        return Request("GET", random.choice(_PATHS), headers)
    if kind == "stream":
        given = operations.nearly(random, (OperationType.SUBSCRIPTION,))
        headers = (*headers, "accept: text/event-stream")
        if random.randrange(2):
            headers = (*headers, f"last-event-id: {_visible(operations.random_cursor(random))}")
    else:
        given = operations.nearly(random, (OperationType.QUERY,) if kind == "get" else _ONCE)
    if kind == "get" or (kind == "stream" and random.randrange(2)):
        return Request("GET", f"/graphql?{_parameters(random, given)}", headers)
    return Request("POST", "/graphql", (*headers, _JSON), operations.body_of(given), random.randrange(6) == 0)


def _parameters(random: Random, given: Any) -> str:
    """JSON where a parameter is JSON, now and then of another value, or damaged."""
    if not isinstance(given, dict):
        return quote(str(given)[:1_000].encode("utf-8", "replace"))
    values = {
        name: value if isinstance(value, str) else operations.body_of(value).decode() for name, value in given.items()
    }
    text = urlencode(values, errors="surrogatepass")
    return mutation.damaged(random, text.encode()).decode("latin-1") if random.randrange(4) == 0 else text


def _visible(text: str) -> str:
    return text.encode("utf-8", "replace").decode("latin-1")


def _changed(random: Random, request: Request) -> Request:  # noqa: PLR0911 - one for each kind
    at = random.randint(0, len(request.headers))
    header = random.choice(_HEADERS)
    match random.choice(("method", "target", "more", "less", "twice", "many", "body", "bytes", "cursor")):
        case "method":
            return replace(request, method=random.choice(_METHODS))
        case "target":
            target = mutation.damaged(random, request.target.encode("latin-1", "replace")).decode("latin-1")
            return replace(request, target=random.choice((target, random.choice(_PATHS))))
        case "more":
            return replace(request, headers=(*request.headers[:at], header, *request.headers[at:]))
        case "less":
            return replace(request, headers=(*request.headers[:at], *request.headers[at + 1 :]))
        case "twice":
            return replace(request, headers=request.headers * 2)
        case "many":
            return replace(request, headers=(*request.headers, *(header,) * random.choice((20, 99, 200))))
        case "body":
            return replace(request, body=mutation.damaged(random, request.body))
        case "bytes":
            text = "\n".join(request.headers).encode("latin-1", "replace")
            return replace(request, headers=tuple(mutation.damaged(random, text).decode("latin-1").split("\n")))
        case _:
            cursor = _visible(operations.random_cursor(random))
            return replace(request, headers=(*request.headers, f"last-event-id: {cursor}"))


HANDSHAKE: Final = (
    b"GET /graphql HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"sec-websocket-protocol: graphql-transport-ws\r\n\r\n"
)
_OPCODES: Final = (0, 1, 1, 1, 1, 2, 3, 8, 9, 10, 11, 15)
_CODES: Final = (0, 999, 1000, 1001, 1005, 1006, 1011, 1015, 2999, 3000, 4400, 4999, 5000, 65_535)


def socket(random: Random) -> list[bytes]:
    """The parts of a handshake and of what is sent on the socket."""
    handshake = HANDSHAKE
    if random.randrange(6) == 0:
        handshake = random.choice((mutation.damaged, mutation.with_other_tokens))(random, handshake)
    messages = [frames(random, message) for message in _messages(random)]
    sent = b"".join(messages)
    if random.randrange(5) == 0:
        sent = mutation.damaged(random, sent)
    return [handshake, *in_parts(random, sent)]


def _messages(random: Random) -> Sequence[bytes]:
    """Of a client that is introduced, most of the time, and then does what clients do, nearly."""
    authorization = good_token() if random.randrange(12) else random.choice(("Bearer x", "", 7, None))
    first = {"type": "connection_init", "payload": {"authorization": authorization}}
    messages: list[Any] = [first] if random.randrange(8) else []
    for number in range(random.randint(0, 5)):
        name = random.choice(("1", "2", str(number), ""))
        kind = random.choice(("subscribe", "subscribe", "follow", "complete", "ping", "pong", "again"))
        if kind in ("subscribe", "follow"):
            kinds = (OperationType.SUBSCRIPTION,) if kind == "follow" else tuple(OperationType)
            messages.append({"id": name, "type": "subscribe", "payload": operations.nearly(random, kinds)})
        else:
            messages.append(first if kind == "again" else {"id": name, "type": kind, "payload": {"a": 1}})
    changed = [mutation.other_value(random, each) if random.randrange(8) == 0 else each for each in messages]
    return [_written(random, each) for each in changed]


def _written(random: Random, message: Any) -> bytes:
    data = operations.body_of(message)
    return mutation.damaged(random, data) if random.randrange(10) == 0 else data


def frames(random: Random, payload: bytes) -> bytes:
    """A message, fragmented now and then with control frames in between, or a frame that is wrong in one way or
    another."""
    kind = random.choice((*("whole",) * 12, "fragments", "fragments", "control", "wrong", "close"))
    if kind == "whole":
        return frame(1, payload)
    if kind == "fragments":
        at = sorted(random.randint(0, len(payload)) for _ in range(random.randint(1, 4)))
        pieces = [payload[begin:end] for begin, end in zip([0, *at], [*at, len(payload)], strict=True)]
        last = len(pieces) - 1
        between = frame(9, b"between") if random.randrange(2) else b""
        return between.join(frame(0 if number else 1, piece, fin=number == last) for number, piece in enumerate(pieces))
    if kind == "control":
        return frame(random.choice((9, 10)), payload[: random.choice((0, 125, 126))]) + frame(1, payload)
    if kind == "close":
        code = struct.pack("!H", random.choice(_CODES))
        return frame(8, random.choice((b"", b"\x03", code, code + b"why", code + b"\xff", code + b"x" * 123)))
    return frame(
        random.choice(_OPCODES),
        random.choice((payload, b"\xff\xfe", b"\xed\xa0\x80", b"")),
        fin=random.randrange(3) > 0,
        reserved=random.choice((0, 0, 0, 1, 7)),
        masked=random.randrange(4) > 0,
        claimed=random.choice((None, None, 0, 125, 65_535, 70_000, 2**31, 2**63 - 1, 2**64 - 1)),
    )


def frame(
    opcode: int, payload: bytes, *, fin: bool = True, reserved: int = 0, masked: bool = True, claimed: int | None = None
) -> bytes:
    """As a client sends it; `claimed` is the length that it has in its head."""
    size = len(payload) if claimed is None else claimed
    first, mask = fin << 7 | reserved << 4 | opcode, masked << 7
    if size < 126 and claimed is None:
        head = struct.pack("!BB", first, mask | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, mask | 126, size)
    else:
        head = struct.pack("!BBQ", first, mask | 127, size)
    # Masked with zeros, the payload stays what it is.
    return head + (bytes(4) if masked else b"") + payload


def in_parts(random: Random, data: bytes) -> list[bytes]:
    """Cut anywhere: bytes arrive as they please."""
    at = sorted(random.randint(0, len(data)) for _ in range(random.choice((0, 0, 1, 2, 5))))
    return [data[begin:end] for begin, end in zip([0, *at], [*at, len(data)], strict=True)]


def lookup() -> bytes:
    """A request that must be answered, whatever came before."""
    body = json.dumps({"query": '{ shard(namespace: "billing", shardId: "0") { shardId } }'}).encode()
    return Request("POST", "/graphql", ("host: localhost", _JSON, f"authorization: {good_token()}"), body).serialized()


def stream() -> bytes:
    """A request for an event stream, which goes on until its client leaves."""
    headers = ("host: localhost", _JSON, "accept: text/event-stream", f"authorization: {good_token()}")
    return Request("POST", "/graphql", headers, operations.body_of({"query": operation("FollowShards")})).serialized()
