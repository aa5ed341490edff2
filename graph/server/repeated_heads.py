"""Requests whose head came before in the same bytes, answered without reading it again.

A client on a connection that is kept alive sends the same head each time, but for the length of the body. To parse that
head, to make an ASGI scope and two tasks of it, and to print the headers of the response anew is three quarters of what
a request costs whose answer is kept, and a fifth where a lookup is made anew.
docs/decisions/0066-where-the-time-of-a-read-goes.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

LONGEST_HEAD: Final = 1_024

_REMEMBERED: Final = 256
"""Heads. Each has its length of the body, and its token."""

_BLANK_LINE: Final = b"\r\n\r\n"

_NOT_REPEATED: Final = frozenset({b"expect", b"upgrade", b"transfer-encoding", b"x-request-id", b"traceparent"})
"""Headers that change how a connection goes on, or that are others in each request."""

Headers = Sequence[tuple[bytes, bytes]]


class KeptAnswers(Protocol):
    """What an application answers without waiting for anything, as `graph.http.entry.Entry`."""

    path: str

    def known_head(self, headers: Mapping[bytes, bytes]) -> Any | None:
        """What depends on the head of a request alone; null for one that is not regular."""

    def answer_again(self, head: Any, body: bytes) -> bytes | None:
        """Headers and body of the answer with status 200, if it is kept and stands, or is made at once, and is this
        caller's now."""


class _Head(NamedTuple):
    known: Any
    length: int
    """Of the whole request."""


class RepeatedHeads:
    """Of one process. Only heads are remembered that are answered with the connection kept alive."""

    def __init__(self, answers: KeptAnswers) -> None:
        self._answers = answers
        self._heads: dict[bytes, _Head] = {}
        self._default_headers: Headers = ()
        self._begin: bytes | None = None

    def answer(self, data: bytes, default_headers: Headers) -> bytes | None:
        """The response to what was received, if that is one whole request, and has an answer that is kept."""
        end = data.find(_BLANK_LINE, 0, LONGEST_HEAD) + 4
        head = self._heads.get(data[:end])
        if head is None or head.length != len(data):
            return None
        if default_headers is not self._default_headers:
            self._print(default_headers)
        answer = None if self._begin is None else self._answers.answer_again(head.known, data[end:])
        return None if answer is None or self._begin is None else self._begin + answer

    def remember(self, head: bytes, scope: Mapping[str, Any], length: int) -> None:
        """The head of a request that was read as this scope, and as one of `length` bytes."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if (
            head in self._heads
            or scope["method"] != "POST"
            or scope["http_version"] != "1.1"
            or (scope["path"], scope["query_string"]) != (self._answers.path, b"")
            or len(headers) != len(scope["headers"])
            or not headers.keys().isdisjoint(_NOT_REPEATED)
            or headers.get(b"connection", b"keep-alive").lower() != b"keep-alive"
            or headers.get(b"content-length") != b"%d" % (length - len(head))
        ):
            return
        known = self._answers.known_head(headers)
        if known is None:
            return
        if len(self._heads) >= _REMEMBERED:
            del self._heads[next(iter(self._heads))]
        self._heads[head] = _Head(known, length)

    def _print(self, default_headers: Headers) -> None:
        """How each response begins: with what uvicorn puts there, a new list each second. One that has a connection
        closed is uvicorn's to send."""
        self._default_headers = default_headers
        lines = [name + b": " + value + b"\r\n" for name, value in default_headers]
        closes = any(name.lower() == b"connection" for name, _ in default_headers)
        self._begin = None if closes else b"".join((STATUS_LINE[200], *lines))


def head_of(data: bytes) -> bytes:
    """Of a request, with the blank line; empty where it is long, or not whole."""
    end = data.find(_BLANK_LINE, 0, LONGEST_HEAD)
    return b"" if end < 0 else data[: end + 4]
