"""The stream head, history read as a stream, and the revision that the store had at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    LargeBinary,
    Row,
    ScalarSelect,
    Select,
    Text,
    and_,
    bindparam,
    func,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.codec.images import read_image
from persistence.errors import Compacted, FutureCursor, SchemaOutOfDate
from persistence.model.records import MARK_BYTES, NO_CHANGE, UNMARKED, AsOf, ChangeMark, StreamPosition
from persistence.model.stream import ChangedShard, OmittedRange, StreamHead, StreamPage
from persistence.postgres.database import NEW_EPOCH, TIMELINE, head_missing
from persistence.postgres.driver import connect
from persistence.postgres.engine import translated
from persistence.postgres.reads import Read
from persistence.postgres.rows import CHANGE, DIFF, Diffs
from persistence.postgres.tables.current import SCHEMA_REVISION, STREAM_HEAD
from persistence.postgres.tables.history import CHANGES, HISTORY

_HASH_PREFIX: Final = func.substring(CHANGES.c.hash, 1, MARK_BYTES, type_=LargeBinary())


def mark_after(revision: ColumnElement[int]) -> ScalarSelect[bytes]:
    """The mark of the change that made a revision, for `read_mark`. Every revision that is served has its row:
    compaction keeps the newest row of each shard, and that of the floor is one of them."""
    written = func.int8send(CHANGES.c.id, type_=LargeBinary()).op("||", return_type=LargeBinary())(_HASH_PREFIX)
    return (
        select(written)
        .join_from(HISTORY, CHANGES, CHANGES.c.id == HISTORY.c.change_id)
        .where(HISTORY.c.revision == revision)
        .scalar_subquery()
    )


# Materialized: computed once a statement, not once for each row it is joined to.
CURRENT: Final = (
    select(
        STREAM_HEAD.c.epoch,
        STREAM_HEAD.c.revision,
        STREAM_HEAD.c.floor,
        mark_after(STREAM_HEAD.c.revision).label("mark"),
        STREAM_HEAD.c.change_id,
        STREAM_HEAD.c.hash,
        STREAM_HEAD.c.committed_at,
    )
    .cte("head")
    .prefix_with("MATERIALIZED", dialect="postgresql")
)

TIMED_HEAD: Final = tuple(CURRENT.c)
"""Columns for `head_of`."""

HEAD: Final = TIMED_HEAD[:-1]
"""The same without the time, which takes longer to read than all else: it is in front of each row."""

_RENEW: Final = (
    update(STREAM_HEAD).where(STREAM_HEAD.c.epoch == bindparam("ended")).values(epoch=literal_column(NEW_EPOCH))
)

# In SQL, for a connection of the driver's own. Sets the timeline back too: a copied data folder may be of a server with
# a later one than the server that it is run on now.
_START_EPOCH: Final = f"UPDATE stream_head SET epoch = {NEW_EPOCH}, timeline = {TIMELINE} RETURNING epoch"  # noqa: S608 - constants

# These columns are visible to every role, unlike the states and queries of other roles' sessions.
_CONNECTED: Final = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'omnirelay%'
"""

_SELECT_HEAD: Final = select(*HEAD)

_READ_HEAD: Final = Read(select(*TIMED_HEAD))

# That of the floor: compaction keeps the newest row of each shard, so there is one.
_OLDEST_CHANGE: Final = func.coalesce(
    select(HISTORY.c.change_id).where(HISTORY.c.revision == CURRENT.c.floor).scalar_subquery(), literal_column("1")
)

_OLDEST_AT: Final = Read(
    select(select(CHANGES.c.committed_at).where(CHANGES.c.id == _OLDEST_CHANGE).scalar_subquery()).select_from(CURRENT)
)

_SELECT_POSITION: Final = select(*HEAD, mark_after(bindparam("revision", type_=BigInteger)))

_AFTER: Final = bindparam("after_revision", type_=BigInteger)


def _select_next(*where: ColumnElement[bool]) -> Select[Any]:
    """The head, the beginning of the hash of the change `mark_id`, and the rows that follow `after_revision`."""
    marked = select(_HASH_PREFIX).where(CHANGES.c.id == bindparam("mark_id", type_=BigInteger))
    page = (
        select(*DIFF, HISTORY.c.change_id)
        .where(HISTORY.c.revision > _AFTER, *where)
        .order_by(HISTORY.c.revision)
        .limit(bindparam("page_limit", type_=BigInteger))
        .subquery()
    )
    # A change of ten thousand shards has fifty namespaces and metadata: read once, with the first of its rows.
    first = func.row_number().over(partition_by=page.c.change_id, order_by=page.c.revision) == 1
    rows = select(page, first.label("first_of_change")).subquery()
    return (
        select(*TIMED_HEAD, marked.scalar_subquery(), *(rows.c[column.name] for column in DIFF), *CHANGE)
        .select_from(CURRENT)
        .outerjoin(rows, true())
        .outerjoin(CHANGES, and_(CHANGES.c.id == rows.c.change_id, rows.c.first_of_change))
        .order_by(rows.c.revision)
    )


_SELECT_NEXT: Final = _select_next()

_SELECT_NEXT_OF_NAMESPACE: Final = _select_next(HISTORY.c.namespace == bindparam("of_namespace", type_=Text))

_REST_OF_CHANGE: Final = Read(
    select(
        HISTORY.c.revision,
        HISTORY.c.namespace,
        HISTORY.c.shard_id,
        HISTORY.c.created_at,
        sql_cast(HISTORY.c.current, Text).label("current"),
        CHANGES.c.committed_at,
    )
    .join_from(HISTORY, CHANGES, CHANGES.c.id == HISTORY.c.change_id)
    .where(
        HISTORY.c.revision > _AFTER,
        HISTORY.c.revision <= bindparam("last_revision", type_=BigInteger),
        CHANGES.c.id == bindparam("mark_id", type_=BigInteger),
        bindparam("mark_hash", type_=LargeBinary()) == _HASH_PREFIX,
    )
    .order_by(HISTORY.c.revision)
    .limit(bindparam("page_limit", type_=BigInteger))
)

_LEADING: Final = len(TIMED_HEAD) + 1
"""Columns before those of a row of history: the head, and the hash of the change `mark_id`."""

_ROWS_A_TURN: Final = 50
"""Rows parsed before other tasks run: three milliseconds."""

_IMAGES_A_TURN: Final = 200
"""Likewise, of rows of which one image is parsed: two milliseconds."""


class PostgresStream:
    """ChangeStream. `confirm` commits something, and returns once that cannot be lost in a failover."""

    def __init__(self, read: async_sessionmaker[AsyncSession], confirm: Callable[[], Awaitable[object]]) -> None:
        self._read = read
        self._confirm = confirm

    async def head(self) -> StreamHead:
        with translated():
            rows = await _READ_HEAD.rows(self._read, {})
        if not rows:
            raise head_missing()
        return head_of(rows[0])

    async def oldest_at(self) -> datetime | None:
        with translated():
            rows = await _OLDEST_AT.rows(self._read, {})
        return rows[0][0] if rows else None

    async def renew(self, epoch: str) -> None:
        with translated():
            async with self._read() as session:
                await session.execute(_RENEW, {"ended": epoch})

    async def position_at(self, revision: int) -> StreamPosition:
        with translated():
            async with self._read() as session:
                row = (await session.execute(_SELECT_POSITION, {"revision": revision})).one_or_none()
        if row is None:
            raise head_missing()
        *head, mark = row
        found = head_of(head)
        require_servable(revision, found)
        return StreamPosition(found.epoch, revision, read_mark(mark, revision))

    async def after(
        self, revision: int, limit: int, namespace: str | None = None, *, mark: ChangeMark = NO_CHANGE
    ) -> StreamPage:
        values: dict[str, Any] = {"after_revision": revision, "page_limit": limit, "mark_id": mark.change_id}
        statement = _SELECT_NEXT
        if namespace is not None:
            statement, values["of_namespace"] = _SELECT_NEXT_OF_NAMESPACE, namespace
        rows = await self._rows(statement, values)
        head, known = _leading(rows, mark)
        if not known or head.revision < revision:
            # Lost; or this is a primary that was left behind when its standby was promoted, and clients have revisions
            # that it does not have. No commit of such a one is confirmed.
            await self._confirm()
            rows = await self._rows(statement, values)
            head, known = _leading(rows, mark)
        if rows[0][_LEADING] is None:
            return StreamPage(head, (), known)
        read = Diffs()
        for start in range(0, len(rows), _ROWS_A_TURN):
            for row in rows[start : start + _ROWS_A_TURN]:
                read.add(tuple(row)[_LEADING:])
            # Other tasks run here: every server follows every change of ten thousand shards.
            await asyncio.sleep(0)
        return StreamPage(head, read.diffs, known)

    async def rest_of_change(self, omitted: OmittedRange, revision: int, limit: int) -> Sequence[ChangedShard]:
        mark = omitted.mark
        values = {
            "after_revision": revision,
            "last_revision": omitted.last,
            "mark_id": mark.change_id,
            "mark_hash": mark.hash,
            "page_limit": limit,
        }
        with translated():
            rows = await _REST_OF_CHANGE.rows(self._read, values)
        found: list[ChangedShard] = []
        for start in range(0, len(rows), _IMAGES_A_TURN):
            found += map(_changed_shard, rows[start : start + _IMAGES_A_TURN])
            await asyncio.sleep(0)
        return found

    async def _rows(self, statement: Select[Any], values: Mapping[str, Any]) -> Sequence[Row[Any]]:
        """At least one. Raises SchemaOutOfDate where there is no stream head."""
        with translated():
            async with self._read() as session:
                rows: Sequence[Row[Any]] = (await session.execute(statement, values)).all()
        if not rows:
            raise head_missing()
        return rows


def _changed_shard(row: Sequence[Any]) -> ChangedShard:
    """From a row of `_REST_OF_CHANGE`."""
    revision, namespace, shard_id, created_at, current, committed_at = row
    shard = None if current is None else read_image(current, revision, created_at, committed_at)
    return ChangedShard(revision, namespace, shard_id, shard)


def _leading(rows: Sequence[Row[Any]], mark: ChangeMark) -> tuple[StreamHead, bool]:
    """The head, and whether the change that the mark names is in history."""
    *columns, found = rows[0][:_LEADING]
    return head_of(columns), mark == NO_CHANGE or found == mark.hash


async def read_head(session: AsyncSession) -> StreamHead:
    """Raises SchemaOutOfDate where there is none."""
    row = (await session.execute(_SELECT_HEAD)).one_or_none()
    if row is None:
        raise head_missing()
    return head_of(row)


def head_of(row: Sequence[Any]) -> StreamHead:
    """From columns in the order of HEAD, or of TIMED_HEAD."""
    epoch, revision, floor, mark, change_id, chain_hash, *committed_at = row
    newest = mark_of(change_id, chain_hash)
    # Before the first change it is when the store was made.
    time = committed_at[0] if committed_at and change_id else None
    return StreamHead(epoch, revision, floor, read_mark(mark, revision), newest, time)


def read_mark(written: bytes | None, revision: int) -> ChangeMark:
    """From the value of `mark_after` for a revision that is served. A row that is missing all the same, because the
    tables were edited, gives a position that nothing is served after."""
    if written is None:
        return UNMARKED if revision else NO_CHANGE
    return ChangeMark(int.from_bytes(written[:-MARK_BYTES], "big"), written[-MARK_BYTES:])


def mark_of(change_id: int, chain_hash: bytes) -> ChangeMark:
    return ChangeMark(change_id, chain_hash[:MARK_BYTES])


def schema_outdated() -> SchemaOutOfDate:
    """For a write that finds the schema upgraded since its connection was admitted."""
    return SchemaOutOfDate(
        f"the database's schema does not serve programs of revision {SCHEMA_REVISION} any more; update this program"
    )


async def begin_new_epoch(url: str) -> int:
    """Start a new epoch after an older or copied data folder was put in place, which looks like a restart to a server.

    Returns how many connections of servers are open. Raises SchemaOutOfDate if there is no stream head.
    """
    with translated():
        connection = await connect(url)
        try:
            if await connection.fetchval(_START_EPOCH) is None:
                raise head_missing()
            return int(await connection.fetchval(_CONNECTED))
        finally:
            await connection.close()


_REVISION_AT: Final = (
    select(CHANGES.c.head_revision)
    .where(CHANGES.c.committed_at <= bindparam("as_of", type_=CHANGES.c.committed_at.type))
    .order_by(CHANGES.c.committed_at.desc(), CHANGES.c.id.desc())
    .limit(1)
)


async def revision_of(session: AsyncSession, as_of: AsOf) -> int:
    """The newest revision at that point in time. `require_servable` with a head of the rows' own snapshot checks it."""
    if as_of.revision is not None:
        return as_of.revision
    return (await session.execute(_REVISION_AT, {"as_of": as_of.time})).scalar_one_or_none() or 0


_READ_REVISION_AT: Final = Read(_REVISION_AT)


async def read_revision(sessions: async_sessionmaker[AsyncSession], as_of: AsOf) -> int:
    """`revision_of`, by a read of its own."""
    if as_of.revision is not None:
        return as_of.revision
    rows = await _READ_REVISION_AT.rows(sessions, {"as_of": as_of.time})
    return rows[0][0] if rows else 0


def require_servable(revision: int, head: StreamHead) -> None:
    """Raises FutureCursor beyond the head and Compacted below the floor.

    Rows and head must come from one snapshot: history may be compacted between two statements.
    """
    if revision > head.revision:
        raise FutureCursor(revision, head.revision)
    if revision < head.floor:
        raise Compacted(revision, head.floor)
