"""Rows of history as PostgreSQL sends them, for whoever only wants to know whether they fit."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias

import asyncpg
import orjson

from persistence import audit
from persistence.auditing.continuity import Link, state_deleted, state_there
from persistence.auditing.members import COLUMNS, REPEATED, all_agree, taken_apart
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

_STEP: Final = COLUMNS + 1
_VERSION_AT: Final = REPEATED.index("version")
_BEFORE_VERSION: Final = len('version":')

_begin = struct.Struct(">6xq4xq4xqi")
_middle = struct.Struct(f">{len(encode(audit.ROW))}xi{_KIND}xi")
_history = struct.Struct(">iqiqi8xi")
_no_history = struct.Struct(">iiii")

Key: TypeAlias = tuple[bytes, bytes]
"""Namespace and shard, by the members of the images that name them."""


@dataclass(slots=True)
class WireShards:
    """Follows each shard from row to row, as `continuity.py` does.

    Of each row, in lists: the image it leaves, the revision it follows and the time when it says that was committed (0
    for a creation), and when its shard was created. A row that follows another of these must begin with what that left,
    and be the only one that follows it. Any other is the first of its shard, whose state before is then in `claims`, or
    creates again what was deleted.
    """

    first: int
    left: list[bytes | None] = field(default_factory=list)
    followed: list[int] = field(default_factory=list)
    updated: list[int] = field(default_factory=list)
    created: list[int] = field(default_factory=list)
    claims: dict[Key, Link] = field(default_factory=dict)
    _newest: dict[Key, int] = field(default_factory=dict)
    _deleted: dict[Key, bytes] = field(default_factory=dict)

    def follow(self, pieces: Sequence[bytes], before: Sequence[bytes | None], after: Sequence[bytes | None]) -> bool:
        """Take the columns and images of some rows, whose numbers are in the lists already. False if one does not go on
        from the row before it of its shard."""
        first, left = self.first, self.left
        taken = len(left)
        left += after
        keys = list(zip(pieces[::_STEP], pieces[1::_STEP], strict=True))
        rows = zip(self.followed[taken:], before, after, strict=True)
        for place, (followed, previous, current) in enumerate(rows):
            row = followed - first
            if row >= 0:
                if row >= taken + place or left[row] != previous:
                    return False
            elif not self._begin(keys[place], taken + place, previous, current, pieces[place * _STEP + _VERSION_AT]):
                return False
            if current is None:
                self._deleted[keys[place]] = _counters(previous, pieces[place * _STEP + _VERSION_AT], 0)
        self._newest.update(zip(keys, range(first + taken, first + len(left)), strict=True))
        return True

    def _begin(self, key: Key, row: int, previous: bytes | None, current: bytes | None, version: bytes) -> bool:
        """False if the row is neither the first of its shard nor its creation after a deletion."""
        if previous is not None:
            state = state_there(previous, self.followed[row], self.updated[row], self.created[row])
        else:
            state = _counters(current, version, -1)
            deleted = self._deleted.pop(key, None)
            if deleted is not None:
                return deleted == state
        if key in self.claims:
            return False
        self.claims[key] = Link(self.first + row, state)
        return True

    def links(self, times: Sequence[int]) -> dict[Key, Link] | None:
        """What the newest row of each shard left, where `times` are when each row was committed. Null if a row names
        other times than the one it follows has, or one was followed twice."""
        first, left, created = self.first, self.left, self.created
        follows = [
            (followed - first, updated_at, created_at)
            for followed, updated_at, created_at in zip(self.followed, self.updated, created, strict=True)
            if followed >= first
        ]
        if len({row for row, _, _ in follows}) < len(follows) or any(
            times[row] != updated_at or created[row] != created_at for row, updated_at, created_at in follows
        ):
            return None
        links = {}
        for key, revision in self._newest.items():
            row = revision - first
            image = left[row]
            links[key] = Link(
                revision,
                self._deleted[key] if image is None else state_there(image, revision, times[row], created[row]),
            )
        return links


def _counters(image: bytes | None, version: bytes, step: int) -> bytes:
    """What is left of a shard where there is no image of it: of the other image the owner epoch, and the version."""
    number = int(version[_BEFORE_VERSION:-1])
    return state_deleted(number + step, orjson.loads(image or b"")["ownerEpoch"] + step)


@dataclass(frozen=True, slots=True)
class WireRows:
    """Rows that follow one another and agree with their images. Of each, in lists: the change it names, its digest, its
    namespace by the member of the image that names it, and when it created its shard, in microseconds since 1970, if it
    did."""

    first: int
    shards: WireShards
    changes: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    namespaces: list[bytes] = field(default_factory=list)
    created: list[int | None] = field(default_factory=list)


async def copied_rows(
    connection: asyncpg.Connection, first: int, last: int, lowest: int | None = None
) -> WireRows | None:
    """Every row from one revision to another; null where one of them is not what it should be, or does not follow.

    `lowest` is where to begin to look, for rows that should not be there. The last may be any number beyond the end.
    """
    rows = WireRows(first, WireShards(first))
    query = _COPIED % (first if lowest is None else lowest, last)
    return rows if await copied(connection, query, partial(_add_to, rows)) else None


def _add_to(rows: WireRows, data: bytes, place: int, end: int) -> bool:
    """False if a row does not follow, or does not agree with its images."""
    expected = rows.first + len(rows.digests)
    columns: list[bytes] = []
    before: list[bytes | None] = []
    after: list[bytes | None] = []
    shards = rows.shards
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
        followed = updated_at = 0
        if length == NONE:
            *nothing, length = _no_history.unpack_from(data, place)
            if seven != _KIND or nothing != [NONE] * 3:
                return False
            place += _no_history.size
        else:
            previous = data[place : place + length]
            place += length
            eight, followed, again, updated_at, and_again, length = _history.unpack_from(data, place)
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
        shards.followed.append(followed)
        shards.updated.append(updated_at)
        shards.created.append(created_at)
        rows.changes.append(change_id)
        rows.digests.append(hashlib.sha256(covered).digest())
        rows.created.append(created_at if previous is None else None)
    return not columns or _add_columns(rows, taken_apart(columns, _BETWEEN, COLUMNS), before, after)


def _add_columns(
    rows: WireRows, columns: Sequence[bytes], previous: Sequence[bytes | None], current: Sequence[bytes | None]
) -> bool:
    if not all_agree(columns, previous, current) or not rows.shards.follow(columns, previous, current):
        return False
    rows.namespaces.extend(columns[::_STEP])
    return True
