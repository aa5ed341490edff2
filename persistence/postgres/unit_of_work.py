"""One unit of work on PostgreSQL: one session, one transaction, one change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import mmh3
from sqlalchemy import ARRAY, String, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.sql.selectable import TableValuedAlias

from persistence.decisions import LockedState, NamespaceWrite, WriteSet
from persistence.encoding import encode
from persistence.outcomes import NamespaceConfigured, ShardsChanged
from persistence.ports import Committed
from persistence.postgres.commit import Assigned, write_change
from persistence.postgres.driver_errors import translated
from persistence.postgres.models import (
    ChangeRow,
    NamespaceHeadRow,
    NamespaceRow,
    ShardHistoryRow,
    ShardRow,
    StreamHeadRow,
    TombstoneRow,
)
from persistence.postgres.namespaces import select_namespace
from persistence.postgres.rows import CHANGE, DIFF, SHARD, change_of, diffs_of, namespace_of, shard_of
from persistence.records import Change, ChangeKind, DiffKind, ShardKey, StreamPosition, Tombstone


class PostgresUnitOfWork:
    """UnitOfWork. Locks in one order (idempotency key, namespaces by name, shards by key, stream head) so that units of
    work wait for each other instead of deadlocking."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def earlier(self, actor: str, idempotency_key: str) -> tuple[bytes, Committed] | None:
        # The lock first, in its own statement: the next one's snapshot then sees what the holder before us committed.
        claim = mmh3.hash64(encode("omnirelay.idempotency", actor, idempotency_key), signed=True)[0]
        await self._session.execute(select(func.pg_advisory_xact_lock(claim)))
        statement = select(ChangeRow.request_digest, *CHANGE).where(
            ChangeRow.actor == actor, ChangeRow.idempotency_key == idempotency_key
        )
        row = (await self._session.execute(statement)).one_or_none()
        if row is None:
            return None
        digest, *columns = row
        change = change_of(columns)
        if change.kind is ChangeKind.CONFIGURE_NAMESPACE:
            return digest, await self._configured(change)
        return digest, await self._changed(change)

    async def lock(self, namespaces: Collection[str], shards: Collection[ShardKey], *, configure: bool) -> LockedState:
        statement = (
            select_namespace()
            .where(NamespaceRow.name == func.any(bindparam("names", list(namespaces), type_=ARRAY(String))))
            .order_by(NamespaceRow.name)
            .with_for_update(of=NamespaceRow, read=not configure)
        )
        found = {row[0]: namespace_of(row) for row in await self._session.execute(statement)}
        if not shards:
            return LockedState(found, {}, {})
        keys = _keys(shards)
        locked = (
            select(*SHARD)
            .join(keys, (ShardRow.namespace == keys.c.namespace) & (ShardRow.shard_id == keys.c.shard_id))
            .order_by(ShardRow.namespace, ShardRow.shard_id)
            .with_for_update(of=ShardRow)
        )
        current = {ShardKey(row[0], row[1]): shard_of(row) for row in await self._session.execute(locked)}
        return LockedState(found, current, await self._tombstones(set(shards) - current.keys()))

    async def last_changes(self, shards: Collection[ShardKey]) -> Mapping[ShardKey, Change]:
        keys = _keys(shards)
        newest = (
            select(ShardHistoryRow.change_id)
            .where(ShardHistoryRow.namespace == keys.c.namespace, ShardHistoryRow.shard_id == keys.c.shard_id)
            .order_by(ShardHistoryRow.revision.desc())
            .limit(1)
            .scalar_subquery()
        )
        statement = select(keys.c.namespace, keys.c.shard_id, *CHANGE).join_from(
            keys, ChangeRow, ChangeRow.id == newest
        )
        return {ShardKey(row[0], row[1]): change_of(row[2:]) for row in await self._session.execute(statement)}

    async def last_configuration(self, namespace: str) -> Change | None:
        statement = (
            select(*CHANGE)
            .where(ChangeRow.namespaces.contains([namespace]), ChangeRow.kind == ChangeKind.CONFIGURE_NAMESPACE)
            .order_by(ChangeRow.id.desc())
            .limit(1)
        )
        row = (await self._session.execute(statement)).one_or_none()
        return None if row is None else change_of(row)

    async def commit(self, write_set: WriteSet) -> Committed:
        assigned = await write_change(self._session, write_set)
        namespace = None
        if write_set.namespace is not None:
            await self._save(write_set.namespace, assigned.committed_at)
            row = await self._session.execute(select_namespace().where(NamespaceRow.name == write_set.namespace.name))
            namespace = namespace_of(row.one())
        await self._session.commit()
        change = _change(write_set, assigned)
        if namespace is not None:
            return NamespaceConfigured(change, namespace)
        first = assigned.revision - len(write_set.shards) + 1
        shards = (
            write.committed(revision, assigned.committed_at) for revision, write in enumerate(write_set.shards, first)
        )
        return ShardsChanged(change, tuple(shards), StreamPosition(assigned.epoch, assigned.revision))

    async def _tombstones(self, missing: Collection[ShardKey]) -> Mapping[ShardKey, Tombstone]:
        if not missing:
            return {}
        keys = _keys(missing)
        statement = select(
            TombstoneRow.namespace, TombstoneRow.shard_id, TombstoneRow.version, TombstoneRow.owner_epoch
        ).join(keys, (TombstoneRow.namespace == keys.c.namespace) & (TombstoneRow.shard_id == keys.c.shard_id))
        return {ShardKey(row[0], row[1]): Tombstone(row[2], row[3]) for row in await self._session.execute(statement)}

    async def _save(self, write: NamespaceWrite, at: datetime) -> None:
        values = {
            "strategy": write.strategy,
            "strategy_parameters": write.strategy_parameters,
            "algorithm_version": write.algorithm_version,
            "parameters_digest": write.parameters_digest,
            "version": write.version,
            "updated_at": at,
        }
        if write.previous is None:
            await self._session.execute(insert(NamespaceRow).values(name=write.name, created_at=at, **values))
            await self._session.execute(
                insert(NamespaceHeadRow).values(name=write.name, digest_high=0, digest_low=0, shard_count=0, revision=0)
            )
        else:
            await self._session.execute(update(NamespaceRow).where(NamespaceRow.name == write.name).values(**values))

    async def _changed(self, change: Change) -> ShardsChanged:
        """The answer a change was given, from history."""
        statement = (
            select(*DIFF, *CHANGE)
            .join(ChangeRow, ChangeRow.id == ShardHistoryRow.change_id)
            .where(ShardHistoryRow.revision.between(change.first_revision, change.last_revision))
            .order_by(ShardHistoryRow.revision)
        )
        diffs = diffs_of((await self._session.execute(statement)).all())
        epoch = (await self._session.execute(select(StreamHeadRow.epoch))).scalar_one()
        shards = (diff.previous if diff.kind is DiffKind.DELETED else diff.current for diff in diffs)
        answered = tuple(shard for shard in shards if shard is not None)
        return ShardsChanged(change, answered, StreamPosition(epoch, change.last_revision or 0))

    async def _configured(self, change: Change) -> NamespaceConfigured:
        """The answer a change was given: the configuration it made. Digest and count are those of now."""
        assert change.configuration is not None  # noqa: S101 - the kind says so, and the type cannot
        statement = select_namespace().where(NamespaceRow.name == change.configuration.namespace)
        namespace = namespace_of((await self._session.execute(statement)).one())
        made: Mapping[str, Any] = change.configuration.current
        return NamespaceConfigured(
            change,
            replace(
                namespace,
                strategy=made["strategy"],
                strategy_parameters=made["strategyParameters"],
                algorithm_version=made["algorithmVersion"],
                version=made["version"],
                updated_at=change.committed_at,
            ),
        )


@asynccontextmanager
async def unit_of_work(sessions: async_sessionmaker[AsyncSession]) -> AsyncIterator[PostgresUnitOfWork]:
    """A unit of work that is undone unless it committed. Driver errors leave it as StoreErrors."""
    with translated():
        async with sessions() as session:
            yield PostgresUnitOfWork(session)


def _keys(shards: Collection[ShardKey]) -> TableValuedAlias:
    """The keys as a table, two array parameters however many there are."""
    ordered = sorted(shards)
    namespaces = bindparam(None, [key.namespace for key in ordered], type_=ARRAY(String))
    shard_ids = bindparam(None, [key.shard_id for key in ordered], type_=ARRAY(String))
    return func.unnest(namespaces, shard_ids).table_valued("namespace", "shard_id", name="keys").render_derived()


def _change(write_set: WriteSet, assigned: Assigned) -> Change:
    request = write_set.request
    count = len(write_set.shards)
    return Change(
        assigned.change_id,
        write_set.kind,
        request.actor,
        request.reason,
        request.change_ticket,
        request.metadata,
        write_set.namespaces,
        assigned.revision - count + 1 if count else None,
        assigned.revision if count else None,
        count,
        assigned.committed_at,
        assigned.hash.hex(),
        write_set.namespace.configuration if write_set.namespace else None,
    )
