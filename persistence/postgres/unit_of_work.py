"""One unit of work on PostgreSQL: one connection, one snapshot to decide in, one call that commits, and the answer.

No row is locked, and the transaction that reads is over before the call is made: a process that is frozen at any point
of it delays no other writer. The answer to a retry is read from what the change left.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, TypeAlias

from sqlalchemy import BigInteger, Text, bindparam, cast, literal_column, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from persistence.codec.json_documents import read_policy
from persistence.commands.read_state import DecisionInputs, InputsRequired, ReadSet, ReadState
from persistence.commands.write_set import NamespaceWrite, WriteSet, proposed
from persistence.errors import TransientConflict
from persistence.model.outcomes import (
    Committed,
    NamespaceConfigured,
    NodeChanged,
    PlanApplied,
    PlanChanged,
    PlanProposed,
    ShardsChanged,
)
from persistence.model.plans import RebalancePlan
from persistence.model.policy import DEFAULT_POLICY
from persistence.model.records import (
    Change,
    ChangeKind,
    ConfigurationChange,
    DiffKind,
    GroupKey,
    Namespace,
    NodeStatus,
    ShardKey,
    StreamPosition,
)
from persistence.offload import offload
from persistence.ports.writes import CONFIGURATIONS
from persistence.postgres.commit import Assigned, Made, Relied, commit, idempotency_digest
from persistence.postgres.database import Database
from persistence.postgres.engine import is_unsent_call, translated
from persistence.postgres.partitions import PartitionSupply, is_missing
from persistence.postgres.read_state import GroupMark, read_decision_inputs, read_state
from persistence.postgres.readers.keyset import nothing_passed
from persistence.postgres.readers.nodes import ONE_NAMESPACE, ONE_NODE
from persistence.postgres.readers.plans import ONE_PLAN
from persistence.postgres.row_locks import RowLocks
from persistence.postgres.rows import (
    CHANGE,
    DIFF,
    HALVES,
    KEYS,
    as_arrays,
    change_of,
    diffs_of,
    namespace_of,
    node_of,
    plan_of,
)
from persistence.postgres.tables.current import STREAM_HEAD
from persistence.postgres.tables.history import CHANGES, HISTORY

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
_OF_NODE: Final = CHANGES.c.configuration.op("->>", return_type=Text())(literal_column("'node'")) == bindparam(
    "node_id"
)

_LAST_NODE_CHANGE: Final = select(*CHANGE).where(_OF_NODE).order_by(CHANGES.c.id.desc()).limit(1)

_CONFIGURED: Final = CHANGES.c.configuration.op("#>>", return_type=Text())(literal_column("'{current,version}'"))

_CONFIGURATIONS: Final = (
    select(*CHANGE)
    .where(cast(_CONFIGURED, BigInteger) > bindparam("version"))
    .order_by(CHANGES.c.id.desc())
    .limit(CONFIGURATIONS)
)

_NODE_CHANGES: Final = _CONFIGURATIONS.where(_OF_NODE)

# Of each shard only the newest rows are read, however often it was changed.
_CHANGED_FIELDS: Final = text(
    """
    SELECT k.namespace, k.shard_id, array_agg(DISTINCT f.name ORDER BY f.name)
    FROM unnest(CAST(:key_namespaces AS text[]), CAST(:key_shard_ids AS text[]), CAST(:versions AS bigint[]))
        AS k (namespace, shard_id, version)
    CROSS JOIN LATERAL (
        SELECT h.changed_fields FROM shard_history AS h
        WHERE h.namespace = k.namespace AND h.shard_id = k.shard_id AND h.version > k.version
        ORDER BY h.revision DESC LIMIT 100
    ) AS h
    CROSS JOIN LATERAL unnest(h.changed_fields) AS f (name)
    GROUP BY k.namespace, k.shard_id
    """
)

_EPOCH: Final = select(STREAM_HEAD.c.epoch)

_READING: Final = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

_CALLING: Final = {"isolation_level": "AUTOCOMMIT", "postgresql_readonly": False}


_PlanAnswer: TypeAlias = PlanProposed | PlanApplied | PlanChanged


class PostgresUnitOfWork:
    """UnitOfWork. All that is read is of one snapshot, which ends with the decision."""

    def __init__(
        self, connection: AsyncConnection, supply: PartitionSupply, database: Database, locks: RowLocks
    ) -> None:
        self._connection = connection
        self._supply = supply
        self._database = database
        self._locks = locks
        self.committing = False
        self.locked: Sequence[ShardKey] = ()
        """What has to be waited for before another attempt."""
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

    async def read_inputs(self, required: InputsRequired) -> DecisionInputs:
        inputs, groups = await read_decision_inputs(self._connection, required)
        self._groups |= groups
        self._reads.append((ReadSet(nodes=required.node_ids), ReadState(nodes=inputs.nodes)))
        return inputs

    async def last_changes(self, shards: Collection[ShardKey]) -> Mapping[ShardKey, Change]:
        rows = await self._connection.execute(_LAST_CHANGES, as_arrays(shards))
        return {ShardKey(row[0], row[1]): change_of(row[2:]) for row in rows}

    async def last_configuration(self, namespace: str) -> Change | None:
        statement = (
            select(*CHANGE)
            .where(CHANGES.c.namespaces.contains([namespace]), CHANGES.c.kind == ChangeKind.CONFIGURE_NAMESPACE)
            .where(nothing_passed(CHANGES.c.id))  # among those of the kind, which are few
            .order_by(CHANGES.c.id.desc())
            .limit(1)
        )
        row = (await self._connection.execute(statement)).one_or_none()
        return None if row is None else change_of(row)

    async def last_node_change(self, node_id: str) -> Change | None:
        row = (await self._connection.execute(_LAST_NODE_CHANGE, {"node_id": node_id})).one_or_none()
        return None if row is None else change_of(row)

    async def changed_fields(self, since: Mapping[ShardKey, int]) -> Mapping[ShardKey, Sequence[str]]:
        given = as_arrays(since) | {"versions": list(since.values())}
        rows = await self._connection.execute(_CHANGED_FIELDS, given)
        return {ShardKey(row[0], row[1]): row[2] for row in rows}

    async def configurations(self, namespace: str, version: int) -> Sequence[Change]:
        # Among those of the kind, which are few.
        statement = _CONFIGURATIONS.where(
            CHANGES.c.namespaces.contains([namespace]),
            CHANGES.c.kind == ChangeKind.CONFIGURE_NAMESPACE,
            nothing_passed(CHANGES.c.id),
        )
        return [change_of(row) for row in await self._connection.execute(statement, {"version": version})]

    async def node_changes(self, node_id: str, version: int) -> Sequence[Change]:
        given = {"node_id": node_id, "version": version}
        return [change_of(row) for row in await self._connection.execute(_NODE_CHANGES, given)]

    async def barrier(self) -> None:
        await self._stop_reading()
        await self._database.barrier.wait()

    async def commit(self, write_set: WriteSet) -> Committed:
        await self._stop_reading()
        shards = [write.key for write in write_set.shards]
        if self._locks.may_be_locked(shards):
            self.locked = shards
            raise TransientConflict("another session has, or had, a row of this change locked")
        try:
            relied = Relied(self._reads, self._groups)
            self.committing = True
            made = await commit(self._connection, write_set, relied, timeline=self._database.newest_timeline)
        except DBAPIError as error:
            if is_locked(error.orig):
                self.locked = shards or [ShardKey(name, "") for name in write_set.namespaces]
                self._locks.suspect(self.locked)
            if not is_missing(error.orig):
                raise
            self._supply.missed(len(write_set.shards))
            raise TransientConflict("history has no partition for these revisions yet") from error
        self._supply.committed(made.change.last_revision)
        return await offload(len(write_set.shards), answer, write_set, made)

    async def _stop_reading(self) -> None:
        await self._connection.rollback()
        await self._connection.execution_options(**_CALLING)


def is_locked(cause: object) -> bool:
    """Whether the call waited in vain for a row that another session has locked, and wrote nothing. As `is_missing`."""
    return getattr(cause, "sqlstate", None) == "55P03"  # lock_not_available


@asynccontextmanager
async def unit_of_work(
    engine: AsyncEngine, supply: PartitionSupply, database: Database, locks: RowLocks
) -> AsyncIterator[PostgresUnitOfWork]:
    """A unit of work that writes nothing unless it commits. Driver errors leave it as StoreErrors.

    `database` is the one that the engine's connections are of: it has the newest timeline that this process has seen,
    on an older one than which nothing is written. Rows that `locks` has as locked are waited for once the connection
    is back in its pool: then the conflict that they were met with is raised, or Locked.
    """
    await supply.ensure()
    unit: PostgresUnitOfWork | None = None
    try:
        with translated():
            async with engine.connect() as connection:
                await connection.execution_options(**_READING)
                unit = PostgresUnitOfWork(connection, supply, database, locks)
                try:
                    yield unit
                except DBAPIError as error:
                    if is_unsent_call(error) or (error.connection_invalidated and not unit.committing):
                        # A connection that died in the pool: everything is read again, on another.
                        raise TransientConflict("the connection was lost before anything was sent") from error
                    raise
    except TransientConflict:
        if unit is not None and unit.locked:
            await locks.wait(unit.locked)
        raise


def answer(write_set: WriteSet, made: Made) -> Committed:
    """Of a change that was just committed."""
    assigned, change, counted = made
    if write_set.namespace is not None:
        return NamespaceConfigured(change, _namespace_after(write_set.namespace, change, counted))
    if write_set.node is not None:
        return NodeChanged(
            change, write_set.node.committed(counted["shardCount"], counted["leaderCount"], change.committed_at)
        )
    if write_set.rebalance is not None:
        return _plan_answer(write_set, assigned, change)
    first = assigned.revision - len(write_set.shards) + 1
    shards = (
        write.committed(revision, assigned.committed_at) for revision, write in enumerate(write_set.shards, first)
    )
    return ShardsChanged(change, tuple(shards), assigned.position)


def _namespace_after(write: NamespaceWrite, change: Change, counted: Mapping[str, Any]) -> Namespace:
    return Namespace(
        write.name,
        write.strategy,
        write.strategy_parameters,
        write.algorithm_version,
        write.parameters_digest,
        write.version,
        HALVES.pack(counted["digestHigh"], counted["digestLow"]).hex(),
        counted["shardCount"],
        counted["revision"],
        write.previous.created_at if write.previous else change.committed_at,
        change.committed_at,
        write.policy,
    )


def _plan_answer(write_set: WriteSet, assigned: Assigned, change: Change) -> _PlanAnswer:
    plan = _plan_after(write_set, change)
    if write_set.kind in (ChangeKind.PLAN_REBALANCE, ChangeKind.ROLLBACK_CHANGE):
        return PlanProposed(change, plan)
    if write_set.kind is ChangeKind.APPLY_PLAN:
        return PlanApplied(change, plan, assigned.position)
    return PlanChanged(change, plan)


def _plan_after(write_set: WriteSet, change: Change) -> RebalancePlan:
    """The plan that the change is about."""
    if write_set.proposal is not None:
        return proposed(write_set.proposal, change, write_set.lifetime)
    if write_set.plans:
        return write_set.plans[0].committed(change)
    assert write_set.known is not None  # noqa: S101 - a change that only holds an idempotency key is of a known plan
    return write_set.known


async def answer_of(connection: AsyncConnection, change: Change, revision: int) -> Committed:
    """`revision` is the newest after the change. What the store follows up by itself (digests, counts) is as of now.

    So is a plan: a retry is answered with what became of it since.
    """
    match change.kind:
        case ChangeKind.CONFIGURE_NAMESPACE:
            return await _configured(connection, change)
        case ChangeKind.REGISTER_NODE | ChangeKind.UPDATE_NODE | ChangeKind.DRAIN_NODE:
            return await _node(connection, change)
        case ChangeKind.PLAN_REBALANCE | ChangeKind.ROLLBACK_CHANGE:
            return PlanProposed(change, await _plan(connection, change))
        case ChangeKind.APPROVE_PLAN | ChangeKind.REJECT_PLAN | ChangeKind.STOP_PLAN:
            return PlanChanged(change, await _plan(connection, change))
        case ChangeKind.APPLY_PLAN:
            return PlanApplied(change, await _plan(connection, change), await _position(connection, change, revision))
        case _:
            return await _shards(connection, change, revision)


async def _shards(connection: AsyncConnection, change: Change, revision: int) -> ShardsChanged:
    statement = (
        select(*DIFF, *CHANGE)
        .join(CHANGES, CHANGES.c.id == HISTORY.c.change_id)
        .where(HISTORY.c.revision.between(change.first_revision, change.last_revision))
        .order_by(HISTORY.c.revision)
    )
    diffs = diffs_of((await connection.execute(statement)).all())
    shards = (diff.previous if diff.kind is DiffKind.DELETED else diff.current for diff in diffs)
    answered = tuple(shard for shard in shards if shard is not None)
    return ShardsChanged(change, answered, await _position(connection, change, revision))


async def _configured(connection: AsyncConnection, change: Change) -> NamespaceConfigured:
    configuration = _configuration(change)
    namespace = namespace_of((await connection.execute(ONE_NAMESPACE, {"name": configuration.namespace})).one())
    made: Mapping[str, Any] = configuration.current
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
            policy=read_policy(made["policy"]) if "policy" in made else DEFAULT_POLICY,
        ),
    )


async def _node(connection: AsyncConnection, change: Change) -> NodeChanged:
    configuration = _configuration(change)
    node = node_of((await connection.execute(ONE_NODE, {"node_id": configuration.node_id})).one())
    made: Mapping[str, Any] = configuration.current
    return NodeChanged(
        change,
        replace(
            node,
            region=made["region"],
            zone=made["zone"],
            labels=made["labels"],
            weight=made["weight"],
            status=NodeStatus(made["status"]),
            change_ticket=change.change_ticket,
            version=made["version"],
            updated_at=change.committed_at,
        ),
    )


async def _plan(connection: AsyncConnection, change: Change) -> RebalancePlan:
    assert change.rebalance is not None  # noqa: S101 - its kind implies it, which the type cannot express
    return plan_of((await connection.execute(ONE_PLAN, {"plan_id": change.rebalance.plan_id})).one())


async def _position(connection: AsyncConnection, change: Change, revision: int) -> StreamPosition:
    return StreamPosition((await connection.execute(_EPOCH)).scalar_one(), revision, change.mark)


def _configuration(change: Change) -> ConfigurationChange:
    assert change.configuration is not None  # noqa: S101 - its kind implies it, which the type cannot express
    return change.configuration
