"""History's partitions: ranges of revisions, each a table of its own, so that old ones can be dropped whole.

`shard_history_N` begins at revision N, `shard_history_below_N` holds what a compaction to N - 1 retained. They lie end
to end without a default partition, which every new one would have to be checked against.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Final, TypeAlias

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from persistence.errors import TransientConflict
from persistence.postgres.engine import translated
from persistence.postgres.tables.history import MOVES, VOLUNTARY_MOVES

Connection: TypeAlias = AsyncConnection | AsyncSession

SPAN: Final = 1_000_000
"""Revisions in a partition: about a gigabyte of rows."""

# The advisory lock of appending a partition: any constant that is the same in every version of this program.
_APPEND_LOCK: Final = 0x6F6D6E70

_RETRY_SECONDS: Final = 1.0

_ALREADY_THERE: Final = ("42P07", "42P17")
"""SQLSTATEs duplicate_table, and invalid_object_definition for bounds that overlap."""

# In SQL, as all of this file: PostgreSQL's catalogs and partitions are not among the declared tables.
_BOUNDS: Final = """
    SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) AS bounds
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = 'shard_history'::regclass
"""

_NUMBERS: Final = r"""
    (regexp_match(p.bounds, 'FROM \(''(\d+)''\)'))[1]::bigint AS first,
    (regexp_match(p.bounds, 'TO \(''(\d+)''\)'))[1]::bigint AS after_last
"""

_PARTITIONS: Final = text(f"SELECT p.relname, {_NUMBERS} FROM ({_BOUNDS}) AS p ORDER BY after_last")  # noqa: S608 - constants

_SUPPLY: Final = text(
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


async def partitions(connection: Connection) -> list[Partition]:
    """All of them, oldest first."""
    return [Partition(*row) for row in await connection.execute(_PARTITIONS)]


def create_table(name: str) -> list[str]:
    """Statements for a table like history, not attached yet and without indexes. Triggers are not inherited, so it has
    its own."""
    return [
        f"CREATE TABLE {name} (LIKE shard_history INCLUDING ALL EXCLUDING INDEXES)",
        f"CREATE TRIGGER {name}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {name}"  # noqa: ISC003 - in a list
        + " FOR EACH STATEMENT EXECUTE FUNCTION refuse_history_edit()",
    ]


def create_indexes(name: str) -> list[str]:
    """Statements for the indexes of history, and for the one that only a partition can have: a shard has each version
    once."""
    return [
        f"ALTER TABLE {name} ADD CONSTRAINT pk_{name} PRIMARY KEY (revision)",
        f"CREATE INDEX ix_{name}_shard_revision ON {name} (namespace, shard_id, revision)",
        f"CREATE INDEX ix_{name}_namespace_revision ON {name} (namespace, revision)",
        f"CREATE INDEX ix_{name}_moves ON {name} (namespace, revision) WHERE {MOVES}",
        f"CREATE INDEX ix_{name}_voluntary_moves ON {name} (namespace, revision) WHERE {VOLUNTARY_MOVES}",
        f"CREATE UNIQUE INDEX uq_{name}_version ON {name} (namespace, shard_id, version)",
    ]


def attach(partition: Partition) -> str:
    """Statement after which the table is part of history. Reads and writes go on meanwhile, but while
    a foreign key is added: no change commits then."""
    return f"ALTER TABLE shard_history ATTACH PARTITION {partition.name} {partition.bounds}"


async def append(connection: AsyncConnection, span: int = SPAN) -> Partition:
    """Append a partition after the newest, up to the next multiple of `span`, unless another process just has.

    The connection commits each statement, and this is one: attaching locks `changes`, which every writer needs, and the
    lock must not wait for this process.
    """
    existing = await partitions(connection)
    first = existing[-1].after_last if existing else None
    partition = Partition(f"shard_history_{first or 0}", first, ((first or 0) // span + 1) * span)
    steps = (
        # New commits queue behind this lock: let them pass, and try again.
        "SET LOCAL lock_timeout = '250ms'",
        f"PERFORM pg_advisory_xact_lock({_APPEND_LOCK})",
        # Attaching takes this lock anyway. Taken here, no compaction drops partitions while they are being looked up:
        # PostgreSQL then has no bounds for those.
        "LOCK TABLE shard_history IN SHARE UPDATE EXCLUSIVE MODE",
        *create_table(partition.name),
        *create_indexes(partition.name),
        attach(partition),
    )
    try:
        await connection.exec_driver_sql(f"DO $do$ BEGIN {'; '.join(steps)}; END $do$")
    except DBAPIError as error:
        # Another process has appended it since.
        if getattr(error.orig, "sqlstate", None) not in _ALREADY_THERE:
            raise
    return partition


def is_missing(cause: object) -> bool:
    """Whether a row of history found no partition to go to: of an error of the driver, or what SQLAlchemy made of one.
    Shares its SQLSTATE with broken check constraints."""
    state, constraint = getattr(cause, "sqlstate", None), getattr(cause, "constraint_name", None)
    return state == "23514" and constraint is None and "no partition of relation" in str(cause)


class PartitionSupply:
    """Keeps partitions ahead of the newest revision, so that no writer has to append one while others wait.

    One for each process, which counts what the process has committed: once half a partition is left it appends the
    next. That costs a write one comparison, and a query at the start and once in half a million revisions.
    """

    def __init__(self, engine: AsyncEngine, span: int = SPAN) -> None:
        self._engine = engine
        self._span = span
        self._headroom = span // 2
        self._newest = 0
        self._end = 0
        self._retry_at = 0.0
        self._append_lock = asyncio.Lock()

    async def ensure(self) -> None:
        """To be called before a unit of work reads. Raises TransientConflict if there is no partition for the next
        revision, and none can be appended just now."""
        if self._newest + self._headroom < self._end or (self._newest < self._end and monotonic() < self._retry_at):
            return
        async with self._append_lock:
            if self._newest + self._headroom >= self._end:
                await self._append_missing()

    def committed(self, revision: int | None) -> None:
        """A change was committed up to that revision; null for one without revisions."""
        self._newest = max(self._newest, revision or 0)

    def missed(self, shard_count: int) -> None:
        """A change of so many shards found no partition: other processes have written more revisions than this one knew
        of."""
        self._headroom = max(self._headroom, shard_count)
        self._end = 0

    async def _append_missing(self) -> None:
        try:
            with translated():
                # Each statement commits by itself.
                async with self._engine.connect() as connection:
                    await self._refresh(connection)
                    while self._newest + self._headroom >= self._end:
                        await append(connection, self._span)
                        await self._refresh(connection)
        except TransientConflict:
            if self._newest >= self._end:
                raise
            # There is room until then, so writes do not wait for what holds the tables.
            self._retry_at = monotonic() + _RETRY_SECONDS

    async def _refresh(self, connection: AsyncConnection) -> None:
        for newest, end in await connection.execute(_SUPPLY):
            self._newest, self._end = max(self._newest, newest), end
