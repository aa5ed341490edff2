"""The stream head and history read as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Select, Text, and_, bindparam, func, select, text, true
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.errors import SchemaOutOfDate
from persistence.ports import StreamHead
from persistence.postgres.connecting import connect
from persistence.postgres.models import CHANGES, HISTORY, STREAM_HEAD
from persistence.postgres.rows import CHANGE, DIFF, Diffs
from persistence.postgres.session_errors import translated
from persistence.records import ShardDiff

# Which cluster, database and table this is. A dump restored elsewhere or over the old tables and a cloned database
# differ from where the stream was born, and revisions issued there may contradict those issued here. A promoted replica
# does not differ: whether it lost anything is seen from the hash of a change, see docs/decisions/0020.
IDENTITY: Final = """
    (SELECT system_identifier FROM pg_control_system())
    || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())
    || '/' || 'stream_head'::regclass::oid
"""
TIMELINE: Final = "('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint"
NEW_EPOCH: Final = "replace(gen_random_uuid()::text, '-', '')"
ENSURE_EPOCH: Final = f"""
    UPDATE stream_head SET
        epoch = CASE WHEN identity = {IDENTITY} THEN epoch ELSE {NEW_EPOCH} END,
        timeline = CASE WHEN identity = {IDENTITY} THEN greatest(timeline, {TIMELINE}) ELSE {TIMELINE} END,
        identity = {IDENTITY}
    WHERE identity <> {IDENTITY} OR timeline < {TIMELINE}
"""  # noqa: S608 - constants only

HEAD: Final = (STREAM_HEAD.c.epoch, STREAM_HEAD.c.revision, STREAM_HEAD.c.floor)
_RENEW: Final = text(f"UPDATE stream_head SET epoch = {NEW_EPOCH} WHERE epoch = :epoch")  # noqa: S608 - a constant
_SELECT_HEAD: Final = select(*HEAD)
_AFTER: Final = bindparam("after_revision", type_=BigInteger)


def _select_next(*where: ColumnElement[bool]) -> Select[Any]:
    """The head, and beside it the rows that follow."""
    page = (
        select(*DIFF, HISTORY.c.change_id)
        .where(HISTORY.c.revision > _AFTER, *where)
        .order_by(HISTORY.c.revision)
        .limit(bindparam("page_limit", type_=BigInteger))
        .subquery()
    )
    # A change of ten thousand shards names fifty namespaces and says why: once, with the first row of it that is read.
    first = func.row_number().over(partition_by=page.c.change_id, order_by=page.c.revision) == 1
    rows = select(page, first.label("first_of_change")).subquery()
    return (
        select(*HEAD, *(rows.c[column.name] for column in DIFF), *CHANGE)
        .select_from(STREAM_HEAD)
        .outerjoin(rows, true())
        .outerjoin(CHANGES, and_(CHANGES.c.id == rows.c.change_id, rows.c.first_of_change))
        .order_by(rows.c.revision)
    )


_SELECT_NEXT: Final = _select_next()
_SELECT_NEXT_OF_NAMESPACE: Final = _select_next(HISTORY.c.namespace == bindparam("of_namespace", type_=Text))

_SLICE: Final = 50
"""Rows that are parsed in one go: three milliseconds, in which this process answers nobody."""


class PostgresStream:
    """ChangeStream."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read

    async def head(self) -> StreamHead:
        with translated():
            async with self._read() as session:
                return await read_head(session)

    async def renew(self, epoch: str) -> None:
        with translated():
            async with self._read() as session:
                await session.execute(_RENEW, {"epoch": epoch})

    async def after(
        self, revision: int, limit: int, namespace: str | None = None
    ) -> tuple[StreamHead, Sequence[ShardDiff]]:
        values: dict[str, Any] = {"after_revision": revision, "page_limit": limit}
        statement = _SELECT_NEXT
        if namespace is not None:
            statement, values["of_namespace"] = _SELECT_NEXT_OF_NAMESPACE, namespace
        with translated():
            async with self._read() as session:
                rows = (await session.execute(statement, values)).all()
        if not rows:
            raise head_missing()
        head = StreamHead(*rows[0][: len(HEAD)])
        if rows[0][len(HEAD)] is None:
            return head, ()
        read = Diffs()
        for start in range(0, len(rows), _SLICE):
            for row in rows[start : start + _SLICE]:
                read.add(tuple(row)[len(HEAD) :])
            # Others may go in between: every server follows every change of ten thousand shards.
            await asyncio.sleep(0)
        return head, read.diffs


async def read_head(session: AsyncSession) -> StreamHead:
    """Raises SchemaOutOfDate where there is none."""
    row = (await session.execute(_SELECT_HEAD)).one_or_none()
    if row is None:
        raise head_missing()
    return StreamHead(*row)


def head_missing() -> SchemaOutOfDate:
    return SchemaOutOfDate("the stream head is missing; run 'omnirelay db upgrade'")


async def begin_new_epoch(url: str) -> None:
    """For after an older or copied data folder was put in place, which a server cannot tell from a restart."""
    with translated():
        connection = await connect(url)
        try:
            # The copy may be of a server that had seen a later timeline than the one it is run on now.
            await connection.execute(f"UPDATE stream_head SET epoch = {NEW_EPOCH}, timeline = {TIMELINE}")  # noqa: S608 - constants
        finally:
            await connection.close()
