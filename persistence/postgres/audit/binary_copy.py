"""Rows of history and changes as PostgreSQL sends them for a binary COPY, verified without decoding them.

https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-BINARY-FORMAT. A row is the number of its fields, and of
each field a length and as many bytes: but for that number it is what `codec/encoding.py` writes, so the digest of
adjacent fields is that of a slice of the data. It is only found whether rows are intact, not what is wrong with one.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import count
from operator import lt
from typing import Final, NamedTuple, TypeAlias

import asyncpg
import orjson

from persistence.audit.continuity import ShardState, image_digest, state_deleted, state_there
from persistence.audit.row_images import COLUMNS, REPEATED, all_agree, split_all
from persistence.codec import hash_chain
from persistence.codec.encoding import encode
from persistence.postgres.audit.reader import CHANGED_FIELDS

SINCE_1970: Final = "+ interval '262968 hours'"
"""After a time that is selected: PostgreSQL sends microseconds since 2000."""

NONE: Final = -1
"""The length of a field that is null."""

NULL: Final = b"\xff\xff\xff\xff"
"""A field that is null."""

Take: TypeAlias = Callable[[bytes, int, int], bool]

length_at = struct.Struct(">i").unpack_from

LENGTH_SIZE: Final = 4

_HEADER_SIZE: Final = 19
"""Bytes before the first row: a signature, flags, and no extension."""

_END_SIZE: Final = 2
"""Bytes after the last row, fewer than any row takes."""

_INTEGER: Final = 8
"""Bytes of an integer or a time."""


PAGE: Final = 10_000
"""Rows or changes of one COPY, which is a snapshot: a tenth of a second, as long as they are verified."""


async def copied_pages(
    connection: asyncpg.Connection, query: str, after: int, last: int, count: Callable[[], int], take: Take
) -> bool:
    """`copied` of a query with two places, for the number after which a page begins and its last one: `last` may be far
    beyond the newest. `count` returns how many rows were taken; numbers up to there are without gaps."""
    while after < last:
        until = min(after + PAGE, last)
        taken = count()
        if not await copied(connection, query % (after, until), take):
            return False
        # Fewer than there are numbers: nothing may come after.
        if count() - taken < until - after:
            return until == last or await copied(connection, query % (until, last), take)
        after = until
    return True


async def copied(connection: asyncpg.Connection, query: str, take: Take) -> bool:
    """Whether `take` accepts all rows of the query. It is given bytes, the offset at which some complete rows begin in
    them, and the offset before which the last of them begins, and is not called again once it has returned false. What
    cannot be unpacked is not accepted either: a field is null that may not be, and the rest was misread.
    """
    intact = True
    offset = _HEADER_SIZE

    async def output(data: bytes | bytearray) -> None:
        # PostgreSQL goes on sending while these are verified.
        nonlocal intact, offset
        try:
            intact = intact and take(bytes(data), offset, len(data) - _END_SIZE)
        except (struct.error, ValueError, KeyError, TypeError):
            intact = False
        offset = 0

    await connection.copy_from_query(query, output=output, format="binary")
    return intact


_COPIED_ROWS: Final = f"""
    SELECT revision, change_id, created_at {SINCE_1970},
        concat_ws(E'\\x1f', 'namespace":"' || namespace || '"', 'shardId":"' || shard_id || '"',
            'ownerNodeId":' || coalesce('"' || owner_node_id || '"', 'null'), 'version":' || version || '}}',
            'ownerNodeId":' || coalesce('"' || previous_owner_node_id || '"', 'null'),
            {CHANGED_FIELDS}),
        '{hash_chain.ROW}'::text, kind, previous, previous_revision, previous_updated_at {SINCE_1970},
        CASE WHEN previous IS NOT NULL THEN created_at {SINCE_1970} END, current, move_reason
    FROM shard_history WHERE revision > '%d' AND revision <= '%d' ORDER BY revision
"""  # noqa: S608 - constants and integers

_BETWEEN: Final = b"\x1f"
"""Separates the columns of a row, as members of an image."""

_KIND: Final = 7
"""Letters in CREATED, UPDATED and DELETED."""

_STEP: Final = COLUMNS + 1

_VERSION_AT: Final = REPEATED.index("version")

_BEFORE_VERSION: Final = len('version":')

_row_begin = struct.Struct(">6xq4xq4xqi")

_middle = struct.Struct(f">{len(encode(hash_chain.ROW))}xi{_KIND}xi")

_history = struct.Struct(">iqiqi8xi")

_no_history = struct.Struct(">iiii")

Key: TypeAlias = tuple[bytes, bytes]
"""Namespace and shard, by the members of the images that name them."""


@dataclass(frozen=True, slots=True)
class WireRows:
    """Rows that follow one another and agree with their images. Of each, in lists: the change it names, its digest, its
    namespace as a member of an image, and when it created its shard, in microseconds since 1970, null if it did not.
    """

    first: int
    shards: WireShards
    changes: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    namespaces: list[bytes] = field(default_factory=list)
    created: list[int | None] = field(default_factory=list)


async def copied_rows(
    connection: asyncpg.Connection, first: int, last: int, lowest: int | None = None
) -> WireRows | None:
    """Every row from one revision to another; null where one of them is not intact, or does not follow.

    `lowest` is the revision to read from, for rows that must not be there. `last` may be beyond the newest revision.
    """
    rows = WireRows(first, WireShards(first))
    take = partial(_add_to, rows)
    if lowest is not None and not await copied(connection, _COPIED_ROWS % (lowest - 1, first - 1), take):
        return None
    intact = await copied_pages(connection, _COPIED_ROWS, first - 1, last, rows.digests.__len__, take)
    return rows if intact else None


def _add_to(rows: WireRows, data: bytes, offset: int, end: int) -> bool:
    """`take` of `copied`: false if a row does not follow, or does not agree with its images."""
    expected = rows.first + len(rows.digests)
    columns: list[bytes] = []
    before: list[bytes | None] = []
    after: list[bytes | None] = []
    numbers = RowNumbers()
    while offset < end:
        revision, change_id, created_at, length = _row_begin.unpack_from(data, offset)
        if revision != expected:
            return False
        expected += 1
        offset += _row_begin.size
        start = offset + length
        columns.append(data[offset:start])
        seven, length = _middle.unpack_from(data, start)
        offset = start + _middle.size
        previous = current = None
        followed = updated_at = 0
        if length == NONE:
            *nothing, length = _no_history.unpack_from(data, offset)
            if seven != _KIND or nothing != [NONE] * 3:
                return False
            offset += _no_history.size
        else:
            previous = data[offset : offset + length]
            offset += length
            eight, followed, again, updated_at, and_again, length = _history.unpack_from(data, offset)
            if seven != _KIND or not eight == again == and_again == _INTEGER:
                return False
            offset += _history.size
        if length != NONE:
            current = data[offset : offset + length]
            offset += length
        covered = data[start:offset]
        if data[offset : offset + LENGTH_SIZE] != NULL:
            (length,) = length_at(data, offset)
            covered = hash_chain.moved_row(covered, data[offset + LENGTH_SIZE : offset + LENGTH_SIZE + length])
            offset += length
        offset += LENGTH_SIZE
        before.append(previous)
        after.append(current)
        numbers.followed.append(followed)
        numbers.updated.append(updated_at)
        numbers.created.append(created_at)
        rows.changes.append(change_id)
        rows.digests.append(hashlib.sha256(covered).digest())
        rows.created.append(created_at if previous is None else None)
    if not columns:
        return True
    pieces = split_all(columns, _BETWEEN, COLUMNS)
    rows.namespaces.extend(pieces[::_STEP])
    return all_agree(pieces, before, after) and rows.shards.follow(pieces, before, after, numbers)


@dataclass(slots=True)
class RowNumbers:
    """Of some rows, in lists: the revision that each follows and the time it records for that, 0 for a creation, and
    when its shard was created. Times are microseconds since 1970."""

    followed: list[int] = field(default_factory=list)
    updated: list[int] = field(default_factory=list)
    created: list[int] = field(default_factory=list)


@dataclass(slots=True)
class WireShards:
    """Follows each shard from row to row, as `Continuity` does, but for the times of changes, which are read later.

    A row that follows another one of these must begin with the image that one ends with, and be the only one that
    follows it. Any other is the first of its shard, whose state before is then in `claims`, or creates a deleted shard.
    """

    first: int
    claims: dict[Key, ShardState] = field(default_factory=dict)
    _ends: list[bytes | None] = field(default_factory=list)
    _created: list[int] = field(default_factory=list)
    _newest: dict[Key, int] = field(default_factory=dict)
    _deleted: dict[Key, bytes] = field(default_factory=dict)
    # Of each row that follows another one of these: the index of that one, and the times it records for it.
    _follows: list[int] = field(default_factory=list)
    _updated_then: list[int] = field(default_factory=list)
    _created_then: list[int] = field(default_factory=list)

    def follow(
        self,
        pieces: Sequence[bytes],
        before: Sequence[bytes | None],
        after: Sequence[bytes | None],
        numbers: RowNumbers,
    ) -> bool:
        """Add the columns, images and numbers of the next rows. False if one does not follow from the row before it of
        its shard."""
        first, ends = self.first, self._ends
        known = len(ends)
        keys = list(zip(pieces[::_STEP], pieces[1::_STEP], strict=True))
        self._newest.update(zip(keys, count(first + known)))
        self._created += numbers.created
        begins = _digests(before)
        ends += _digests(after)
        follows = [revision - first for revision in numbers.followed]
        if min(follows) >= 0 and None not in after:
            self._follows += follows
            self._updated_then += numbers.updated
            self._created_then += numbers.created
            return all(map(lt, follows, count(known))) and [ends[row] for row in follows] == begins
        for index, row in enumerate(follows):
            version = pieces[index * _STEP + _VERSION_AT]
            if row >= 0:
                if row >= known + index or ends[row] != begins[index]:
                    return False
                self._follows.append(row)
                self._updated_then.append(numbers.updated[index])
                self._created_then.append(numbers.created[index])
            else:
                digest = begins[index]
                if digest is not None:
                    times = (numbers.updated[index], numbers.created[index])
                    state = state_there(digest, numbers.followed[index], *times)
                else:
                    state = _counters(after[index], version, -1)
                if not self._begin(keys[index], (first + known + index, state), created=digest is None):
                    return False
            if after[index] is None:
                self._deleted[keys[index]] = _counters(before[index], version, 0)
        return True

    def _begin(self, key: Key, claim: ShardState, *, created: bool) -> bool:
        """False if a row is neither the first of its shard nor its creation after a deletion."""
        deleted = self._deleted.pop(key, None) if created else None
        if deleted is not None:
            _, state = claim
            return deleted == state
        if key in self.claims:
            return False
        self.claims[key] = claim
        return True

    def newest(self, times: Sequence[int]) -> dict[Key, ShardState] | None:
        """The state of each shard after its newest row; `times` are when each row was committed. Null if a row records
        other times for the one it follows, or if one was followed twice."""
        follows, created = self._follows, self._created
        if (
            len(set(follows)) < len(follows)
            or [times[row] for row in follows] != self._updated_then
            or [created[row] for row in follows] != self._created_then
        ):
            return None
        newest = {}
        for key, revision in self._newest.items():
            row = revision - self.first
            digest = self._ends[row]
            state = self._deleted[key] if digest is None else state_there(digest, revision, times[row], created[row])
            newest[key] = (revision, state)
        return newest


def _digests(images: Sequence[bytes | None]) -> list[bytes | None]:
    return [None if image is None else image_digest(image) for image in images]


def _counters(image: bytes | None, version: bytes, step: int) -> bytes:
    """The state of a shard where there is no image of it: by the version, and the owner epoch of the other image."""
    number = int(version[_BEFORE_VERSION:-1])
    return state_deleted(number + step, orjson.loads(image or b"")["ownerEpoch"] + step)


_COPIED_CHANGES: Final = f"""
    SELECT id, head_revision, shard_count::bigint, committed_at {SINCE_1970}, content_digest, hash, namespaces::text,
        '{hash_chain.CHANGE}'::text, kind, actor, reason, change_ticket, metadata, configuration, forced
    FROM changes WHERE id > '%d' AND id <= '%d' ORDER BY id
"""  # noqa: S608 - constants and integers

_TEXTS: Final = 6
"""Fields after the name of the encoding, up to and including the configuration."""

_DIGEST: Final = 32

_LENGTHS: Final = (_INTEGER, _INTEGER, _INTEGER, _INTEGER, _DIGEST, _DIGEST)

_change_begin = struct.Struct(">h iq iq iq iq i32s i32s i".replace(" ", ""))

_FIELDS_SIZE: Final = 2

_POSITION_SIZE: Final = _change_begin.size - _FIELDS_SIZE - 2 * LENGTH_SIZE - _DIGEST

_NAME_SIZE: Final = len(encode(hash_chain.CHANGE))

# An array of names that need no quotes.
_names = re.compile(rb"\{([A-Za-z0-9._:,-]*)\}")


class WireChange(NamedTuple):
    """`committed_at` in microseconds since 1970. `position` is the encoding that the hash covers after the previous
    hash, `header` the one that the content digest covers before the digests of rows."""

    id: int
    head_revision: int
    shard_count: int
    committed_at: int
    content_digest: bytes
    hash: bytes
    namespaces: Sequence[str]
    configuration: bytes | None
    position: bytes
    header: bytes


async def copied_changes(
    connection: asyncpg.Connection, after: int, last: int, follows: Callable[[WireChange], bool]
) -> bool:
    """Whether every change after one and up to another can be read, and `follows` accepts it."""
    taken = 0

    def take(data: bytes, offset: int, end: int) -> bool:
        nonlocal taken
        while offset < end:
            change, offset = _change_at(data, offset)
            if not follows(change):
                return False
            taken += 1
        return True

    return await copied_pages(connection, _COPIED_CHANGES, after, last, lambda: taken, take)


def _change_at(data: bytes, offset: int) -> tuple[WireChange, int]:
    """The change at an offset, and the offset of the next one. Raises ValueError or struct.error if it is none as the
    store writes them."""
    _, *fields, length = _change_begin.unpack_from(data, offset)
    if tuple(fields[::2]) != _LENGTHS:
        raise ValueError("a number or a digest has another length")
    position = data[offset + _FIELDS_SIZE : offset + _FIELDS_SIZE + _POSITION_SIZE]
    offset += _change_begin.size
    namespaces = _names_in(data[offset : offset + length])
    offset += length
    start = offset
    offset += _NAME_SIZE
    for _ in range(_TEXTS):
        (length,) = length_at(data, offset)
        offset += LENGTH_SIZE if length == NONE else LENGTH_SIZE + length
    header, configuration = data[start:offset], None if length == NONE else data[offset - length : offset]
    (length,) = length_at(data, offset)
    offset += LENGTH_SIZE
    if length != NONE:
        header = hash_chain.forced_change(header, data[offset : offset + length])
        offset += length
    change_id, revision, count, committed_at, digest, link = fields[1::2]
    return WireChange(
        change_id, revision, count, committed_at, digest, link, namespaces, configuration, position, header
    ), offset


@lru_cache(maxsize=4_096)
def _names_in(array: bytes) -> tuple[str, ...]:
    """The names in an array's text. Raises ValueError for nulls and for names in quotes, which few namespaces need."""
    found = _names.fullmatch(array)
    names = tuple(found[1].decode().split(",")) if found is not None and found[1] else ()
    if found is None or "NULL" in names:
        raise ValueError("needs quotes")
    return names
