"""One unit of work on PostgreSQL: one connection, one snapshot to decide in, and one call that commits the change.

No row is locked, and the transaction that reads is over before the call is made: a process that is frozen at any point
of it delays no other writer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import Text, bindparam, literal_column, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from persistence.apart import apart
from persistence.circumstances import Asked, Circumstances
from persistence.errors import TransientConflict
from persistence.outcomes import Committed
from persistence.postgres.answers import answer, answer_of
from persistence.postgres.commit import Relied, commit, idempotency_digest
from persistence.postgres.database import Database
from persistence.postgres.partitions import Room, is_missing
from persistence.postgres.read_state import KEYS, GroupMark, as_arrays, read_circumstances, read_state
from persistence.postgres.rows import CHANGE, change_of
from persistence.postgres.session_errors import translated
from persistence.postgres.tables.history import CHANGES, HISTORY
from persistence.read_set import ReadSet
from persistence.records import Change, ChangeKind, GroupKey, ShardKey
from persistence.writes import ReadState, WriteSet

_EARLIER: Final = select(CHANGES.c.request_digest, CHANGES.c.head_revision, *CHANGE).where(
    CHANGES.c.idempotency_digest == bindparam("key")
)
_LAST_CHANGES: Final = select(KEYS.c.namespace, KEYS.c.shard_id, *CHANGE).join_from(
    KEYS,
    CHANGES,
    CHANGES.c.id
    == select(HISTORY.c.change_id)
    .where(HISTORY.c.namespace == KEYS.c.namespace, HISTORY.c.shard_id == KEYS.c.shard_id)
    .order_by(HISTORY.c.revision.desc())
    .limit(1)
    .scalar_subquery(),
)
# The member's name is part of the statement: as a parameter it would not match the expression that is indexed.
_LAST_NODE_CHANGE: Final = (
    select(*CHANGE)
    .where(CHANGES.c.configuration.op("->>", return_type=Text())(literal_column("'node'")) == bindparam("node_id"))
    .order_by(CHANGES.c.id.desc())
    .limit(1)
)
_READING: Final = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
_CALLING: Final = {"isolation_level": "AUTOCOMMIT", "postgresql_readonly": False}


class PostgresUnitOfWork:
    """UnitOfWork. All that is read is of one snapshot, which ends with the decision."""

    def __init__(self, connection: AsyncConnection, room: Room, database: Database) -> None:
        self._connection = connection
        self._room = room
        self._database = database
        self.committing = False
        self._reads: list[tuple[ReadSet, ReadState]] = []
        self._groups: dict[GroupKey, GroupMark] = {}

    async def earlier(self, actor: str, idempotency_key: str) -> tuple[bytes, Committed] | None:
        key = idempotency_digest(actor, idempotency_key)
        row = (await self._connection.execute(_EARLIER, {"key": key})).one_or_none()
        if row is None:
            return None
        digest, revision, *columns = row
        return digest, await answer_of(self._connection, change_of(columns), revision)

    async def read(self, reads: ReadSet) -> ReadState:
        state = await read_state(self._connection, reads)
        self._reads.append((reads, state))
        return state

    async def look(self, asked: Asked) -> Circumstances:
        circumstances, groups = await read_circumstances(self._connection, asked)
        self._groups |= groups
        self._reads.append((ReadSet(nodes=asked.node_ids), ReadState(nodes=circumstances.nodes)))
        return circumstances

    async def last_changes(self, shards: Collection[ShardKey]) -> Mapping[ShardKey, Change]:
        rows = await self._connection.execute(_LAST_CHANGES, as_arrays(shards))
        return {ShardKey(row[0], row[1]): change_of(row[2:]) for row in rows}

    async def last_configuration(self, namespace: str) -> Change | None:
        statement = (
            select(*CHANGE)
            .where(CHANGES.c.namespaces.contains([namespace]), CHANGES.c.kind == ChangeKind.CONFIGURE_NAMESPACE)
            .order_by(CHANGES.c.id.desc())
            .limit(1)
        )
        row = (await self._connection.execute(statement)).one_or_none()
        return None if row is None else change_of(row)

    async def last_node_change(self, node_id: str) -> Change | None:
        row = (await self._connection.execute(_LAST_NODE_CHANGE, {"node_id": node_id})).one_or_none()
        return None if row is None else change_of(row)

    async def barrier(self) -> None:
        await self._stop_reading()
        await self._database.barrier.wait()

    async def commit(self, write_set: WriteSet) -> Committed:
        await self._stop_reading()
        try:
            relied = Relied(self._reads, self._groups)
            self.committing = True
            made = await commit(self._connection, write_set, relied, timeline=self._database.newest_timeline)
        except DBAPIError as error:
            if not is_missing(error):
                raise
            self._room.missed(len(write_set.shards))
            raise TransientConflict("history has no partition for these revisions yet") from error
        self._room.committed(made.change.last_revision)
        return await apart(len(write_set.shards), answer, write_set, made)

    async def _stop_reading(self) -> None:
        await self._connection.rollback()
        await self._connection.execution_options(**_CALLING)


@asynccontextmanager
async def unit_of_work(engine: AsyncEngine, room: Room, database: Database) -> AsyncIterator[PostgresUnitOfWork]:
    """A unit of work that writes nothing unless it commits. Driver errors leave it as StoreErrors.

    `database` is the one that the engine's connections are of: it knows the newest timeline that this process has seen,
    on an older one than which nothing is written.
    """
    await room.ensure()
    with translated():
        async with engine.connect() as connection:
            await connection.execution_options(**_READING)
            unit = PostgresUnitOfWork(connection, room, database)
            try:
                yield unit
            except DBAPIError as error:
                if error.connection_invalidated and not unit.committing:
                    # A connection that died in the pool: everything is read again, on another.
                    raise TransientConflict("the connection was lost before anything was sent") from error
                raise
