"""Rows of history as PostgreSQL sends them, for whoever only wants to know whether they fit.

What the audit chain covers of a row is encoded field by field as a length and as many bytes (`encoding.py`), which is
how PostgreSQL's binary COPY sends a row. So the digest of a row is that of a slice of what came over the wire; nothing
is decoded. Times are sent as microseconds since 2000, and moved here by the thirty years that ours begin earlier.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import asyncpg

from persistence import audit
from persistence.auditing.members import COLUMNS, all_agree, taken_apart
from persistence.encoding import encode
from persistence.postgres.auditing.reading import CHANGED_FIELDS

_SINCE_1970: Final = "+ interval '262968 hours'"
_COPIED: Final = f"""
    SELECT revision, change_id, created_at {_SINCE_1970},
        concat_ws(E'\\x1f', 'namespace":"' || namespace || '"', 'shardId":"' || shard_id || '"',
            'ownerNodeId":' || coalesce('"' || owner_node_id || '"', 'null'), 'version":' || version || '}}',
            'ownerNodeId":' || coalesce('"' || previous_owner_node_id || '"', 'null'),
            {CHANGED_FIELDS}),
        '{audit.ROW}'::text, kind, previous, previous_revision, previous_updated_at {_SINCE_1970},
        CASE WHEN previous IS NOT NULL THEN created_at {_SINCE_1970} END, current, move_reason
    FROM shard_history WHERE revision >= %d AND revision <= %d ORDER BY revision
"""  # noqa: S608 - constants and integers
_HEADER: Final = 19
"""Bytes before the first row: a signature, flags, and no extension."""

_END_SIZE: Final = 2
"""Bytes after the last row, fewer than any row has."""

_NULL: Final = b"\xff\xff\xff\xff"
_BETWEEN: Final = b"\x1f"
_NONE: Final = -1
_INTEGER: Final = 8
_KIND: Final = 7
"""Letters in CREATED, UPDATED and DELETED."""

_begin = struct.Struct(">6xq4xq4xqi")
_middle = struct.Struct(f">{len(encode(audit.ROW))}xi{_KIND}xi")
_length = struct.Struct(">i")
_history = struct.Struct(">i8xi8xi8xi")
_no_history = struct.Struct(">iiii")


@dataclass(frozen=True, slots=True)
class WireRows:
    """Rows that follow one another and agree with their images. Of each, in lists: the change it names, its digest, its
    namespace, and when it created its shard, in microseconds since 1970, if it did. And the newest revision of each
    shard. Namespaces and shards are named by the members of the images that name them."""

    first: int
    changes: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    namespaces: list[bytes] = field(default_factory=list)
    created: list[int | None] = field(default_factory=list)
    shards: dict[tuple[bytes, bytes], int] = field(default_factory=dict)


async def copied_rows(
    connection: asyncpg.Connection, first: int, last: int, lowest: int | None = None
) -> WireRows | None:
    """Every row from one revision to another; null where one of them is not what it should be, or does not follow.

    `lowest` is where to begin to look, for rows that should not be there. The last may be any number beyond the end.
    """
    rows = WireRows(first)
    sound = True
    place = _HEADER

    async def take(data: bytes | bytearray) -> None:
        # PostgreSQL sends on while these are looked at. Only whole rows come.
        nonlocal sound, place
        try:
            sound = sound and _add_to(rows, bytes(data), place)
        except (struct.error, ValueError, KeyError, TypeError):
            # A field is null that may not be, and the rest was read as what it is not; or an image is none.
            sound = False
        place = 0

    query = _COPIED % (first if lowest is None else lowest, last)
    await connection.copy_from_query(query, output=take, format="binary")
    return rows if sound else None


def _add_to(rows: WireRows, data: bytes, place: int) -> bool:
    """False if a row does not follow, or does not agree with its images."""
    expected, end = rows.first + len(rows.digests), len(data) - _END_SIZE
    columns: list[bytes] = []
    before: list[bytes | None] = []
    after: list[bytes | None] = []
    while place < end:
        revision, change_id, created_at, length = _begin.unpack_from(data, place)
        if revision != expected:
            return False
        expected += 1
        place += _begin.size
        start = place + length
        columns.append(data[place:start])
        seven, length = _middle.unpack_from(data, start)
        place = start + _middle.size
        previous = current = None
        if length == _NONE:
            *nothing, length = _no_history.unpack_from(data, place)
            if seven != _KIND or nothing != [_NONE] * 3:
                return False
            place += _no_history.size
        else:
            previous = data[place : place + length]
            place += length
            eight, again, and_again, length = _history.unpack_from(data, place)
            if seven != _KIND or not eight == again == and_again == _INTEGER:
                return False
            place += _history.size
        if length != _NONE:
            current = data[place : place + length]
            place += length
        covered = data[start:place]
        if data[place : place + _length.size] != _NULL:
            (length,) = _length.unpack_from(data, place)
            covered = audit.moved_row(covered, data[place + _length.size : place + _length.size + length])
            place += length
        place += _length.size
        before.append(previous)
        after.append(current)
        rows.changes.append(change_id)
        rows.digests.append(hashlib.sha256(covered).digest())
        rows.created.append(created_at if previous is None else None)
    return not columns or _add_columns(rows, taken_apart(columns, _BETWEEN, COLUMNS), before, after)


def _add_columns(
    rows: WireRows, columns: Sequence[bytes], previous: Sequence[bytes | None], current: Sequence[bytes | None]
) -> bool:
    if not all_agree(columns, previous, current):
        return False
    namespaces, shards = columns[:: COLUMNS + 1], columns[1 :: COLUMNS + 1]
    rows.shards.update(zip(zip(namespaces, shards, strict=True), count(rows.first + len(rows.namespaces))))
    rows.namespaces.extend(namespaces)
    return True
