"""Compacting history: what is left is built beside it, then whole partitions are swapped in one short transaction.

All the work is done without holding up other writers (`kept_history`). The swap alone locks history, for milliseconds,
and is part of the one call that commits the change, so that none waits for this process. It waits for its locks only so
long, because later statements queue behind it, lets them pass and tries again. Killed at any point, history is as it
was or compacted: tables that are not attached yet are marked as unfinished, and the next compaction drops them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import Final, TypeVar

import stamina
from sqlalchemy import bindparam, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from persistence.commands.command import ChangeRequest
from persistence.commands.write_set import WriteSet
from persistence.errors import FutureCursor, TransientConflict
from persistence.model.records import AsOf, Change, ChangeKind, Compaction
from persistence.model.stream import StreamHead
from persistence.ports.writes import Forecast, HistoryCompacted
from persistence.postgres.commit import Relied, commit
from persistence.postgres.database import Database
from persistence.postgres.driver import SERVER_SETTINGS
from persistence.postgres.engine import create_engine, translated
from persistence.postgres.kept_history import (
    Cut,
    adding_foreign_key,
    adopting,
    copy_rows,
    copying,
    cut_at,
    fill_kept,
    fill_rest,
    kept_count,
    kept_digest,
    left_over,
    require_all_known,
    validate,
)
from persistence.postgres.partitions import Partition, attach, partitions
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
            kept = await kept_count(session, revision)
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
        raise TransientConflict("another compaction of history is running; run this again when it is done")
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
