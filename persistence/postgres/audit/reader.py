"""The tables of the audit log, row by row in order, in one snapshot, a bounded number at a time.

In SQL and straight through the driver: SQLAlchemy's rows would cost more than the hashes. The columns are the fields of
`audit/entries.py`, in their order.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from persistence.audit.chain import ChainPosition
from persistence.audit.checkpoints import Checkpoint
from persistence.audit.continuity import Key
from persistence.audit.entries import ChangeEntry, RefusalEntry, RowEntry, Table
from persistence.errors import StoreUnavailable, Unavailable
from persistence.postgres.barrier import BARRIER, BARRIER_SECONDS
from persistence.postgres.driver import connect
from persistence.postgres.driver_errors import translated

BLOCK: Final = 5_000
"""Rows read at a time: a few megabytes."""

CHANGED_FIELDS: Final = "left(substr(changed_fields::text, 2), -1)"
"""Their names with commas between. From the text of the array, so that a name with a comma in it, a null or another
shape, which takes a superuser to write, is not mistaken for two names, or for none."""

_CHANGE: Final = ", ".join(ChangeEntry._fields)

_CHANGES: Final = f"SELECT {_CHANGE} FROM changes WHERE id > $1 ORDER BY id LIMIT {BLOCK}"  # noqa: S608 - constants

_ONE_CHANGE: Final = f"SELECT {_CHANGE} FROM changes WHERE id = $1"  # noqa: S608 - constants

_LAST_CHANGE: Final = f"SELECT {_CHANGE} FROM changes ORDER BY id DESC LIMIT 1"  # noqa: S608 - constants

_ROW: Final = ", ".join(CHANGED_FIELDS if name == "changed_fields" else name for name in RowEntry._fields)

_ROWS: Final = f"SELECT {_ROW} FROM shard_history WHERE revision > $1 ORDER BY revision LIMIT {BLOCK}"  # noqa: S608 - constants

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

_REFUSALS: Final = f"SELECT {_REFUSAL} FROM refusals WHERE id > $1 ORDER BY id LIMIT {BLOCK}"  # noqa: S608 - constants

_HEADS: Final = """
    SELECT h.change_id, h.revision, h.hash, h.committed_at, h.floor, r.refusal_id, r.hash, r.refused_at, h.epoch
    FROM stream_head AS h CROSS JOIN refusal_head AS r
"""

_LAST_COMPACTION: Final = """
    SELECT id, configuration::text FROM changes WHERE kind = 'COMPACT_HISTORY' ORDER BY id DESC LIMIT 1
"""

_BELOW_ONE: Final = f"SELECT id FROM %s WHERE id < 1 ORDER BY id LIMIT {BLOCK}"  # noqa: S608 - constants

_BEFORE_THE_FIRST: Final = -(2**63)


@dataclass(frozen=True, slots=True)
class Heads:
    """The rows of the two heads: the end of the chains, by which the log ends there, and the epoch of the stream."""

    end: Checkpoint
    committed_at: Any
    floor: int
    refused_at: Any
    epoch: str


class AuditReader:
    """Reads the audit log on one connection, whose transaction is the snapshot."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    async def heads(self) -> Heads | None:
        """Null where one of the heads is not there."""
        row = await self.connection.fetchrow(_HEADS)
        if row is None:
            return None
        change_id, revision, link, committed_at, floor, refusal_id, refusal_link, refused_at, epoch = row
        end = Checkpoint(ChainPosition(change_id, revision, link), refusal_id, refusal_link)
        return Heads(end, committed_at, floor, refused_at, epoch)

    async def last_compaction(self) -> tuple[int, str] | None:
        """The id of the newest compaction, and its details as they are stored."""
        row = await self.connection.fetchrow(_LAST_COMPACTION)
        return None if row is None else (row[0], row[1])

    async def change(self, change_id: int) -> ChangeEntry | None:
        row = await self.connection.fetchrow(_ONE_CHANGE, change_id)
        return None if row is None else ChangeEntry._make(row)

    async def last_change(self) -> ChangeEntry | None:
        row = await self.connection.fetchrow(_LAST_CHANGE)
        return None if row is None else ChangeEntry._make(row)

    async def changes(self, after: int) -> AsyncIterator[ChangeEntry]:
        while block := await self.connection.fetch(_CHANGES, after):
            for record in block:
                yield ChangeEntry._make(record)
            after = block[-1][0]

    async def below_one(self, table: Table) -> list[int]:
        """Ids below 1 in a chain's table, where no chain begins: the first 5,000 of them."""
        return [record[0] for record in await self.connection.fetch(_BELOW_ONE % table)]

    async def refusals(self, after: int) -> AsyncIterator[RefusalEntry]:
        while block := await self.connection.fetch(_REFUSALS, after):
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

    def rows(self, after: int | None = None) -> RowStream:
        """The rows of history after a revision; without one all of them, also those below revision 1."""
        return RowStream(self.connection, _BEFORE_THE_FIRST if after is None else after)


class RowStream:
    """Rows of history in order, each returned once."""

    def __init__(self, connection: asyncpg.Connection, after: int) -> None:
        self._connection = connection
        self._after = after
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
        records = await self._connection.fetch(_ROWS, self._after)
        self._block = [RowEntry._make(record) for record in records]
        self._index = 0
        self._ended = not records
        if records:
            self._after = records[-1][0]


@asynccontextmanager
async def open_reader(url: str, snapshot: str | None = None) -> AsyncIterator[AuditReader]:
    """A reader in one read-only transaction: of a snapshot that another one exported, or of its own.

    Until it is closed, this process's garbage collector is off. Raises StoreError.
    """
    with translated(), _gc_paused():
        connection = await connect(url, application_name="omnirelay audit", command_timeout=None)
        try:
            # An export or a verification is not bounded in time, and idles while its output is not read.
            await connection.execute("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
            if snapshot is None:
                await _barrier(connection)
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                if snapshot is not None:
                    await connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
                yield AuditReader(connection)
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
