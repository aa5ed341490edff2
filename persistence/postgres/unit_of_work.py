"""One unit of work on PostgreSQL: one session, one transaction, one change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import BigInteger, Text, bindparam, false, func, literal_column, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.circumstances import Asked, Circumstances
from persistence.errors import TransientConflict
from persistence.locks import Locks
from persistence.outcomes import Committed
from persistence.postgres import saving
from persistence.postgres.answers import answer_of
from persistence.postgres.circumstances import seen
from persistence.postgres.commit import idempotency_digest
from persistence.postgres.locking import KEYS, as_arrays, locked
from persistence.postgres.models import CHANGES, HISTORY
from persistence.postgres.partitions import Room, is_missing
from persistence.postgres.rows import CHANGE, change_of
from persistence.postgres.session_errors import translated
from persistence.records import Change, ChangeKind, ShardKey
from persistence.writes import LockedState, WriteSet

# History is named, and nothing of it is read, only to lock it before `changes`, in the order everybody does.
_CLAIM: Final = select(
    func.pg_advisory_xact_lock(bindparam("claim", type_=BigInteger)),
    select(HISTORY.c.revision).where(false()).scalar_subquery(),
)
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


class PostgresUnitOfWork:
    """UnitOfWork. The idempotency key is claimed before anything is locked; `locking.py` has the order of the rest."""

    def __init__(self, session: AsyncSession, room: Room) -> None:
        self._session = session
        self._room = room

    async def earlier(self, actor: str, idempotency_key: str) -> tuple[bytes, Committed] | None:
        # The lock first, in its own statement: the next one's snapshot then sees what the holder before us committed.
        key = idempotency_digest(actor, idempotency_key)
        await self._session.execute(_CLAIM, {"claim": int.from_bytes(key[:8], "big", signed=True)})
        row = (await self._session.execute(_EARLIER, {"key": key})).one_or_none()
        if row is None:
            return None
        digest, revision, *columns = row
        return digest, await answer_of(self._session, change_of(columns), revision)

    async def lock(self, locks: Locks) -> LockedState:
        return await locked(self._session, locks)

    async def look(self, asked: Asked) -> Circumstances:
        return await seen(self._session, asked)

    async def last_changes(self, shards: Collection[ShardKey]) -> Mapping[ShardKey, Change]:
        rows = await self._session.execute(_LAST_CHANGES, as_arrays(shards))
        return {ShardKey(row[0], row[1]): change_of(row[2:]) for row in rows}

    async def last_configuration(self, namespace: str) -> Change | None:
        statement = (
            select(*CHANGE)
            .where(CHANGES.c.namespaces.contains([namespace]), CHANGES.c.kind == ChangeKind.CONFIGURE_NAMESPACE)
            .order_by(CHANGES.c.id.desc())
            .limit(1)
        )
        row = (await self._session.execute(statement)).one_or_none()
        return None if row is None else change_of(row)

    async def last_node_change(self, node_id: str) -> Change | None:
        row = (await self._session.execute(_LAST_NODE_CHANGE, {"node_id": node_id})).one_or_none()
        return None if row is None else change_of(row)

    async def commit(self, write_set: WriteSet) -> Committed:
        try:
            committed = await self._saved(write_set)
        except DBAPIError as error:
            if not is_missing(error):
                raise
            self._room.missed(len(write_set.shards))
            raise TransientConflict("history has no partition for these revisions yet") from error
        self._room.committed(committed.change.last_revision)
        return committed

    async def _saved(self, write_set: WriteSet) -> Committed:
        session = self._session
        if write_set.namespace is not None:
            return await saving.configure_namespace(session, write_set, write_set.namespace)
        if write_set.node is not None:
            return await saving.change_node(session, write_set, write_set.node)
        if write_set.rebalance is not None:
            return await saving.change_plans(session, write_set, write_set.rebalance)
        return await saving.change_shards(session, write_set)


@asynccontextmanager
async def unit_of_work(sessions: async_sessionmaker[AsyncSession], room: Room) -> AsyncIterator[PostgresUnitOfWork]:
    """A unit of work that is undone unless it committed. Driver errors leave it as StoreErrors."""
    await room.ensure()
    with translated():
        async with sessions() as session:
            yield PostgresUnitOfWork(session, room)
