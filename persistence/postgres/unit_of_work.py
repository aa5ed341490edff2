"""One unit of work on PostgreSQL: one session, one transaction, one change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ARRAY, BigInteger, String, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.decisions import LockedState, NamespaceWrite, WriteSet
from persistence.outcomes import NamespaceConfigured, ShardsChanged
from persistence.ports import Committed
from persistence.postgres.commit import Assigned, idempotency_digest, write_change
from persistence.postgres.driver_errors import translated
from persistence.postgres.models import (
    CHANGES,
    HISTORY,
    NAMESPACE_HEADS,
    NAMESPACES,
    SHARDS,
    STREAM_HEAD,
    TOMBSTONES,
)
from persistence.postgres.namespaces import ONE_NAMESPACE, SELECT_NAMESPACE
from persistence.postgres.rows import CHANGE, DIFF, SHARD, change_of, diffs_of, namespace_of, shard_of
from persistence.records import Change, ChangeKind, DiffKind, ShardKey, StreamPosition, Tombstone

# Two arrays however many shards there are: one statement, prepared once, for any number of them.
_KEYS: Final = (
    func.unnest(bindparam("key_namespaces", type_=ARRAY(String)), bindparam("key_shard_ids", type_=ARRAY(String)))
    .table_valued("namespace", "shard_id", name="keys")
    .render_derived()
)
_CLAIM: Final = select(func.pg_advisory_xact_lock(bindparam("claim", type_=BigInteger)))
_EARLIER: Final = select(CHANGES.c.request_digest, *CHANGE).where(CHANGES.c.idempotency_digest == bindparam("key"))
_NAMED: Final = SELECT_NAMESPACE.where(NAMESPACES.c.name == func.any(bindparam("names", type_=ARRAY(String)))).order_by(
    NAMESPACES.c.name
)
_LOCK_NAMESPACES: Final = _NAMED.with_for_update(of=NAMESPACES, read=True)
_LOCK_NAMESPACES_TO_CONFIGURE: Final = _NAMED.with_for_update(of=NAMESPACES)
_LOCK_SHARDS: Final = (
    select(*SHARD)
    .join(_KEYS, (SHARDS.c.namespace == _KEYS.c.namespace) & (SHARDS.c.shard_id == _KEYS.c.shard_id))
    .order_by(SHARDS.c.namespace, SHARDS.c.shard_id)
    .with_for_update(of=SHARDS)
)
_TOMBSTONES: Final = select(
    TOMBSTONES.c.namespace, TOMBSTONES.c.shard_id, TOMBSTONES.c.version, TOMBSTONES.c.owner_epoch
).join(_KEYS, (TOMBSTONES.c.namespace == _KEYS.c.namespace) & (TOMBSTONES.c.shard_id == _KEYS.c.shard_id))
_LAST_CHANGES: Final = select(_KEYS.c.namespace, _KEYS.c.shard_id, *CHANGE).join_from(
    _KEYS,
    CHANGES,
    CHANGES.c.id
    == select(HISTORY.c.change_id)
    .where(HISTORY.c.namespace == _KEYS.c.namespace, HISTORY.c.shard_id == _KEYS.c.shard_id)
    .order_by(HISTORY.c.revision.desc())
    .limit(1)
    .scalar_subquery(),
)


class PostgresUnitOfWork:
    """UnitOfWork. Locks in one order (idempotency key, namespaces by name, shards by key, stream head) so that units of
    work wait for each other instead of deadlocking."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def earlier(self, actor: str, idempotency_key: str) -> tuple[bytes, Committed] | None:
        # The lock first, in its own statement: the next one's snapshot then sees what the holder before us committed.
        key = idempotency_digest(actor, idempotency_key)
        await self._session.execute(_CLAIM, {"claim": int.from_bytes(key[:8], "big", signed=True)})
        row = (await self._session.execute(_EARLIER, {"key": key})).one_or_none()
        if row is None:
            return None
        digest, *columns = row
        change = change_of(columns)
        if change.kind is ChangeKind.CONFIGURE_NAMESPACE:
            return digest, await self._configured(change)
        return digest, await self._changed(change)

    async def lock(self, namespaces: Collection[str], shards: Collection[ShardKey], *, configure: bool) -> LockedState:
        names = _LOCK_NAMESPACES_TO_CONFIGURE if configure else _LOCK_NAMESPACES
        rows = await self._session.execute(names, {"names": list(namespaces)})
        found = {row[0]: namespace_of(row) for row in rows}
        if not shards:
            return LockedState(found, {}, {})
        rows = await self._session.execute(_LOCK_SHARDS, _as_arrays(shards))
        current = {ShardKey(row[0], row[1]): shard_of(row) for row in rows}
        missing = set(shards) - current.keys()
        if not missing:
            return LockedState(found, current, {})
        rows = await self._session.execute(_TOMBSTONES, _as_arrays(missing))
        buried = {ShardKey(row[0], row[1]): Tombstone(row[2], row[3]) for row in rows}
        return LockedState(found, current, buried)

    async def last_changes(self, shards: Collection[ShardKey]) -> Mapping[ShardKey, Change]:
        rows = await self._session.execute(_LAST_CHANGES, _as_arrays(shards))
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

    async def commit(self, write_set: WriteSet) -> Committed:
        assigned = await write_change(self._session, write_set)
        namespace = None
        if write_set.namespace is not None:
            await self._save(write_set.namespace, assigned.committed_at)
            row = await self._session.execute(ONE_NAMESPACE, {"name": write_set.namespace.name})
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
            await self._session.execute(insert(NAMESPACES).values(name=write.name, created_at=at, **values))
            await self._session.execute(
                insert(NAMESPACE_HEADS).values(name=write.name, digest_high=0, digest_low=0, shard_count=0, revision=0)
            )
        else:
            await self._session.execute(update(NAMESPACES).where(NAMESPACES.c.name == write.name).values(**values))

    async def _changed(self, change: Change) -> ShardsChanged:
        """The answer a change was given, from history."""
        statement = (
            select(*DIFF, *CHANGE)
            .join(CHANGES, CHANGES.c.id == HISTORY.c.change_id)
            .where(HISTORY.c.revision.between(change.first_revision, change.last_revision))
            .order_by(HISTORY.c.revision)
        )
        diffs = diffs_of((await self._session.execute(statement)).all())
        epoch = (await self._session.execute(select(STREAM_HEAD.c.epoch))).scalar_one()
        shards = (diff.previous if diff.kind is DiffKind.DELETED else diff.current for diff in diffs)
        answered = tuple(shard for shard in shards if shard is not None)
        return ShardsChanged(change, answered, StreamPosition(epoch, change.last_revision or 0))

    async def _configured(self, change: Change) -> NamespaceConfigured:
        """The answer a change was given: the configuration it made. Digest and count are those of now."""
        assert change.configuration is not None  # noqa: S101 - the kind says so, and the type cannot
        row = await self._session.execute(ONE_NAMESPACE, {"name": change.configuration.namespace})
        namespace = namespace_of(row.one())
        made: Mapping[str, Any] = change.configuration.current
        return NamespaceConfigured(
            change,
            replace(
                namespace,
                strategy=made["strategy"],
                strategy_parameters=made["strategyParameters"],
                algorithm_version=made["algorithmVersion"],
                parameters_digest=made["parametersDigest"],
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


def _as_arrays(shards: Collection[ShardKey]) -> dict[str, list[str]]:
    return {"key_namespaces": [key.namespace for key in shards], "key_shard_ids": [key.shard_id for key in shards]}


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
