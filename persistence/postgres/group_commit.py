"""Group commit: many changes are decided on one snapshot and committed by one call, each of them a change of its own.

Two round trips however many there are: one statement reads what all of them name, one autocommitted call of the
function `commit_changes` (migration 0010) takes the head, re-checks what each relied on, and writes. A change whose
guard does not hold takes no other with it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import asyncpg
from sqlalchemy import ARRAY, BigInteger, ColumnElement, String, bindparam, func, literal_column, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from persistence.commands.read_state import ReadSet, ReadState
from persistence.commands.write_set import CommitConditions, WriteSet
from persistence.errors import CommitUnknown, RowsLocked, StoreError, TransientConflict
from persistence.model.outcomes import Committed
from persistence.model.records import Namespace, Shard, ShardKey, Tombstone
from persistence.offload import offload
from persistence.postgres.commit import (
    CHANGE_PARAMETERS,
    DELTA_PARAMETERS,
    ROW_PARAMETERS,
    Assigned,
    Made,
    Relied,
    array_argument,
    array_text,
    change_after,
    guards,
    refused_by,
    row_values,
)
from persistence.postgres.database import Database
from persistence.postgres.driver import Connection
from persistence.postgres.driver_errors import committing, is_unsent
from persistence.postgres.engine import POOLED_SETTINGS, translated
from persistence.postgres.partitions import PartitionSupply, is_missing
from persistence.postgres.read_state import NODES_OF
from persistence.postgres.reads import ANSWERED, Statement, idle, require_own
from persistence.postgres.row_locks import RowLocks
from persistence.postgres.rows import NAMESPACE, SHARD, namespace_of, node_of, shard_of
from persistence.postgres.tables.current import NAMESPACE_HEADS, NAMESPACES, SCHEMA_REVISION, SHARDS, TOMBSTONES
from persistence.postgres.unit_of_work import answer, is_locked

# Of a row this is the transaction that has locked it, or is changing it, or did so since it was written; else 0. With
# another number it may be locked, and need not be. One that has the stream head as well is a commit: it is over once
# this group has the head. Null for a row that is not locked.
_MARK: Final = literal_column(
    "CASE WHEN coalesce(shards.xmax, shard_tombstones.xmax) NOT IN ('0', (SELECT xmax FROM stream_head))"
    " THEN coalesce(shards.xmax, shard_tombstones.xmax)::text END",
    String(),
)


def _lines(name: str) -> ColumnElement[Any]:
    """A text that is given, a value a line; a line that is empty is null."""
    given = bindparam(name, type_=String())
    return func.string_to_array(given, literal_column("chr(10)"), literal_column("''"), type_=ARRAY(String))


# `first` is the namespace where it was not named before.
_KEYS: Final = (
    func.unnest(_lines("key_namespaces"), _lines("key_shard_ids"), _lines("key_firsts"))
    .table_valued("namespace", "shard_id", "first", name="keys")
    .render_derived()
)

# A row for each key that is named, with what there is of it. The first of each namespace has that as well.
_STATE: Final = Statement(
    select(
        _KEYS.c.namespace, _KEYS.c.shard_id, TOMBSTONES.c.version, TOMBSTONES.c.owner_epoch, _MARK, *NAMESPACE, *SHARD
    )
    .select_from(_KEYS)
    .outerjoin(NAMESPACES, NAMESPACES.c.name == _KEYS.c.first)
    .outerjoin(NAMESPACE_HEADS, NAMESPACE_HEADS.c.name == NAMESPACES.c.name)
    .outerjoin(SHARDS, (SHARDS.c.namespace == _KEYS.c.namespace) & (SHARDS.c.shard_id == _KEYS.c.shard_id))
    .outerjoin(TOMBSTONES, (TOMBSTONES.c.namespace == _KEYS.c.namespace) & (TOMBSTONES.c.shard_id == _KEYS.c.shard_id))
)

_NODES: Final = Statement(NODES_OF)

_NAMESPACE: Final = slice(5, 5 + len(NAMESPACE))

_SHARD: Final = slice(5 + len(NAMESPACE), None)

_NOT_OF_SHARDS: Final = frozenset({"configuration", "configured", "node", "document_id", "document", "plans", "floor"})

# Namespaces have no commas; an array of arrays would be flattened.
_OF_CHANGES: Final[Sequence[tuple[str, str, Callable[[WriteSet], Any]]]] = tuple(
    ("of_namespaces", "text", lambda write_set: ",".join(write_set.namespaces))
    if name == "namespaces"
    else (f"of_{name}", sql_type, value)
    for name, sql_type, _, value in CHANGE_PARAMETERS
    if name not in _NOT_OF_SHARDS
)

_SEPARATOR: Final = "\x1f"
"""Of what is said of changes, which may have several lines, and no such character (`fields.text_problem`). The driver
makes arrays element by element, which took a tenth of the time of a change."""

_OF_ROWS: Final = {
    "change": "int",
    "place": "int8",
    **{name: sql_type for name, sql_type, _, _ in ROW_PARAMETERS},
    "delta_change": "int",
    **{name: sql_type for name, sql_type, _, _ in DELTA_PARAMETERS},
}

_ARGUMENTS: Final[Mapping[str, str]] = {
    "program": "CAST(:program AS text)",
    "timeline": "CAST(:timeline AS int8)",
    **{name: array_argument(name, sql_type, _SEPARATOR) for name, sql_type, _ in _OF_CHANGES},
    "of_guards": array_argument("of_guards", "text", _SEPARATOR),
    "of_count": array_argument("of_count", "int8"),
    **{name: array_argument(name, sql_type) for name, sql_type in _OF_ROWS.items()},
}

PARAMETERS: Final = tuple(_ARGUMENTS)
"""Of `commit_changes`, without `p_`."""

# In SQL, because the call must be one round trip, and its parameters are named and cast as the function has them.
_CALL: Final = Statement(
    text(
        "SELECT refused, epoch, revision, change_id, committed_at, hash FROM commit_changes("  # noqa: S608 - constants
        + ", ".join(f"p_{name} => {argument}" for name, argument in _ARGUMENTS.items())
        + ")"
    ).bindparams(*(bindparam(name, type_=BigInteger() if name == "timeline" else String()) for name in _ARGUMENTS))
)

_UNCONDITIONAL: Final = CommitConditions()

_log = logging.getLogger(__name__)


class PostgresGroup:
    """ChangeGroup, on a connection that is in no transaction: each of its statements is one."""

    def __init__(self, connection: Connection, supply: PartitionSupply, database: Database, locks: RowLocks) -> None:
        self._connection = connection
        self._supply = supply
        self._database = database
        self._locks = locks
        self._state = ReadState()
        self.limited = False

    async def limit(self, seconds: float) -> None:
        self.limited = True
        await self._set_statement_timeout(f"{seconds * 1_000:.0f}ms")

    async def unlimit(self) -> None:
        await self._set_statement_timeout(POOLED_SETTINGS["statement_timeout"])

    async def read(self, shards: Sequence[ShardKey], node_ids: Collection[str] = ()) -> ReadState:
        named: set[str] = set()
        firsts: list[str] = []
        for key in shards:
            firsts.append("" if key.namespace in named else key.namespace)
            named.add(key.namespace)
        keys = {
            "key_namespaces": "\n".join([key.namespace for key in shards]),
            "key_shard_ids": "\n".join([key.shard_id for key in shards]),
            "key_firsts": "\n".join(firsts),
        }
        rows = await _STATE.executed(self._connection, keys)
        state, marks = await offload(len(rows), _state_of, rows)
        if marks:
            self._locks.suspect_marked(marks)
        if self._locks.may_be_locked(shards):
            state = replace(state, locked=frozenset(key for key in shards if self._locks.may_be_locked([key])))
        if node_ids and any(one.policy.owners_must_be_registered for one in state.namespaces.values()):
            rows = await _NODES.executed(self._connection, {"names": list(node_ids)})
            nodes = {node.node_id: node for node in map(node_of, rows)}
            state = replace(state, nodes=nodes, nodes_read=frozenset(node_ids))
        self._state = state
        return state

    async def commit(self, changes: Sequence[tuple[ReadSet, WriteSet]]) -> Sequence[Committed | StoreError]:
        rows = sum(len(write_set.shards) for _, write_set in changes)
        parameters = await offload(rows, self._values, changes)
        try:
            with committing():
                found = await _CALL.executed(self._connection, parameters)
        except asyncpg.PostgresError as error:
            if is_locked(error):
                raise RowsLocked("another session has a row of these changes locked") from error
            if not is_missing(error):
                raise
            self._supply.missed(rows)
            raise TransientConflict("history has no partition for these revisions yet") from error
        try:
            self._supply.committed(
                max((revision for _, _, revision, *_ in found if revision is not None), default=None)
            )
            return [
                answer(write_set, _made(write_set, row[1:])) if row[0] is None else refused_by(row[0])
                for (_, write_set), row in zip(changes, found, strict=True)
            ]
        except Exception as error:
            # Raised as it is, it would stand for nothing written, and the changes be executed again.
            _log.exception("%d changes that were committed cannot be answered", len(changes))
            raise CommitUnknown("the changes were committed, and their answers could not be made") from error

    def _guards(self, changes: Sequence[tuple[ReadSet, WriteSet]]) -> list[str]:
        """Of most there are no conditions, and few namespaces: those have the same."""
        written: dict[tuple[tuple[str, ...], tuple[str, ...]], str] = {}
        found: list[str] = []
        for reads, write_set in changes:
            names = (tuple(reads.namespaces), tuple(reads.nodes))
            known = written.get(names) if write_set.conditions == _UNCONDITIONAL else None
            if known is None:
                known = json.dumps(guards(write_set, Relied([(reads, self._state)])), sort_keys=True)
                if write_set.conditions == _UNCONDITIONAL:
                    written[names] = known
            found.append(known)
        return found

    async def _set_statement_timeout(self, value: str) -> None:
        await self._connection.execute(f"SET statement_timeout = '{value}'")

    def _values(self, changes: Sequence[tuple[ReadSet, WriteSet]]) -> dict[str, Any]:
        write_sets = [write_set for _, write_set in changes]
        numbers = [number for number, each in enumerate(write_sets, 1) for _ in each.shards]
        deltas = [(number, delta) for number, each in enumerate(write_sets, 1) for delta in each.deltas]
        counts = [len(each.shards) for each in write_sets]
        columns = {
            "of_count": counts,
            "change": numbers,
            "place": [place for count in counts for place in range(count)],
            "delta_change": [number for number, _ in deltas],
        }
        return {
            "program": SCHEMA_REVISION,
            "timeline": self._database.newest_timeline,
            **{
                name: array_text(name, sql_type, list(map(value, write_sets)), _SEPARATOR)
                for name, sql_type, value in _OF_CHANGES
            },
            "of_guards": _SEPARATOR.join(self._guards(changes)),
            **{name: "\n".join(map(str, values)) for name, values in columns.items()},
            **row_values([row for each in write_sets for row in each.shards]),
            **{
                name: array_text(name, sql_type, [value(delta) for _, delta in deltas])
                for name, sql_type, _, value in DELTA_PARAMETERS
            },
        }


@asynccontextmanager
async def change_group(
    engine: AsyncEngine, supply: PartitionSupply, database: Database, locks: RowLocks
) -> AsyncIterator[PostgresGroup]:
    """As `unit_of_work`, for many changes."""
    await supply.ensure()
    with translated():
        pooled: Any = idle(engine) or await engine.raw_connection()
        connection: Connection = pooled.driver_connection
        group = PostgresGroup(connection, supply, database, locks)
        try:
            await require_own(connection)
            yield group
            if group.limited:
                await group.unlimit()
        except ANSWERED as error:
            lost = database.met(error) or connection.is_closed() or is_unsent(error)
            if lost or group.limited:
                pooled.invalidate()
            if lost:
                # It died in the pool: what was sent and not answered is CommitUnknown.
                raise TransientConflict("the connection was lost before anything was sent") from error
            raise
        except BaseException as error:
            # A statement may be under way, unless it was answered with one of these.
            if group.limited or not isinstance(error, RowsLocked | TransientConflict):
                pooled.invalidate()
            raise
        finally:
            pooled.close()


def _state_of(rows: Sequence[Any]) -> tuple[ReadState, Mapping[ShardKey, str]]:
    """With the transactions that may have shards or tombstones locked."""
    namespaces: dict[str, Namespace] = {}
    shards: dict[ShardKey, Shard] = {}
    tombstones: dict[ShardKey, Tombstone] = {}
    marks: dict[ShardKey, str] = {}
    for row in rows:
        key, namespace, shard = ShardKey(row[0], row[1]), row[_NAMESPACE], row[_SHARD]
        if namespace[0] is not None and key.namespace not in namespaces:
            namespaces[key.namespace] = namespace_of(namespace)
        if shard[0] is not None:
            shards[key] = shard_of(shard)
        elif row[2] is not None:
            tombstones[key] = Tombstone(row[2], row[3])
        if row[4] is not None:
            marks[key] = row[4]
    return ReadState(namespaces, shards, tombstones), marks


def _made(write_set: WriteSet, assigned: Sequence[Any]) -> Made:
    given = Assigned(*assigned)
    return Made(given, change_after(write_set, given), {})
