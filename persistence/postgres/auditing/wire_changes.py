"""Changes as PostgreSQL sends them, for whoever only wants to know whether they fit."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import asyncpg

from persistence import audit
from persistence.encoding import encode
from persistence.postgres.auditing.wire import LENGTH_SIZE, NONE, SINCE_1970, copied, length_at

_COPIED: Final = f"""
    SELECT id, head_revision, shard_count::bigint, committed_at {SINCE_1970}, content_digest, hash, namespaces::text,
        '{audit.CHANGE}'::text, kind, actor, reason, change_ticket, metadata, configuration, forced
    FROM changes WHERE id > %d AND id <= %d ORDER BY id
"""  # noqa: S608 - constants and integers
_TEXTS: Final = 6
"""Fields after the name of the encoding, up to and including the configuration."""

_INTEGER: Final = 8
_DIGEST: Final = 32
_LENGTHS: Final = (_INTEGER, _INTEGER, _INTEGER, _INTEGER, _DIGEST, _DIGEST)
_begin = struct.Struct(">h iq iq iq iq i32s i32s i".replace(" ", ""))
_FIELDS_SIZE: Final = 2
_PLACE_SIZE: Final = _begin.size - _FIELDS_SIZE - 2 * LENGTH_SIZE - _DIGEST
_NAME_SIZE: Final = len(encode(audit.CHANGE))
# As PostgreSQL writes an array of names that need no quotes.
_names = re.compile(rb"\{([A-Za-z0-9._:,-]*)\}")


class WireChange(NamedTuple):
    """`committed_at` in microseconds since 1970. `place` and `said` are what the hash and what the content digest
    cover, in bytes, beside the hash before and the digests of rows."""

    id: int
    head_revision: int
    shard_count: int
    committed_at: int
    content_digest: bytes
    hash: bytes
    namespaces: Sequence[str]
    configuration: bytes | None
    place: bytes
    said: bytes


async def copied_changes(
    connection: asyncpg.Connection, after: int, last: int, follows: Callable[[WireChange], bool]
) -> bool:
    """Whether every change after one and up to another is what it should be, and `follows`."""

    def take(data: bytes, place: int, end: int) -> bool:
        while place < end:
            change, place = _change_at(data, place)
            if not follows(change):
                return False
        return True

    return await copied(connection, _COPIED % (after, last), take)


def _change_at(data: bytes, place: int) -> tuple[WireChange, int]:
    """And where the next one begins. Raises ValueError or struct.error if it is no change as the store writes them."""
    _, *fields, length = _begin.unpack_from(data, place)
    if tuple(fields[::2]) != _LENGTHS:
        raise ValueError("a number or a digest has another length")
    chained = data[place + _FIELDS_SIZE : place + _FIELDS_SIZE + _PLACE_SIZE]
    place += _begin.size
    namespaces = _names_in(data[place : place + length])
    place += length
    start = place
    place += _NAME_SIZE
    for _ in range(_TEXTS):
        (length,) = length_at(data, place)
        place += LENGTH_SIZE if length == NONE else LENGTH_SIZE + length
    said, configuration = data[start:place], None if length == NONE else data[place - length : place]
    (length,) = length_at(data, place)
    place += LENGTH_SIZE
    if length != NONE:
        said = audit.forced_change(said, data[place : place + length])
        place += length
    change_id, revision, count, committed_at, digest, link = fields[1::2]
    return WireChange(
        change_id, revision, count, committed_at, digest, link, namespaces, configuration, chained, said
    ), place


@lru_cache(maxsize=4_096)
def _names_in(array: bytes) -> tuple[str, ...]:
    """Raises ValueError for names that need quotes, which names of namespaces seldom do, and for nulls."""
    found = _names.fullmatch(array)
    names = tuple(found[1].decode().split(",")) if found is not None and found[1] else ()
    if found is None or "NULL" in names:
        raise ValueError("needs quotes")
    return names
