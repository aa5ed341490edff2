"""Opaque cursors: which list a place belongs to, the place, and a check over both.

A cursor is base64url without padding of a kind (one byte), the place (fields of UTF-8, joined by NUL) and four bytes of
MurmurHash3 x86 32 over kind and place, big-endian. The check recognises what was cut or altered on the way; it does not
authenticate, so every field is read as carefully as any other input. There is one spelling of every cursor.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, NewType

import mmh3

from persistence.errors import BadCursor
from persistence.model.records import (
    IDENTIFIER_PATTERN,
    MARK_BYTES,
    MAX_COUNTER,
    UNMARKED,
    ChangeMark,
    MoveReason,
    ShardKey,
    StreamPosition,
)

Cursor = NewType("Cursor", str)

_CHECK_BYTES: Final = 4

_LONGEST: Final = 1_024

_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]*")

_COUNTER: Final = re.compile(r"0|[1-9][0-9]{0,18}")

_IDENTIFIER: Final = re.compile(IDENTIFIER_PATTERN)

_EPOCH: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")

_HASH: Final = re.compile(f"[0-9a-f]{{{2 * MARK_BYTES}}}")

_REASON: Final = re.compile("|".join(MoveReason))

_TIME: Final = re.compile(r"([0-9T:.-]{1,26}\+00:00)?")

_ANY_NAMESPACE: Final = ""


class _Kind(Enum):
    """Value: the byte in the cursor. `source` says where such a cursor comes from."""

    STREAM = b"s"
    SHARDS = b"k"
    HISTORY = b"h"
    DIFF = b"d"
    CHANGES = b"c"
    NAMESPACES = b"n"
    NODES = b"o"
    PLANS = b"p"
    MOVES = b"m"
    REFUSALS = b"r"

    @property
    def source(self) -> str:
        return _SOURCES[self]


_SOURCES: Final = {
    _Kind.STREAM: "the change stream",
    _Kind.SHARDS: "the list of shards",
    _Kind.HISTORY: "the history",
    _Kind.DIFF: "a difference between two revisions",
    _Kind.CHANGES: "the list of changes",
    _Kind.NAMESPACES: "the list of namespaces",
    _Kind.NODES: "the list of nodes",
    _Kind.PLANS: "the list of plans",
    _Kind.MOVES: "a list of moves",
    _Kind.REFUSALS: "the list of refusals",
}


@dataclass(frozen=True, slots=True)
class DiffScope:
    """Which difference a list shows: it stays fixed from page to page.

    `start_time` and `end_time` are what was asked for, where a time was: the revisions are those it stood for at the
    first page. A time of this very moment may stand for a later one by the next.
    """

    namespace: str | None
    start: int
    end: int
    start_time: datetime | None = None
    end_time: datetime | None = None


def stream_cursor(position: StreamPosition) -> Cursor:
    change_id, chain_hash = position.mark
    mark = () if position.mark == UNMARKED else (str(change_id), chain_hash.hex())
    return Cursor(_write(_Kind.STREAM, position.epoch, str(position.revision), *mark))


def read_stream_cursor(cursor: str, field: str) -> StreamPosition:
    """One without a change, as they were before docs/decisions/0020, is a position that no history has."""
    epoch, revision, *mark = _read(_Kind.STREAM, cursor, field, (_EPOCH, _COUNTER, _COUNTER, _HASH), optional=2)
    if not mark:
        return StreamPosition(epoch, _counter(revision, field), UNMARKED)
    change_id, chain_hash = mark
    written = ChangeMark(_counter(change_id, field), bytes.fromhex(chain_hash))
    return StreamPosition(epoch, _counter(revision, field), written)


def shard_cursor(key: ShardKey) -> str:
    return _write(_Kind.SHARDS, *key)


def read_shard_cursor(cursor: str, field: str) -> ShardKey:
    return ShardKey(*_read(_Kind.SHARDS, cursor, field, (_IDENTIFIER, _IDENTIFIER)))


def history_cursor(revision: int) -> str:
    return _write(_Kind.HISTORY, str(revision))


def read_history_cursor(cursor: str, field: str) -> int:
    (revision,) = _read(_Kind.HISTORY, cursor, field, (_COUNTER,))
    return _counter(revision, field)


def change_cursor(change_id: int) -> str:
    return _write(_Kind.CHANGES, str(change_id))


def read_change_cursor(cursor: str, field: str) -> int:
    (change_id,) = _read(_Kind.CHANGES, cursor, field, (_COUNTER,))
    return _counter(change_id, field)


def refusal_cursor(refusal_id: int) -> str:
    return _write(_Kind.REFUSALS, str(refusal_id))


def read_refusal_cursor(cursor: str, field: str) -> int:
    (refusal_id,) = _read(_Kind.REFUSALS, cursor, field, (_COUNTER,))
    return _counter(refusal_id, field)


def namespace_cursor(name: str) -> str:
    return _write(_Kind.NAMESPACES, name)


def read_namespace_cursor(cursor: str, field: str) -> str:
    (name,) = _read(_Kind.NAMESPACES, cursor, field, (_IDENTIFIER,))
    return name


def node_cursor(node_id: str) -> str:
    return _write(_Kind.NODES, node_id)


def read_node_cursor(cursor: str, field: str) -> str:
    (node_id,) = _read(_Kind.NODES, cursor, field, (_IDENTIFIER,))
    return node_id


def plan_cursor(change_id: int) -> str:
    """`change_id` is that of the change that keeps the plan."""
    return _write(_Kind.PLANS, str(change_id))


def read_plan_cursor(cursor: str, field: str) -> int:
    (change_id,) = _read(_Kind.PLANS, cursor, field, (_COUNTER,))
    return _counter(change_id, field)


def move_cursor(reason: MoveReason, key: ShardKey) -> str:
    return _write(_Kind.MOVES, reason, *key)


def read_move_cursor(cursor: str, field: str) -> tuple[MoveReason, ShardKey]:
    reason, *key = _read(_Kind.MOVES, cursor, field, (_REASON, _IDENTIFIER, _IDENTIFIER))
    return MoveReason(reason), ShardKey(*key)


def diff_cursor(scope: DiffScope, key: ShardKey) -> str:
    times = ("" if time is None else time.isoformat() for time in (scope.start_time, scope.end_time))
    return _write(_Kind.DIFF, scope.namespace or _ANY_NAMESPACE, str(scope.start), str(scope.end), *times, *key)


def read_diff_cursor(cursor: str, field: str) -> tuple[DiffScope, ShardKey]:
    optional = re.compile(f"({IDENTIFIER_PATTERN})?")
    shape = (optional, _COUNTER, _COUNTER, _TIME, _TIME, _IDENTIFIER, _IDENTIFIER)
    namespace, start, end, *times, shard_namespace, shard_id = _read(_Kind.DIFF, cursor, field, shape)
    scope = DiffScope(
        namespace or None,
        _counter(start, field),
        _counter(end, field),
        *(_time(time, field) if time else None for time in times),
    )
    return scope, ShardKey(shard_namespace, shard_id)


def _write(kind: _Kind, *fields: str) -> str:
    body = kind.value + b"\0".join(field.encode() for field in fields)
    return _encoded(body + _check(body))


def _read(kind: _Kind, cursor: str, field: str, shape: Sequence[re.Pattern[str]], optional: int = 0) -> list[str]:
    """The fields of a cursor; the last ones, so many as are optional, may be missing. Raises BadCursor naming `field`,
    the argument it came in."""
    body = _checked_body(cursor, field)
    actual = next((known for known in _Kind if known.value == body[:1]), None)
    if actual is not kind:
        origin = f"comes from {actual.source}" if actual else "is of a kind this server does not know"
        raise BadCursor(field, f"this cursor {origin}; here one from {kind.source} is needed")
    try:
        fields = body[1:].decode().split("\0")
    except UnicodeDecodeError:
        fields = []
    if len(fields) not in {len(shape), len(shape) - optional} or not all(map(re.Pattern.fullmatch, shape, fields)):
        raise BadCursor(field, "this cursor was not made by this API")
    return fields


def _checked_body(cursor: str, field: str) -> bytes:
    data = _decoded(cursor)
    body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if not body or check != _check(body):
        raise BadCursor(field, "this is not a cursor, or it was cut or altered; hand cursors back as they came")
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


def _counter(digits: str, field: str) -> int:
    value = int(digits)
    if value > MAX_COUNTER:
        raise BadCursor(field, "this cursor was not made by this API")
    return value


def _time(text: str, field: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise BadCursor(field, "this cursor was not made by this API") from None
