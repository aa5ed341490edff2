"""What PostgreSQL sends for a binary COPY, taken as it comes.

https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-BINARY-FORMAT. A row is the number of its fields, and of
each field a length and as many bytes: but for that number it is what `encoding.py` writes, so the digest of fields that
stand together is that of a slice of what came, and nothing is decoded. Times are sent as microseconds since 2000; to be
selected with SINCE_1970 after them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import asyncpg

SINCE_1970: Final = "+ interval '262968 hours'"

NONE: Final = -1
"""The length of a field that is null."""

NULL: Final = b"\xff\xff\xff\xff"
"""A field that is null."""

length_at = struct.Struct(">i").unpack_from
LENGTH_SIZE: Final = 4

_HEADER_SIZE: Final = 19
"""Bytes before the first row: a signature, flags, and no extension."""

_END_SIZE: Final = 2
"""Bytes after the last row, fewer than any row has."""


async def copied(connection: asyncpg.Connection, query: str, take: Callable[[bytes, int, int], bool]) -> bool:
    """Whether all rows are what they should be: `take` is given bytes, and where in them some whole rows begin, and
    before which place the last of them does. After it has once said no, it is not asked again. That something cannot be
    unpacked means no as well: a field is null that may not be, and the rest was read as what it is not.
    """
    sound = True
    place = _HEADER_SIZE

    async def output(data: bytes | bytearray) -> None:
        # PostgreSQL sends on while these are looked at.
        nonlocal sound, place
        try:
            sound = sound and take(bytes(data), place, len(data) - _END_SIZE)
        except (struct.error, ValueError, KeyError, TypeError):
            sound = False
        place = 0

    await connection.copy_from_query(query, output=output, format="binary")
    return sound
