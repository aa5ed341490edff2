"""Compacting history: what is left is built beside it, then whole partitions are swapped in one short transaction.

All the work is done without holding up other writers. The swap alone locks history, for milliseconds, and is part of
the one call that commits the change, so that none waits for this process. It waits for its locks only so long, because
later statements queue behind it, lets them pass and tries again. Killed at any point, history is as it was or
compacted: tables that are not attached yet are marked as unfinished, and the next compaction drops them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Final, TypeVar

import stamina
from sqlalchemy import bindparam, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from persistence.codec import hash_chain
from persistence.commands.command import ChangeRequest
from persistence.commands.write_set import WriteSet
from persistence.errors import FutureCursor, StoreError, TransientConflict
from persistence.model.records import AsOf, Change, ChangeKind, Compaction
from persistence.model.stream import StreamHead
from persistence.ports import Forecast, HistoryCompacted
from persistence.postgres.commit import Relied, commit
from persistence.postgres.database import Database
from persistence.postgres.driver import SERVER_SETTINGS
from persistence.postgres.engine import create_engine, translated
from persistence.postgres.partitions import Partition, attach, create_indexes, create_table, partitions
from persistence.postgres.stream import read_head, revision_of
from persistence.postgres.tables.current import SCHEMA_REVISION
from persistence.postgres.tables.history import HISTORY

T = TypeVar("T")

# Any constant, as long as every version of this program uses the same: it names the right to compact.
_COMPACTING: Final = 0x6F6D6E63

_FEW_ROWS: Final = 500
"""May be left to be copied in the swap."""

_ATTEMPTS: Final = 40

_LOCK_TIMEOUT_MS: Final = 100

_LONGEST_LOCK_TIMEOUT_MS: Final = 1_500  # longer than the second after which autovacuum makes way

# Copying takes as long as it takes.
_SETTINGS: Final = {**SERVER_SETTINGS, "statement_timeout": "0"}

_SIZE: Final = text(
    "SELECT coalesce(sum(pg_total_relation_size(name::regclass)), 0) FROM unnest(CAST(:names AS text[])) AS name"
)

_ROWS_UP_TO: Final = select(func.count()).where(HISTORY.c.revision <= bindparam("revision"))


class PostgresRetention:
    """Retention. `progress` is called with each step, in a few words."""

    def __init__(self, database_url: str, progress: Callable[[str], None] = lambda _: None) -> None:
        self._database = Database(database_url, program_revision=SCHEMA_REVISION)
        self._progress = progress

    async def foresee(self, before: AsOf) -> Forecast:
        async with self._session() as session:
            revision = await revision_of(session, before)
            head = await _head_beyond(session, revision)
            if revision <= head.floor:
                return Forecast(revision, head.floor, 0, 0)
            kept = (await session.execute(KEPT_COUNT, {"floor": revision})).scalar_one()
            return Forecast(revision, head.floor, await _rows_up_to(session, revision, head) - kept, kept)

    async def compact(self, floor: int, change: ChangeRequest) -> HistoryCompacted | None:
        change.validate()
        async with self._session() as session, _alone(session):
            head = await _head_beyond(session, floor)
            if floor <= head.floor:
                return None
            for name in await left_over(session):
                await _with_short_lock_timeout(session, f"DROP TABLE {name}")
            cut = cut_at(floor, await partitions(session))
            compaction = await self._build(session, cut, floor, head)
            if cut.rest is not None:
                head = await self._catch_up(session, cut.rest, head)
            freed = await _size(session, cut.old) - await _size(session, cut.new)
            self._progress("Putting it in the place of what goes")
            done = await self._committed(session, _write_set(change, compaction), _swap(cut, head.revision))
        return HistoryCompacted(done, compaction, freed)

    async def _build(self, session: AsyncSession, cut: Cut, floor: int, head: StreamHead) -> Compaction:
        """The new tables, with everything in them that was committed by then, ready to be attached."""
        self._progress("Copying the newest row of each shard")
        rows = await _rows_up_to(session, floor, head)
        kept = await fill_kept(session, cut.kept, floor)
        if cut.rest is not None:
            self._progress(f"Copying what came after, up to revision {min(head.revision, cut.rest.after_last - 1)}")
            await fill_rest(session, cut.rest, head.revision)
        await session.commit()
        self._progress("Checking what was copied")
        for table in cut.new:
            await _with_short_lock_timeout(session, adding_foreign_key(table.name))
            await validate(session, table.name)
            await session.commit()
        await require_all_known(session, cut.kept, floor)
        digest = await kept_digest(session, cut.kept)
        await session.commit()
        return Compaction(floor, head.floor, rows - kept, kept, digest)

    async def _catch_up(self, session: AsyncSession, rest: Partition, copied: StreamHead) -> StreamHead:
        """Copy what was committed meanwhile, until little is left for the swap."""
        while (head := await read_head(session)).revision - copied.revision > _FEW_ROWS:
            await copy_rows(session, rest, copied.revision, head.revision)
            await session.commit()
            copied = head
            if copied.revision >= rest.after_last - 1:
                break
        return copied

    async def _committed(self, session: AsyncSession, write_set: WriteSet, steps: Sequence[str]) -> Change:
        async def once(lock_timeout: str) -> Change:
            async with _autocommitting(session) as connection:
                await connection.exec_driver_sql(f"SET lock_timeout = '{lock_timeout}'")
                timeline = self._database.newest_timeline
                return (await commit(connection, write_set, Relied(), timeline=timeline, steps=steps)).change

        return await _with_growing_lock_timeout(once)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[AsyncSession]:
        """On a connection of its own, found fit as a server's are. It takes with it what it holds when it ends."""
        engine = create_engine(self._database, pool_size=1, command_seconds=None, settings=_SETTINGS)
        try:
            with translated():
                async with engine.connect() as connection, AsyncSession(connection, expire_on_commit=False) as session:
                    yield session
        finally:
            await engine.dispose()
            await self._database.close()


@asynccontextmanager
async def _alone(session: AsyncSession) -> AsyncIterator[None]:
    """Raises TransientConflict while another compaction is under way.

    The lock is given back before the connection ends: the server notices an end a moment later, and would refuse the
    compaction that follows at once. One that fails leaves that to the server.
    """
    if not (await session.execute(text(f"SELECT pg_try_advisory_lock({_COMPACTING})"))).scalar_one():
        raise TransientConflict("history is being compacted by somebody else; run this again when that is done")
    yield
    await session.execute(text(f"SELECT pg_advisory_unlock({_COMPACTING})"))


async def _head_beyond(session: AsyncSession, revision: int) -> StreamHead:
    head = await read_head(session)
    if revision > head.revision:
        raise FutureCursor(revision, head.revision)
    return head


async def _rows_up_to(session: AsyncSession, revision: int, head: StreamHead) -> int:
    """After the floor there is a row for every revision."""
    kept_before = (await session.execute(_ROWS_UP_TO, {"revision": head.floor})).scalar_one() if head.floor else 0
    return kept_before + revision - head.floor


async def _size(session: AsyncSession, tables: tuple[Partition, ...]) -> int:
    """In bytes, with indexes."""
    names = [table.name for table in tables]
    return int((await session.execute(_SIZE, {"names": names})).scalar_one())


def _write_set(change: ChangeRequest, compaction: Compaction) -> WriteSet:
    return WriteSet(ChangeKind.COMPACT_HISTORY, change, None, (), compaction=compaction)


async def _with_short_lock_timeout(session: AsyncSession, statement: str) -> None:
    """A statement that locks tables in use, with its commit. Raises TransientConflict if they are not free in time."""

    async def once(lock_timeout: str) -> None:
        # One statement that commits by itself: nothing waits for this process while it holds the lock.
        async with _autocommitting(session) as connection:
            await connection.exec_driver_sql(
                f"DO $do$ BEGIN SET LOCAL lock_timeout = '{lock_timeout}'; {statement}; END $do$"
            )

    await _with_growing_lock_timeout(once)


async def _with_growing_lock_timeout(once: Callable[[str], Awaitable[T]]) -> T:
    """With a lock timeout that grows from one attempt to the next."""
    try:
        async for attempt in stamina.retry_context(
            on=TransientConflict, attempts=_ATTEMPTS, timeout=None, wait_initial=0.02, wait_max=1.0, wait_jitter=0.05
        ):
            with attempt, translated():
                milliseconds = min(_LOCK_TIMEOUT_MS * 1.25 ** (attempt.num - 1), _LONGEST_LOCK_TIMEOUT_MS)
                return await once(f"{milliseconds:.0f}ms")
    except TransientConflict as error:
        raise TransientConflict(
            f"the tables are in use, and history is as it was ({error}): "
            "stop long-running readers (reports, dumps, forgotten transactions), and run this again"
        ) from error
    raise AssertionError("the retry loop returns or raises")


@asynccontextmanager
async def _autocommitting(session: AsyncSession) -> AsyncIterator[AsyncConnection]:
    """The session's connection between two of its transactions: each statement commits by itself."""
    connection = session.bind
    assert isinstance(connection, AsyncConnection)  # noqa: S101 - see _session
    await session.commit()
    await connection.rollback()
    yield await connection.execution_options(isolation_level="AUTOCOMMIT")
    await connection.rollback()
    await connection.execution_options(isolation_level="READ COMMITTED")


def _swap(cut: Cut, copied: int) -> Sequence[str]:
    """The statements that replace the old partitions by what is left of them."""
    return (
        # Attaching takes a trigger off changes. Both are locked at once, in the order that every statement has: halfway
        # one would wait for a writer that waits for this.
        "LOCK TABLE ONLY shard_history, changes IN ACCESS EXCLUSIVE MODE",
        *((copying(cut.rest, copied),) if cut.rest is not None else ()),
        *(f"DROP TABLE {partition.name}" for partition in cut.old),
        *chain.from_iterable((attach(partition), *adopting(partition.name)) for partition in cut.new),
    )


_UNFINISHED: Final = "omnirelay: unfinished compaction"

_LEFT_OVER: Final = text(
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND NOT relispartition AND pg_table_is_visible(oid)"
    " AND obj_description(oid, 'pg_class') = :mark"
)

_CHUNK: Final = 1_000

# In SQL, as all of this file: the tables are made here, under names that the declared ones do not have.
# Every shard there ever was is in one of the two, so a probe for each finds its row, however long history is.
_NEWEST: Final = """
    FROM (
        SELECT namespace, shard_id FROM shards UNION ALL SELECT namespace, shard_id FROM shard_tombstones
    ) AS known CROSS JOIN LATERAL (
        SELECT {columns} FROM shard_history AS h
        WHERE h.namespace = known.namespace AND h.shard_id = known.shard_id AND h.revision <= :floor
        ORDER BY h.revision DESC LIMIT 1
    ) AS newest
"""

KEPT_COUNT: Final = text(f"SELECT count(*) {_NEWEST.format(columns='1')}")


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a compaction cuts: `old` partitions go, `kept` replaces them, and `rest` if one was cut in two."""

    old: tuple[Partition, ...]
    kept: Partition
    rest: Partition | None

    @property
    def new(self) -> tuple[Partition, ...]:
        return (self.kept,) if self.rest is None else (self.kept, self.rest)


def cut_at(floor: int, existing: list[Partition]) -> Cut:
    first = floor + 1
    old = tuple(partition for partition in existing if (partition.first or 0) <= floor)
    end = old[-1].after_last
    rest = Partition(f"shard_history_{first}", first, end) if first < end else None
    return Cut(old, Partition(f"shard_history_below_{first}", None, first), rest)


async def left_over(session: AsyncSession) -> list[str]:
    """Unfinished tables of a compaction that did not end."""
    return list((await session.execute(_LEFT_OVER, {"mark": _UNFINISHED})).scalars())


async def fill_kept(session: AsyncSession, kept: Partition, floor: int) -> int:
    """Make the table of the newest row of each shard up to the floor. How many rows there are."""
    await _make(session, kept)
    newest = _NEWEST.format(columns="h.*")
    statement = text(f"INSERT INTO {kept.name} SELECT newest.* {newest} ORDER BY newest.revision")
    rows = (await session.execute(statement, {"floor": floor})).rowcount  # type: ignore[attr-defined]  # it has one
    await _finish(session, kept)
    return int(rows)


async def fill_rest(session: AsyncSession, rest: Partition, head: int) -> None:
    """Make the table of the rows up to the head of a partition that is cut in two."""
    await _make(session, rest)
    await copy_rows(session, rest, (rest.first or 0) - 1, head)
    await _finish(session, rest)


async def copy_rows(session: AsyncSession, rest: Partition, after: int, head: int) -> None:
    await session.execute(text(copying(rest, after, head)))


def copying(rest: Partition, after: int, head: int | None = None) -> str:
    """The statement for the rows that came after, up to the head or (null) all."""
    last = rest.after_last - 1 if head is None else min(head, rest.after_last - 1)
    return (
        f"INSERT INTO {rest.name} SELECT * FROM shard_history"  # noqa: S608 - a name and numbers of ours
        f" WHERE revision > {after:d} AND revision <= {last:d} ORDER BY revision"
    )


async def require_all_known(session: AsyncSession, kept: Partition, floor: int) -> None:
    """Raises StoreError if rows up to the floor are of a shard of which none is kept: with them would go what is left
    of its counters, and its versions and owner epochs would be given again."""
    statement = text(
        "SELECT h.namespace, h.shard_id FROM shard_history AS h WHERE h.revision <= :floor AND NOT EXISTS ("  # noqa: S608 - a name of ours
        f" SELECT FROM {kept.name} AS k WHERE k.namespace = h.namespace AND k.shard_id = h.shard_id) LIMIT 1"
    )
    forgotten = (await session.execute(statement, {"floor": floor})).one_or_none()
    if forgotten is not None:
        raise StoreError(
            f"history has rows of {'/'.join(forgotten)}, which is neither in shards nor in shard_tombstones; "
            "nothing was compacted: run 'omnirelay mesh audit verify', and restore what is missing"
        )


async def kept_digest(session: AsyncSession, kept: Partition) -> str:
    """`hash_chain.compacted_digest` of them."""
    columns = (
        "revision, change_id, kind, previous::text, previous_revision, previous_updated_at, created_at, current::text"
    )
    statement = text(f"SELECT {columns}, move_reason FROM {kept.name} ORDER BY revision")  # noqa: S608 - a name of ours
    digests: list[bytes] = []
    async for rows in (await session.stream(statement)).partitions(_CHUNK):
        chunk = bytearray()
        for revision, change_id, kind, previous, previous_revision, updated_at, created_at, current, reason in rows:
            created = None if previous is None else created_at
            row = hash_chain.row_digest(kind, previous, previous_revision, updated_at, created, current, reason)
            chunk += hash_chain.compacted_row(revision, change_id, row)
        digests.append(bytes(chunk))
    return hash_chain.compacted_digest(digests).hex()


def adding_foreign_key(name: str) -> str:
    """The statement, without a look at the rows: for that, changes would be locked as long as it takes."""
    return (
        f"ALTER TABLE {name} ADD CONSTRAINT fk_shard_history_change_id_changes"
        " FOREIGN KEY (change_id) REFERENCES changes (id) NOT VALID"
    )


async def validate(session: AsyncSession, name: str) -> None:
    """Check the rows now, while nothing waits: attaching then need not. New tables have no statistics either."""
    await session.execute(text(f"ALTER TABLE {name} VALIDATE CONSTRAINT fk_shard_history_change_id_changes"))
    await session.execute(text(f"ANALYZE {name}"))


def adopting(name: str) -> list[str]:
    """Statements for a table that is attached and needs its marks no more."""
    return [f"ALTER TABLE {name} DROP CONSTRAINT ck_{name}_bounds", f"COMMENT ON TABLE {name} IS NULL"]


async def _make(session: AsyncSession, partition: Partition) -> None:
    await _execute(session, create_table(partition.name))
    await session.execute(text(f"COMMENT ON TABLE {partition.name} IS '{_UNFINISHED}'"))


async def _finish(session: AsyncSession, partition: Partition) -> None:
    """Indexes once the rows are there, which is faster; and the bounds as a constraint, so that attaching trusts it."""
    await _execute(session, create_indexes(partition.name))
    first = 0 if partition.first is None else partition.first
    await session.execute(
        text(
            f"ALTER TABLE {partition.name} ADD CONSTRAINT ck_{partition.name}_bounds"
            f" CHECK (revision >= {first} AND revision < {partition.after_last})"
        )
    )


async def _execute(session: AsyncSession, statements: list[str]) -> None:
    for statement in statements:
        await session.execute(text(statement))
