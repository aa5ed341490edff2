"""The tables of the audit log, row by row in order, up to heads that were read once, a bounded number at a time.

No snapshot is held from one statement to the next: it would keep PostgreSQL from removing the old versions of the head
row, which every commit makes one of. What stands up to a head stays as it is, but for what a compaction takes away:
the floor shows that.

In SQL and straight through the driver: SQLAlchemy's rows would cost more than the hashes. The columns are the fields of
`audit/entries.py`, in their order.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import asyncpg

from persistence.audit.chain import ChainPosition
from persistence.audit.checkpoints import Checkpoint
from persistence.audit.continuity import Key
from persistence.audit.entries import ChangeEntry, RefusalEntry, RowEntry, Table
from persistence.errors import StoreUnavailable, TransientConflict, Unavailable
from persistence.postgres.barrier import BARRIER, BARRIER_SECONDS
from persistence.postgres.driver import connect
from persistence.postgres.driver_errors import translated

T = TypeVar("T")

BLOCK: Final = 5_000
"""Rows read at a time: a few megabytes."""

ATTEMPTS: Final = 3
"""Where a compaction takes away rows that were still to be read, all is read again: so many times in all."""

CHANGED_FIELDS: Final = "left(substr(changed_fields::text, 2), -1)"
"""Their names with commas between. From the text of the array, so that a name with a comma in it, a null or another
shape, which takes a superuser to write, is not mistaken for two names, or for none."""

_CHANGE: Final = ", ".join(ChangeEntry._fields)

_CHANGES: Final = f"SELECT {_CHANGE} FROM changes WHERE id > $1 AND id <= $2 ORDER BY id LIMIT {BLOCK}"  # noqa: S608 - constants

_ONE_CHANGE: Final = f"SELECT {_CHANGE} FROM changes WHERE id = $1"  # noqa: S608 - constants

_ROW: Final = ", ".join(CHANGED_FIELDS if name == "changed_fields" else name for name in RowEntry._fields)

_ROWS: Final = f"""
    SELECT {_ROW} FROM shard_history WHERE revision > $1 AND revision <= $2 ORDER BY revision LIMIT {BLOCK}
"""  # noqa: S608 - constants

_COMMITTED_AT: Final = "(SELECT c.committed_at FROM changes AS c WHERE c.id = h.change_id)"

_ROWS_AT: Final = f"SELECT {_COMMITTED_AT}, {_ROW} FROM shard_history AS h WHERE revision = ANY($1)"  # noqa: S608 - constants

_NEWEST: Final = f"""
    SELECT newest.* FROM unnest($1::text[], $2::text[]) AS key (namespace, shard_id) CROSS JOIN LATERAL (
        SELECT {_COMMITTED_AT}, {_ROW} FROM shard_history AS h
        WHERE h.namespace = key.namespace AND h.shard_id = key.shard_id AND h.revision <= $3
        ORDER BY h.revision DESC LIMIT 1
    ) AS newest
"""  # noqa: S608 - constants

_REFUSAL: Final = ", ".join(RefusalEntry._fields)

_REFUSALS: Final = f"SELECT {_REFUSAL} FROM refusals WHERE id > $1 AND id <= $2 ORDER BY id LIMIT {BLOCK}"  # noqa: S608 - constants

# One statement, so one snapshot: what is compared with the heads must be of it.
_HEADS: Final = """
    SELECT h.change_id, h.revision, h.hash, h.committed_at, h.floor, r.refusal_id, r.hash, r.refused_at, h.epoch,
        (SELECT max(id) FROM changes), (SELECT max(revision) FROM shard_history), (SELECT max(id) FROM refusals),
        compaction.id, compaction.configuration,
        ARRAY(SELECT (n.name, n.digest_high, n.digest_low, n.shard_count, n.revision) FROM namespace_heads AS n)
    FROM stream_head AS h CROSS JOIN refusal_head AS r LEFT JOIN (
        SELECT id, configuration::text FROM changes WHERE kind = 'COMPACT_HISTORY' ORDER BY id DESC LIMIT 1
    ) AS compaction ON true
"""

_NOW: Final = "SELECT epoch, change_id, floor FROM stream_head"

_BELOW_ONE: Final = f"SELECT id FROM %s WHERE id < 1 ORDER BY id LIMIT {BLOCK}"  # noqa: S608 - constants

# What is read slowly is not bounded in time. Where PostgreSQL expects few rows of a shard it would rather sort all of
# them than find the newest by an index; there is one for everything that is read here in order.
_SETTINGS: Final = "SET statement_timeout = 0; SET default_transaction_read_only = on; SET enable_sort = off"

_BEFORE_THE_FIRST: Final = -(2**63)

HIGHEST: Final = 2**63 - 1


class Newest(NamedTuple):
    """The highest numbers that the tables have. Beyond the heads are rows that were put in."""

    change_id: int = HIGHEST
    revision: int = HIGHEST
    refusal_id: int = HIGHEST


NO_BOUND: Final = Newest()


class Mark(NamedTuple):
    """What was read: a stream up to a change, with history compacted up to a floor."""

    epoch: str
    change_id: int
    floor: int


class NamespaceHead(NamedTuple):
    """The digest in two halves, each of 64 bits with a sign."""

    name: str
    digest_high: int
    digest_low: int
    shard_count: int
    revision: int


@dataclass(frozen=True, slots=True)
class Heads:
    """The rows of the two heads: the end of the chains, by which the log ends there, and the epoch of the stream.

    With what else is to be of the same snapshot: the newest rows, `compaction`, the newest of them, by its id and its
    details as they are stored, and the heads of namespaces.
    """

    end: Checkpoint
    committed_at: Any
    floor: int
    refused_at: Any
    epoch: str
    newest: Newest
    compaction: tuple[int, str] | None
    namespaces: Sequence[NamespaceHead]

    @property
    def mark(self) -> Mark:
        return Mark(self.epoch, self.end.change.change_id, self.floor)


class StaleHeads(TransientConflict):
    """A compaction may have taken away rows that were still to be read, or the stream is another one: begin again with
    the heads of now."""


async def with_current_heads(audit: Callable[[], Awaitable[T]]) -> T:
    """What `audit` returns, which is begun again where its heads become stale. Raises StaleHeads in the end."""
    for _ in range(ATTEMPTS - 1):
        with suppress(StaleHeads):
            return await audit()
    try:
        return await audit()
    except StaleHeads as error:
        raise StaleHeads(f"{error}; begun {ATTEMPTS} times, run this again") from error


class AuditReader:
    """Reads the audit log on one connection. Each statement has a snapshot of its own."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    async def heads(self) -> Heads | None:
        """Null where one of the heads is not there."""
        row = await self.connection.fetchrow(_HEADS)
        if row is None:
            return None
        change_id, revision, link, committed_at, floor, refusal_id, refusal_link, refused_at, epoch, *rest = row
        *newest, compaction_id, details, namespaces = rest
        end = Checkpoint(ChainPosition(change_id, revision, link), refusal_id, refusal_link)
        compaction = None if compaction_id is None else (compaction_id, details)
        heads = tuple(map(NamespaceHead._make, namespaces))
        return Heads(
            end, committed_at, floor, refused_at, epoch, Newest(*(one or 0 for one in newest)), compaction, heads
        )

    async def require_current(self, mark: Mark, needed: int = 0) -> None:
        """To be called after rows were read, before anything is made of what is missing among them.

        Raises StaleHeads if history was compacted since the mark, unless only rows after the revision `needed` were
        read, which it left alone; and if this is another stream, or a server that has not come so far.
        """
        row = await self.connection.fetchrow(_NOW)
        if row is None:
            return
        epoch, change_id, floor = row
        if epoch != mark.epoch or change_id < mark.change_id:
            raise StaleHeads(
                f"the database answers as of change {change_id} of stream {epoch}, and was read as of change "
                f"{mark.change_id} of stream {mark.epoch}: name one server that all connections reach"
            )
        if floor != mark.floor and floor > needed:
            raise StaleHeads(f"history was compacted up to revision {floor} while it was being read")

    async def change(self, change_id: int) -> ChangeEntry | None:
        row = await self.connection.fetchrow(_ONE_CHANGE, change_id)
        return None if row is None else ChangeEntry._make(row)

    async def changes(self, after: int, last: int = HIGHEST) -> AsyncIterator[ChangeEntry]:
        while block := await self.connection.fetch(_CHANGES, after, last):
            for record in block:
                yield ChangeEntry._make(record)
            after = block[-1][0]

    async def below_one(self, table: Table) -> list[int]:
        """Ids below 1 in a chain's table, where no chain begins: the first 5,000 of them."""
        return [record[0] for record in await self.connection.fetch(_BELOW_ONE % table)]

    async def refusals(self, after: int, last: int = HIGHEST) -> AsyncIterator[RefusalEntry]:
        while block := await self.connection.fetch(_REFUSALS, after, last):
            for record in block:
                yield RefusalEntry._make(record)
            after = block[-1][0]

    async def rows_at(self, revisions: Collection[int]) -> list[tuple[Any, RowEntry]]:
        """The rows of these revisions that exist, each with its commit time, null if its change is missing."""
        records = await self.connection.fetch(_ROWS_AT, list(revisions))
        return [(record[0], RowEntry._make(record[1:])) for record in records]

    async def newest_rows(self, keys: Collection[Key], revision: int) -> list[tuple[Any, RowEntry]]:
        """The newest row of each of these shards up to a revision, with its commit time as of `rows_at`."""
        names = ([key[part] for key in keys] for part in (0, 1))
        records = await self.connection.fetch(_NEWEST, *names, revision)
        return [(record[0], RowEntry._make(record[1:])) for record in records]

    def rows(self, after: int | None = None, last: int = HIGHEST, mark: Mark | None = None) -> RowStream:
        """The rows of history after a revision; without one all of them, also those below revision 1."""
        return RowStream(self, _BEFORE_THE_FIRST if after is None else after, last, mark)


class RowStream:
    """Rows of history in order, each returned once. With a mark, `up_to` raises StaleHeads as soon as rows may
    be missing for that; those that it returned before are complete."""

    def __init__(self, reader: AuditReader, after: int, last: int, mark: Mark | None) -> None:
        self._reader = reader
        self._after = after
        self._last = last
        self._mark = mark
        self._block: list[RowEntry] = []
        self._index = 0
        self._ended = False

    def skip_to(self, revision: int) -> None:
        """Leave out the rows up to and including one revision."""
        if self._block and revision < self._block[-1].revision:
            while self._index < len(self._block) and self._block[self._index].revision <= revision:
                self._index += 1
        elif revision > self._after or self._block:
            self._block, self._index = [], 0
            self._after = max(self._after, revision)

    async def up_to(self, revision: int) -> list[RowEntry]:
        """The rows not returned yet, up to and including one revision."""
        taken: list[RowEntry] = []
        while True:
            block, start = self._block, self._index
            if block and block[-1].revision <= revision:
                taken += block[start:] if start else block
                self._index = len(block)
            else:
                end = start
                while end < len(block) and block[end].revision <= revision:
                    end += 1
                taken += block[start:end]
                self._index = end
            if self._index < len(self._block) or self._ended:
                return taken
            if self._after >= revision:
                return taken
            await self._fetch()

    async def _fetch(self) -> None:
        records = await self._reader.connection.fetch(_ROWS, self._after, self._last)
        if self._mark is not None:
            await self._reader.require_current(self._mark, self._after)
        self._block = [RowEntry._make(record) for record in records]
        self._index = 0
        self._ended = not records
        if records:
            self._after = records[-1][0]


@asynccontextmanager
async def open_reader(url: str, mark: Mark | None = None) -> AsyncIterator[AuditReader]:
    """A reader of a connection that may write nothing; of what another reader has marked, or as of now.

    Until it is closed, this process's garbage collector is off. Raises StoreError.
    """
    with translated(), _gc_paused():
        connection = await connect(url, application_name="omnirelay audit", command_timeout=None)
        try:
            reader = AuditReader(connection)
            if mark is None:
                await _barrier(connection)
            else:
                await reader.require_current(mark)
            await connection.execute(_SETTINGS)
            yield reader
        finally:
            await connection.close()


async def _barrier(connection: asyncpg.Connection) -> None:
    """What an audit reports must not be lost by the next promotion: its checkpoint would not be in the chains, as after
    tampering. A standby has nothing to wait for. Raises StoreUnavailable."""
    try:
        async with asyncio.timeout(BARRIER_SECONDS):
            await connection.execute(f"{BARRIER} WHERE NOT pg_is_in_recovery()")
    except TimeoutError:
        raise StoreUnavailable(
            f"the synchronous standby has confirmed nothing for {BARRIER_SECONDS:g} s", Unavailable.AWAITING_STANDBY
        ) from None


@contextmanager
def _gc_paused() -> Iterator[None]:
    """Rows are in no cycles, and to look for some in a million of them takes a fifth of the time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
