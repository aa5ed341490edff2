"""Opaque cursors: which list a position belongs to, the position, and a check over both.

A cursor is base64url without padding of a kind (one byte), the position (fields of UTF-8, joined by NUL) and four bytes
of MurmurHash3 x86 32 over kind and position, big-endian. The check recognises what was cut or altered on the way; it
does not authenticate, so every field is read as carefully as any other input. There is one spelling of every cursor.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Generic, NewType, TypeVar

import mmh3

from persistence.errors import BadCursor
from persistence.model.records import (
    COUNTER_PATTERN,
    IDENTIFIER_PATTERN,
    MARK_BYTES,
    MAX_COUNTER,
    NAME_PATTERN,
    UNMARKED,
    ChangeMark,
    MoveReason,
    ShardKey,
    StreamPosition,
)

Cursor = NewType("Cursor", str)

K = TypeVar("K")

T = TypeVar("T")

_CHECK_BYTES: Final = 4

_LONGEST: Final = 1_024

_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]*")

_OF_URLS: Final = bytes.maketrans(b"+/", b"-_")


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a position. `read` is given what matches the pattern, and raises ValueError for what is none."""

    pattern: re.Pattern[str]
    read: Callable[[str], Any] = str


@dataclass(frozen=True, slots=True, eq=False)
class CursorKind(Generic[K]):
    """The cursors of one list. `K` is a position in it: what it is ordered by, and what reading on from there takes.

    `byte` is the kind in the cursor, `source` where such cursors come from; `key` makes a position of the values of the
    fields, `text` the fields as they are written, joined. The last fields may be missing, so many as are `optional`.
    `write` makes the cursor of a position.
    """

    byte: bytes
    source: str
    fields: tuple[_Field, ...]
    key: Callable[..., K]
    text: Callable[[K], str]
    optional: int = 0
    write: Callable[[K], Cursor] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "write", self.writer(_same))

    def writer(self, position_of: Callable[[T], K]) -> Callable[[T], Cursor]:
        """What writes the cursor of an item by its position: a list of 500 writes as many, half a microsecond each."""
        byte, text, checked, encoded = self.byte, self.text, mmh3.hash, binascii.b2a_base64

        def write(item: T) -> Cursor:
            body = byte + text(position_of(item)).encode()
            data = body + checked(body, 0, False).to_bytes(_CHECK_BYTES, "big")  # noqa: FBT003 - by name takes longer
            return encoded(data, newline=False).translate(_OF_URLS, b"=").decode()  # type: ignore[return-value]

        return write

    def read(self, cursor: str, argument: str) -> K:
        """Raises BadCursor naming the argument it came in."""
        body = _checked_body(cursor, argument)
        if body[:1] != self.byte:
            actual = _KINDS.get(body[:1])
            origin = f"comes from {actual.source}" if actual else "is of a kind this server does not know"
            raise BadCursor(argument, f"this cursor {origin}; here one from {self.source} is needed")
        try:
            return self.key(*self._values(body[1:].decode().split("\0")))
        except ValueError:  # UnicodeDecodeError is one
            raise BadCursor(argument, "this cursor was not made by this API") from None

    def _values(self, texts: list[str]) -> Iterable[Any]:
        if len(texts) not in {len(self.fields), len(self.fields) - self.optional}:
            raise ValueError
        for each, text in zip(self.fields, texts, strict=False):
            if not each.pattern.fullmatch(text):
                raise ValueError
            yield each.read(text)


@dataclass(frozen=True, slots=True)
class DiffScope:
    """Which difference a list shows: it stays fixed from page to page.

    `start_time` and `end_time` are the times that were given, where they were: the revisions are those they stood for
    at the first page. The present time may stand for a later one at the next.
    """

    namespace: str | None
    start: int
    end: int
    start_time: datetime | None = None
    end_time: datetime | None = None


def _counter(digits: str) -> int:
    value = int(digits)
    if value > MAX_COUNTER:
        raise ValueError
    return value


def _same(value: K) -> K:
    return value


_IDENTIFIER: Final = _Field(re.compile(IDENTIFIER_PATTERN))

_NAME: Final = _Field(re.compile(NAME_PATTERN))

_ANY_NAMESPACE: Final = _Field(re.compile(f"({NAME_PATTERN})?"), lambda text: text or None)

_COUNTER: Final = _Field(re.compile(COUNTER_PATTERN), _counter)

_EPOCH: Final = _Field(re.compile(r"[A-Za-z0-9._:-]{1,128}"))

_HASH: Final = _Field(re.compile(f"[0-9a-f]{{{2 * MARK_BYTES}}}"), bytes.fromhex)

_REASON: Final = _Field(re.compile("|".join(MoveReason)), MoveReason)

_TIME: Final = _Field(
    re.compile(r"([0-9T:.-]{1,26}\+00:00)?"), lambda text: datetime.fromisoformat(text) if text else None
)


def _position(epoch: str, revision: int, change_id: int | None = None, chain_hash: bytes = b"") -> StreamPosition:
    """One without a change, as they were before docs/decisions/0020, is a position that no history has."""
    return StreamPosition(epoch, revision, UNMARKED if change_id is None else ChangeMark(change_id, chain_hash))


def _position_text(position: StreamPosition) -> str:
    epoch, revision, mark = position
    if mark == UNMARKED:
        return f"{epoch}\0{revision}"
    return f"{epoch}\0{revision}\0{mark.change_id}\0{mark.hash.hex()}"


def _scoped(*values: Any) -> tuple[DiffScope, ShardKey]:
    *scope, namespace, shard_id = values
    return DiffScope(*scope), ShardKey(namespace, shard_id)


def _scoped_text(scoped: tuple[DiffScope, ShardKey]) -> str:
    scope, key = scoped
    times = ["" if time is None else time.isoformat() for time in (scope.start_time, scope.end_time)]
    return "\0".join((scope.namespace or "", str(scope.start), str(scope.end), *times, *key))


def _of_move(reason: MoveReason, namespace: str, shard_id: str) -> tuple[MoveReason, ShardKey]:
    return reason, ShardKey(namespace, shard_id)


def _move_text(move: tuple[MoveReason, ShardKey]) -> str:
    reason, key = move
    return "\0".join((reason, *key))


STREAM: Final = CursorKind(
    b"s", "the change stream", (_EPOCH, _COUNTER, _COUNTER, _HASH), _position, _position_text, optional=2
)

CHANGE_STREAM: Final = CursorKind(
    b"f",
    "the subscription changes",
    (_EPOCH, _COUNTER, _HASH),
    lambda epoch, change_id, chain_hash: StreamPosition(epoch, change_id, ChangeMark(change_id, chain_hash)),
    lambda position: f"{position.epoch}\0{position.revision}\0{position.mark.hash.hex()}",
)
"""The revision of such a position is the id of a change."""

SHARDS: Final[CursorKind[ShardKey]] = CursorKind(b"k", "the list of shards", (_NAME, _IDENTIFIER), ShardKey, "\0".join)

HISTORY: Final[CursorKind[int]] = CursorKind(b"h", "the history", (_COUNTER,), _same, str)

DIFF: Final = CursorKind(
    b"d",
    "a difference between two revisions",
    (_ANY_NAMESPACE, _COUNTER, _COUNTER, _TIME, _TIME, _NAME, _IDENTIFIER),
    _scoped,
    _scoped_text,
)

CHANGES: Final[CursorKind[int]] = CursorKind(b"c", "the list of changes", (_COUNTER,), _same, str)

NAMESPACES: Final[CursorKind[str]] = CursorKind(b"n", "the list of namespaces", (_NAME,), _same, str)

NODES: Final[CursorKind[str]] = CursorKind(b"o", "the list of nodes", (_IDENTIFIER,), _same, str)

PLANS: Final[CursorKind[int]] = CursorKind(b"p", "the list of plans", (_COUNTER,), _same, str)
"""By the id of the change that stores the plan."""

MOVES: Final = CursorKind(b"m", "a list of moves", (_REASON, _NAME, _IDENTIFIER), _of_move, _move_text)

REFUSALS: Final[CursorKind[int]] = CursorKind(b"r", "the list of refusals", (_COUNTER,), _same, str)

_KINDS: Final = {
    kind.byte: kind
    for kind in (STREAM, CHANGE_STREAM, SHARDS, HISTORY, DIFF, CHANGES, NAMESPACES, NODES, PLANS, MOVES, REFUSALS)
}


def _checked_body(cursor: str, argument: str) -> bytes:
    data = _decoded(cursor)
    body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if not body or check != _check(body):
        raise BadCursor(argument, "this is not a cursor, or it was cut or altered; hand cursors back as they came")
    return body


def _decoded(cursor: str) -> bytes:
    """The bytes a cursor spells, or none: base64 lets several strings stand for the same bytes, here one does."""
    if len(cursor) > _LONGEST or not _ALPHABET.fullmatch(cursor):
        return b""
    try:
        data = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except binascii.Error:
        return b""
    return data if _encoded(data) == cursor else b""


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _check(body: bytes) -> bytes:
    return mmh3.hash(body, seed=0, signed=False).to_bytes(_CHECK_BYTES, "big")
