"""History's partitions: ranges of revisions, each a table of its own, so that old ones can be dropped whole.

`shard_history_N` begins at revision N, `shard_history_below_N` holds what a compaction to N - 1 kept. They lie end to
end without a default partition, which every new one would have to be checked against.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.errors import TransientConflict
from persistence.postgres.session_errors import translated

SPAN: Final = 1_000_000
"""Revisions in a partition: about a gigabyte of rows."""

# Any constant, as long as every version of this program uses the same: it names the right to append a partition.
_APPENDING: Final = 0x6F6D6E70
_AGAIN_SECONDS: Final = 1.0

_BOUNDS: Final = """
    SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) AS bounds
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = 'shard_history'::regclass
"""
_NUMBERS: Final = r"""
    (regexp_match(p.bounds, 'FROM \(''(\d+)''\)'))[1]::bigint AS first,
    (regexp_match(p.bounds, 'TO \(''(\d+)''\)'))[1]::bigint AS after_last
"""
_PARTITIONS: Final = text(f"SELECT p.relname, {_NUMBERS} FROM ({_BOUNDS}) AS p ORDER BY after_last")  # noqa: S608 - constants
_ROOM: Final = text(
    f"SELECT h.revision, (SELECT coalesce(max(n.after_last), 0) FROM (SELECT {_NUMBERS} FROM ({_BOUNDS}) AS p) AS n)"  # noqa: S608 - same
    " FROM stream_head AS h"
)


@dataclass(frozen=True, slots=True)
class Partition:
    """Revisions from `first` (null: from the beginning) up to but not including `after_last`."""

    name: str
    first: int | None
    after_last: int

    @property
    def bounds(self) -> str:
        first = "MINVALUE" if self.first is None else f"{self.first}"
        return f"FOR VALUES FROM ({first}) TO ({self.after_last})"


async def partitions(session: AsyncSession) -> list[Partition]:
    """All of them, oldest first."""
    return [Partition(*row) for row in await session.execute(_PARTITIONS)]


async def make_table(session: AsyncSession, name: str) -> None:
    """A table like history, not part of it yet and without indexes. Triggers are not inherited, so it has its own."""
    await session.execute(text(f"CREATE TABLE {name} (LIKE shard_history INCLUDING ALL EXCLUDING INDEXES)"))
    await session.execute(
        text(
            f"CREATE TRIGGER {name}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {name} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_history_edit()"
        )
    )


async def make_indexes(session: AsyncSession, name: str) -> None:
    """Those of history, and the one that only a partition can have: a shard has each version once."""
    await session.execute(text(f"ALTER TABLE {name} ADD CONSTRAINT pk_{name} PRIMARY KEY (revision)"))
    for index, columns in (
        (f"INDEX ix_{name}_shard_revision", "namespace, shard_id, revision"),
        (f"INDEX ix_{name}_namespace_revision", "namespace, revision"),
        (f"UNIQUE INDEX uq_{name}_version", "namespace, shard_id, version"),
    ):
        await session.execute(text(f"CREATE {index} ON {name} ({columns})"))


async def attach(session: AsyncSession, partition: Partition) -> None:
    """Readers and writers go on meanwhile, but for a moment in which no change commits: a foreign key is added."""
    await session.execute(text(f"ALTER TABLE shard_history ATTACH PARTITION {partition.name} {partition.bounds}"))


async def append(session: AsyncSession, span: int = SPAN) -> Partition:
    """A new partition after the newest, up to the next multiple of `span`."""
    existing = await partitions(session)
    first = existing[-1].after_last if existing else None
    after_last = ((first or 0) // span + 1) * span
    partition = Partition(f"shard_history_{first or 0}", first, after_last)
    await make_table(session, partition.name)
    await make_indexes(session, partition.name)
    await attach(session, partition)
    return partition


def is_missing(error: DBAPIError) -> bool:
    """Whether a row of history found no partition to go to. Shares its SQLSTATE with broken check constraints."""
    cause = error.orig
    state, constraint = getattr(cause, "sqlstate", None), getattr(cause, "constraint_name", None)
    return state == "23514" and constraint is None and "no partition of relation" in str(cause)


class Room:
    """Keeps partitions ahead of the newest revision, so that no writer has to make one while others wait.

    One for each process. What it knows is what this process has committed; once half a partition is left it makes the
    next. That is one comparison for a writer but once in half a million revisions, and once at the start.
    """

    def __init__(self, sessions: async_sessionmaker[AsyncSession], span: int = SPAN) -> None:
        self._sessions = sessions
        self._span = span
        self._wanted = span // 2
        self._newest = 0
        self._end = 0
        self._not_before = 0.0
        self._making = asyncio.Lock()

    async def ensure(self) -> None:
        """To be called before anything is locked. Raises TransientConflict if there is no room, nor any to be made."""
        if self._newest + self._wanted < self._end or (self._newest < self._end and monotonic() < self._not_before):
            return
        async with self._making:
            if self._newest + self._wanted >= self._end:
                await self._make()

    def committed(self, revision: int | None) -> None:
        """That revision exists; null for a change without any."""
        self._newest = max(self._newest, revision or 0)

    def missed(self, shard_count: int) -> None:
        """A change of so many shards found no room: another process has written what this one had room for."""
        self._wanted = max(self._wanted, shard_count)
        self._end = 0

    async def _make(self) -> None:
        try:
            with translated():
                async with self._sessions() as session:
                    await self._look(session)
                    if self._newest + self._wanted >= self._end:
                        await self._append(session)
        except TransientConflict:
            if self._newest >= self._end:
                raise
            # There is room for others meanwhile, so nobody waits for whoever holds the tables.
            self._not_before = monotonic() + _AGAIN_SECONDS

    async def _append(self, session: AsyncSession) -> None:
        # Behind us new commits queue: rather let them pass and try again.
        await session.execute(text("SET LOCAL lock_timeout = '250ms'"))
        await session.execute(text(f"SELECT pg_advisory_xact_lock({_APPENDING})"))
        # What attaching locks anyway. Without it a compaction may take partitions away while they are being looked up,
        # and PostgreSQL then knows no bounds of those.
        await session.execute(text("LOCK TABLE shard_history IN SHARE UPDATE EXCLUSIVE MODE"))
        await self._look(session)
        end = self._end
        while self._newest + self._wanted >= end:
            end = (await append(session, self._span)).after_last
        await session.commit()
        self._end = end

    async def _look(self, session: AsyncSession) -> None:
        for newest, end in await session.execute(_ROOM):
            self._newest, self._end = max(self._newest, newest), end
