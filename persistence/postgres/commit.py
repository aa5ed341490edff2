"""The commit of one unit of work: one call of the function `commit_change` (migration 0008), and what it returns.

Everything from taking the stream head to the commit itself happens in that call, so the head is never held while this
process delays others. What can be computed beforehand (checksums, images, digests) comes as parameters; only what the
head assigns is computed there. The call is the same for one shard and for ten thousand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import orjson
from sqlalchemy import ARRAY, BigInteger, DateTime, Double, LargeBinary, String, bindparam, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from persistence.codec.encoding import encode
from persistence.commands.read_state import ReadSet, ReadState
from persistence.commands.write_set import NamespaceDelta, NamespaceWrite, NodeWrite, ShardWrite, WriteSet
from persistence.errors import Fenced, SchemaOutOfDate, TransientConflict
from persistence.model.records import (
    MARK_BYTES,
    Change,
    ChangeMark,
    GroupKey,
    Namespace,
    Node,
    NodeStatus,
    ShardContent,
    ShardKey,
    StreamPosition,
)
from persistence.offload import offload
from persistence.postgres.driver_errors import first_line
from persistence.postgres.engine import committing
from persistence.postgres.read_state import GroupMark
from persistence.postgres.rows import HALVES, columns_of
from persistence.postgres.stream import schema_outdated
from persistence.postgres.tables.current import SCHEMA_REVISION, SHARDS

_REFUSED: Final = "OR001"
"""By which the call is undone if it is refused once it has written the document of a plan; the message is the guard."""

CHANNEL: Final = "omnirelay_shards"

T = TypeVar("T")

Parameter: TypeAlias = tuple[str, str, TypeEngine[Any], Callable[[T], Any]]
"""Of `commit_change`: its name without `p_`, its type in SQL and in SQLAlchemy, and its value of what is written."""


def idempotency_digest(actor: str, idempotency_key: str) -> bytes:
    """What an idempotency key is found by: SHA-256 of it and the actor it belongs to."""
    return hashlib.sha256(encode("omnirelay.idempotency.v1", actor, idempotency_key)).digest()


class Relied(NamedTuple):
    """What a decision was made on: each read set with the state it found, and the groups that were read."""

    reads: Sequence[tuple[ReadSet, ReadState]] = ()
    groups: Mapping[GroupKey, GroupMark] = {}


class Assigned(NamedTuple):
    """What the stream head gave this change. `revision` is that of its last shard change."""

    epoch: str
    revision: int
    change_id: int
    committed_at: datetime
    hash: bytes

    @property
    def position(self) -> StreamPosition:
        """Of a change that made a revision."""
        return StreamPosition(self.epoch, self.revision, ChangeMark(self.change_id, self.hash[:MARK_BYTES]))


class Made(NamedTuple):
    """A change that was committed. `counted` is what the store follows up by itself of a namespace or a node."""

    assigned: Assigned
    change: Change
    counted: Mapping[str, Any]


def _claim(write_set: WriteSet) -> bytes | None:
    request = write_set.request
    return None if request.idempotency_key is None else idempotency_digest(request.actor, request.idempotency_key)


def _plans(write_set: WriteSet) -> str | None:
    plans: list[Mapping[str, Any]] = [
        {
            "id": write.previous.id,
            "status": write.status,
            "moves_made": write.moves_made,
            "lifetime": None if write.lifetime is None else write.lifetime.total_seconds(),
        }
        for write in write_set.plans
    ]
    if (proposal := write_set.proposal) is not None:
        plans.append(
            {
                "id": proposal.id,
                "kind": proposal.kind,
                "base_revision": proposal.base_revision,
                "namespaces": list(write_set.namespaces),
                "move_count": len(proposal.moves),
                "shard_count": proposal.shard_count,
                "status": "PROPOSED",
                "lifetime": write_set.lifetime.total_seconds(),
            }
        )
    return json.dumps(plans) if plans else None


_T: Final = String()

_I: Final = BigInteger()

_AT: Final = DateTime(timezone=True)

_BYTES: Final = LargeBinary()

_TYPES: Final[Mapping[type, tuple[str, TypeEngine[Any]]]] = {
    str: ("text", _T),
    int: ("int8", _I),
    float: ("float8", Double()),
    datetime: ("timestamptz", _AT),
}
"""The types of a parameter for a column of these values."""


def _content_of(column: str) -> Callable[[ShardWrite], Any]:
    if column.startswith("pinned_"):
        member = attrgetter(column.removeprefix("pinned_"))
        return lambda write: None if write.content.pinned is None else member(write.content.pinned)
    return attrgetter(f"content.{column}")


def _previous_of(column: str) -> Callable[[ShardWrite], Any]:
    value = attrgetter(column)
    return lambda write: None if write.previous is None else value(write.previous)


def _of_shard(column: str, value: Callable[[ShardWrite], Any], name: str | None = None) -> Parameter[ShardWrite]:
    return name or column, *_TYPES[SHARDS.c[column].type.python_type], value


# A column of the content is added to the table and the record, and to the function by a migration, and not here.
ROW_PARAMETERS: Final[Sequence[Parameter[ShardWrite]]] = (
    ("kind", "text", _T, attrgetter("kind")),
    *(_of_shard(name, attrgetter(f"key.{name}")) for name in ShardKey._fields),
    *(_of_shard(name, _content_of(name)) for name in columns_of(ShardContent)),
    *(_of_shard(name, attrgetter(name)) for name in ("version", "owner_epoch", "checksum")),
    # An array of arrays would be flattened; field names have no commas.
    ("changed_fields", "text", _T, lambda write: ",".join(write.changed_fields)),
    _of_shard("owner_node_id", _previous_of("owner_node_id"), "previous_owner"),
    _of_shard("revision", _previous_of("revision"), "previous_revision"),
    _of_shard("updated_at", _previous_of("updated_at"), "previous_updated_at"),
    _of_shard("created_at", _previous_of("created_at")),
    ("previous", "text", _T, attrgetter("previous_image")),
    ("current", "text", _T, attrgetter("current_image")),
    ("move_reason", "text", _T, attrgetter("move_reason")),
)

DELTA_PARAMETERS: Final[Sequence[Parameter[NamespaceDelta]]] = (
    ("delta_name", "text", _T, lambda delta: delta.namespace),
    ("delta_high", "int8", _I, lambda delta: HALVES.unpack(delta.digest.to_bytes(16))[0]),
    ("delta_low", "int8", _I, lambda delta: HALVES.unpack(delta.digest.to_bytes(16))[1]),
    ("delta_count", "int8", _I, lambda delta: delta.shard_count),
)

CHANGE_PARAMETERS: Final[Sequence[Parameter[WriteSet]]] = (
    ("change_kind", "text", _T, lambda write_set: str(write_set.kind)),
    ("actor", "text", _T, lambda write_set: write_set.request.actor),
    ("reason", "text", _T, lambda write_set: write_set.request.reason),
    ("ticket", "text", _T, lambda write_set: write_set.request.change_ticket),
    ("metadata", "text", _T, lambda write_set: write_set.metadata_json),
    ("namespaces", "text[]", ARRAY(_T), lambda write_set: list(write_set.namespaces)),
    ("configuration", "text", _T, lambda write_set: write_set.details_json),
    ("idempotency_key", "text", _T, lambda write_set: write_set.request.idempotency_key),
    ("idempotency_digest", "bytea", _BYTES, _claim),
    ("request_digest", "bytea", _BYTES, lambda write_set: write_set.request_digest),
    ("content_digest", "bytea", _BYTES, lambda write_set: write_set.content_digest),
    ("forced", "text", _T, lambda write_set: write_set.request.forced),
    ("decided_at", "timestamptz", _AT, lambda write_set: write_set.conditions.decided_at),
    ("configured", "jsonb", _T, lambda write_set: write_set.namespace and _configured(write_set.namespace)),
    ("node", "jsonb", _T, lambda write_set: write_set.node and _node(write_set.node)),
    ("document_id", "text", _T, lambda write_set: write_set.proposal and write_set.proposal.id),
    ("document", "text", _T, lambda write_set: write_set.proposal and write_set.proposal.document),
    ("plans", "jsonb", _T, _plans),
    ("floor", "int8", _I, lambda write_set: write_set.compaction and write_set.compaction.floor),
)

_BESIDE: Final[Sequence[tuple[str, str, TypeEngine[Any]]]] = (
    ("program", "text", _T),
    ("timeline", "int8", _I),
    ("guards", "jsonb", _T),
    ("steps", "text[]", ARRAY(_T)),
)

_ANY_TEXT: Final = frozenset({"change_ticket", "pinned_by", "pinned_reason", "changed_fields", "of_idempotency_key"})
"""Columns of rows or changes that may have anything in them, or be empty and not null."""


def array_argument(name: str, sql_type: str, separator: str = "\n") -> str:
    """An array in the call, which is given as one text, see `array_text`."""
    if name in _ANY_TEXT:
        return f"ARRAY(SELECT json_array_elements_text(CAST(:{name} AS json)))"
    return f"CAST(string_to_array(:{name}, chr({ord(separator)}), '') AS {sql_type}[])"


def row_values(writes: Sequence[ShardWrite]) -> Mapping[str, str]:
    """Columns of rows as texts."""
    return {
        name: array_text(name, sql_type, [value(write) for write in writes])
        for name, sql_type, _, value in ROW_PARAMETERS
    }


def array_text(name: str, sql_type: str, values: Sequence[Any], separator: str = "\n") -> str:
    """An array as a text: values with `separator` between them, or JSON. One of nulls is empty, as `unnest` fills up
    with nulls. Raises ValueError for a value that has the separator in it.

    The driver makes arrays element by element, on the event loop: 250,000 of them, of a change of ten thousand shards,
    took it 95 ms. Texts it copies, and the database takes no longer for the one than for the other.
    """
    nulls = values.count(None)
    if nulls == len(values):
        return "[]" if name in _ANY_TEXT else ""
    if name in _ANY_TEXT:
        return orjson.dumps(values).decode()
    if sql_type == "timestamptz":
        # Few differ.
        written = {value: value.isoformat() for value in set(values) if value is not None}
        return separator.join([written.get(value, "") for value in values])
    if sql_type == "bytea":
        return separator.join(["" if value is None else f"\\x{value.hex()}" for value in values])
    if nulls:
        values = ["" if value is None else value for value in values]
    joined = separator.join(values if sql_type == "text" else map(str, values))
    if joined.count(separator) != len(values) - 1:
        raise ValueError(f"{name} has what separates values: it would be taken for those of two")
    return joined


PARAMETERS: Final[Sequence[tuple[str, str, TypeEngine[Any]]]] = (
    *((name, f"{sql_type}[]", _T) for name, sql_type, _, _ in ROW_PARAMETERS),
    *((name, f"{sql_type}[]", ARRAY(type_)) for name, sql_type, type_, _ in DELTA_PARAMETERS),
    *((name, sql_type, type_) for name, sql_type, type_, _ in CHANGE_PARAMETERS),
    *_BESIDE,
)

_ROW_ARGUMENTS: Final = {name: array_argument(name, sql_type) for name, sql_type, _, _ in ROW_PARAMETERS}

# In SQL, because the call must be one round trip, and its parameters are named and cast as the function has them.
_CALL: Final = text(
    "SELECT refused, epoch, revision, change_id, committed_at, hash, counted FROM commit_change("  # noqa: S608 - constants
    + ", ".join(
        f"p_{name} => {_ROW_ARGUMENTS.get(name) or f'CAST(:{name} AS {sql_type})'}" for name, sql_type, _ in PARAMETERS
    )
    + ")"
).bindparams(*(bindparam(name, type_=type_) for name, _, type_ in PARAMETERS))


async def commit(
    connection: AsyncConnection,
    write_set: WriteSet,
    relied: Relied,
    *,
    timeline: int = 0,
    steps: Sequence[str] | None = None,
) -> Made:
    """Make the call, on a connection that is in no transaction, and so commit.

    `timeline` is the newest one that this process has seen; `steps` are statements that are executed once the head is
    held, before anything is written. Raises TransientConflict where something that the decision relied on has changed
    since, SchemaOutOfDate and Fenced where this program may not write to this database: then nothing was written.
    Raises CommitUnknown where the call was not answered, and what SQLAlchemy raises else.
    """
    parameters = await offload(len(write_set.shards), _values, write_set, relied)
    parameters |= {"program": SCHEMA_REVISION, "timeline": timeline}
    parameters["steps"] = None if steps is None else list(steps)
    try:
        with committing():
            refused, *assigned, counted = (await connection.execute(_CALL, parameters)).one()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _REFUSED:
            raise
        raise refused_by(first_line(getattr(error.orig, "__cause__", None))) from error
    if refused is not None:
        raise refused_by(refused)
    given = Assigned(*assigned)
    return Made(given, change_after(write_set, given), counted or {})


def _values(write_set: WriteSet, relied: Relied) -> dict[str, Any]:
    values: dict[str, Any] = {name: value(write_set) for name, _, _, value in CHANGE_PARAMETERS}
    values |= row_values(write_set.shards)
    values |= {name: [value(delta) for delta in write_set.deltas] for name, _, _, value in DELTA_PARAMETERS}
    values["guards"] = json.dumps(guards(write_set, relied))
    return values


def guards(write_set: WriteSet, relied: Relied) -> Mapping[str, Any]:
    """What must still be so once the head is held, as `broken_guard` reads it. What was absent has the version null.

    The shards that are written need no guard: their versions follow from those that are given to them.
    """
    conditions = write_set.conditions
    removed = write_set.node.node_id if write_set.node and write_set.node.status is NodeStatus.REMOVED else None
    found: dict[str, Any] = {
        "frozenFrom": conditions.frozen_from and conditions.frozen_from.isoformat(),
        "expiresAt": conditions.expires_at and conditions.expires_at.isoformat(),
        "fewestShards": dict(conditions.fewest_shards),
        "movesLeft": dict(conditions.moves_left),
        "voluntaryMovesLeft": dict(conditions.voluntary_moves_left),
        "revision": conditions.counted_to,
        "ownsNone": removed,
        "leadsNone": removed,
        "namespaces": dict(_versions((reads.namespaces, state.namespaces) for reads, state in relied.reads)),
        "nodes": dict(_versions((reads.nodes, state.nodes) for reads, state in relied.reads)),
        "plans": dict(_plan_changes(relied)),
        "groups": [
            {"namespace": key.namespace, "name": key.group, "members": mark.members, "revision": mark.revision}
            for key, mark in relied.groups.items()
        ],
    }
    if not write_set.shards:
        found["shards"] = [
            {"namespace": key.namespace, "shard_id": key.shard_id, "version": shard.version if shard else None}
            for reads, state in relied.reads
            for key, shard in ((key, state.shards.get(key)) for key in reads.shards)
        ]
    return {name: value for name, value in found.items() if value}


def _versions(
    read: Iterable[tuple[Sequence[str], Mapping[str, Namespace] | Mapping[str, Node]]],
) -> Iterable[tuple[str, int | None]]:
    for names, state in read:
        for name in names:
            member = state.get(name)
            yield name, None if member is None else member.version


def _plan_changes(relied: Relied) -> Iterable[tuple[str, int | None]]:
    for reads, state in relied.reads:
        if reads.plan is not None:
            yield reads.plan, None if state.plan is None else state.plan.plan.latest.id
        for older in state.older:
            yield older.id, older.latest.id


def refused_by(guard: str) -> TransientConflict | SchemaOutOfDate | Fenced:
    if guard == "schema":
        return schema_outdated()
    if guard == "timeline":
        return Fenced("the database is on an older timeline than one that was seen before: an old primary came back")
    return TransientConflict(f"the {guard} that this change was decided on changed before it was committed")


def _configured(write: NamespaceWrite) -> str:
    return json.dumps({"name": write.name, **write.configuration.current})


def _node(write: NodeWrite) -> str:
    return json.dumps({"nodeId": write.node_id, "changeTicket": write.change_ticket, **write.configuration.current})


def change_after(write_set: WriteSet, assigned: Assigned) -> Change:
    request = write_set.request
    count = len(write_set.shards)
    return Change(
        assigned.change_id,
        write_set.kind,
        request.actor,
        request.reason,
        request.change_ticket,
        request.kept_metadata,
        write_set.namespaces,
        assigned.revision - count + 1 if count else None,
        assigned.revision if count else None,
        count,
        assigned.committed_at,
        assigned.hash.hex(),
        write_set.configuration,
        write_set.rebalance,
        write_set.compaction,
        request.forced,
    )
