"""Rows of history as PostgreSQL sends them, for whoever only wants to know whether they fit."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Final

import asyncpg

from persistence import audit
from persistence.auditing.members import COLUMNS, all_agree, taken_apart
from persistence.encoding import encode
from persistence.postgres.auditing.reading import CHANGED_FIELDS
from persistence.postgres.auditing.wire import LENGTH_SIZE, NONE, NULL, SINCE_1970, copied, length_at

_COPIED: Final = f"""
    SELECT revision, change_id, created_at {SINCE_1970},
        concat_ws(E'\\x1f', 'namespace":"' || namespace || '"', 'shardId":"' || shard_id || '"',
            'ownerNodeId":' || coalesce('"' || owner_node_id || '"', 'null'), 'version":' || version || '}}',
            'ownerNodeId":' || coalesce('"' || previous_owner_node_id || '"', 'null'),
            {CHANGED_FIELDS}),
        '{audit.ROW}'::text, kind, previous, previous_revision, previous_updated_at {SINCE_1970},
        CASE WHEN previous IS NOT NULL THEN created_at {SINCE_1970} END, current, move_reason
    FROM shard_history WHERE revision >= %d AND revision <= %d ORDER BY revision
"""  # noqa: S608 - constants and integers
_BETWEEN: Final = b"\x1f"
_INTEGER: Final = 8
_KIND: Final = 7
"""Letters in CREATED, UPDATED and DELETED."""

_begin = struct.Struct(">6xq4xq4xqi")
_middle = struct.Struct(f">{len(encode(audit.ROW))}xi{_KIND}xi")
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
    query = _COPIED % (first if lowest is None else lowest, last)
    return rows if await copied(connection, query, partial(_add_to, rows)) else None


def _add_to(rows: WireRows, data: bytes, place: int, end: int) -> bool:
    """False if a row does not follow, or does not agree with its images."""
    expected = rows.first + len(rows.digests)
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
        if length == NONE:
            *nothing, length = _no_history.unpack_from(data, place)
            if seven != _KIND or nothing != [NONE] * 3:
                return False
            place += _no_history.size
        else:
            previous = data[place : place + length]
            place += length
            eight, again, and_again, length = _history.unpack_from(data, place)
            if seven != _KIND or not eight == again == and_again == _INTEGER:
                return False
            place += _history.size
        if length != NONE:
            current = data[place : place + length]
            place += length
        covered = data[start:place]
        if data[place : place + LENGTH_SIZE] != NULL:
            (length,) = length_at(data, place)
            covered = audit.moved_row(covered, data[place + LENGTH_SIZE : place + LENGTH_SIZE + length])
            place += length
        place += LENGTH_SIZE
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
