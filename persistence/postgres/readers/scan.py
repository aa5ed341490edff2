"""Reading the whole shard table, for what keeps a copy of it.

Rows are taken as the driver has them, without SQLAlchemy's, and become records column by column, in loops that are not
Python's: docs/decisions/0036-replicas-of-millions.md.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from itertools import repeat
from typing import Any, Final, cast

from sqlalchemy import BigInteger, ColumnElement, CursorResult, LargeBinary, bindparam, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.model.drafts import POOLED, new_shards, pooled
from persistence.model.records import Pin, Shard, ShardKey, ShardStatus, StreamPosition
from persistence.ports.readers import Stamped
from persistence.postgres.engine import translated
from persistence.postgres.rows import SHARD
from persistence.postgres.stream import read_head
from persistence.postgres.tables.current import SHARDS

PAGE: Final = 2_000
"""Shards of one snapshot: some 10 ms, and no more than a statement's timeout where each has to be read from a disk."""

SLICE: Final = 500
"""Shards that are made before other tasks run: a millisecond or two."""

_UNIQUE: Final = {"shard_id", "checksum", "capacity_hint", "revision"}
"""Fields in which few shards have the same value, and that of numbers with fractions: 0.0 and -0.0 are equal."""

_TIMESTAMPS: Final = {"created_at", "updated_at"}

_BEGINNING: Final = datetime(2000, 1, 1, tzinfo=UTC)

_STATUSES: Final = dict(ShardStatus.__members__)


def _as_sent(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A timestamp as the bytes of its wire format: the driver takes as long for one as for all else of a row."""
    return func.timestamptz_send(column, type_=LargeBinary()) if column.key in _TIMESTAMPS else column


SHARD_AS_SENT: Final = tuple(map(_as_sent, SHARD))
"""SHARD, for `records`."""

_PAGE_AFTER: Final = (
    select(*SHARD_AS_SENT)
    .where(tuple_(SHARDS.c.namespace, SHARDS.c.shard_id) > tuple_(bindparam("namespace"), bindparam("shard_id")))
    .order_by(SHARDS.c.namespace, SHARDS.c.shard_id)
    .limit(bindparam("page", type_=BigInteger))
)


async def scan(read: async_sessionmaker[AsyncSession]) -> AsyncGenerator[Stamped[Sequence[Shard]], None]:
    """ShardReader.scan: a page is of one snapshot, and is given in slices."""
    timestamps, after, full = Timestamps(), ShardKey("", ""), True
    while full:
        position, rows = await _page(read, after)
        full = len(rows) == PAGE
        if not rows:
            yield Stamped((), position)
        for start in range(0, len(rows), SLICE):
            shards = records(rows[start : start + SLICE], timestamps)
            after = shards[-1].key
            yield Stamped(shards, position)
            await asyncio.sleep(0)


async def _page(read: async_sessionmaker[AsyncSession], after: ShardKey) -> tuple[StreamPosition, Sequence[Any]]:
    """The position of one snapshot, and its first rows after a key."""
    with translated():
        async with read() as session:
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            await session.connection(execution_options=options)
            head = await read_head(session)
            found = await session.execute(_PAGE_AFTER, {**after._asdict(), "page": PAGE})
            return head.position, cast("CursorResult[Any]", found).cursor.fetchall()


def records(rows: Sequence[Any], timestamps: Timestamps) -> list[Shard]:
    """From rows of SHARD_AS_SENT, one at least."""
    names = (column.key for column in SHARD)
    columns: dict[str, Sequence[Any]] = dict(zip(names, zip(*rows, strict=True), strict=True))
    return new_shards([_values(member.name, columns, timestamps) for member in fields(Shard)])


def _values(name: str, columns: Mapping[str, Sequence[Any]], timestamps: Timestamps) -> Iterable[Any]:
    """Those of one field."""
    if name == "pinned":
        return map(_pin, columns["pinned_by"], columns["pinned_reason"], columns["pinned_until"])
    if name == "status":
        return map(_STATUSES.__getitem__, columns[name])
    if name in _TIMESTAMPS:
        return timestamps.read(columns[name])
    return columns[name] if name in _UNIQUE else map(pooled, columns[name])


def _pin(by: str | None, reason: str, until: datetime | None) -> Pin | None:
    return None if by is None else Pin(pooled(by), reason, until)


class Timestamps:
    """From the wire format: microseconds since 2000 in 8 bytes. Shards of one change have one timestamp."""

    def __init__(self) -> None:
        self._pool: dict[bytes, datetime] = {}

    def read(self, sent: Sequence[bytes]) -> Iterable[datetime]:
        if len(self._pool) > POOLED:
            self._pool.clear()
        new = set(sent).difference(self._pool)
        microseconds = struct.unpack(f">{len(new)}q", b"".join(new))
        made = map(_BEGINNING.__add__, map(timedelta, repeat(0), repeat(0), microseconds))
        self._pool.update(zip(new, made, strict=True))
        return map(self._pool.__getitem__, sent)
