"""Rows to records: the columns each record is read from, and how.

Columns of tables, not attributes of mapped classes: SQLAlchemy then answers with plain rows and leaves its object
bookkeeping out, which costs more than the query.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    String,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
)

from persistence.codec.images import read_image
from persistence.codec.json_documents import read_details, read_policy
from persistence.model.drafts import new_shard
from persistence.model.plans import PlanKind, PlanStatus, RebalancePlan
from persistence.model.records import (
    Change,
    ChangeKind,
    DiffKind,
    MoveReason,
    Namespace,
    Node,
    NodeStatus,
    Pin,
    Refusal,
    Shard,
    ShardDiff,
    ShardKey,
    ShardStatus,
)
from persistence.planning import lifecycle
from persistence.postgres.tables.current import NAMESPACE_HEADS, NAMESPACES, NODES, SHARDS
from persistence.postgres.tables.history import CHANGES, HISTORY, REFUSALS
from persistence.postgres.tables.plans import PLANS

_PIN: Final = tuple(f"pinned_{member.name}" for member in fields(Pin))


def columns_of(record: type) -> Iterator[str]:
    """The columns that hold a record, in the order of its fields: a pin has one for each of its own."""
    for member in fields(record):
        yield from _PIN if member.name == "pinned" else (member.name,)


SHARD: Final = tuple(SHARDS.c[name] for name in columns_of(Shard))

# Two arrays however many shards there are: one statement, prepared once, for any number of them.
KEYS: Final = (
    func.unnest(bindparam("key_namespaces", type_=ARRAY(String)), bindparam("key_shard_ids", type_=ARRAY(String)))
    .table_valued("namespace", "shard_id", name="keys")
    .render_derived()
)

HALVES: Final = struct.Struct(">qq")
"""A 128-bit value as two signed 64-bit halves, the high one first. Its bytes in hex are how a digest is written."""

_DIGEST: Final = (NAMESPACE_HEADS.c.digest_high, NAMESPACE_HEADS.c.digest_low)

_COUNTED: Final = {
    "digest": _DIGEST,
    "shard_count": (NAMESPACE_HEADS.c.shard_count,),
    "revision": (NAMESPACE_HEADS.c.revision,),
}

NAMESPACE: Final = tuple(
    column for member in fields(Namespace) for column in _COUNTED.get(member.name) or (NAMESPACES.c[member.name],)
)


def _count_of(column: ColumnElement[Any]) -> ColumnElement[int]:
    """Of the shards that have a node in this column."""
    return select(func.count()).where(column == NODES.c.node_id).correlate(NODES).scalar_subquery()


def _node_columns(shard_count: ColumnElement[int], leader_count: ColumnElement[int]) -> tuple[ColumnElement[Any], ...]:
    counts = {"shard_count": shard_count, "leader_count": leader_count}
    names = (member.name for member in fields(Node))
    return tuple(counts[name].label(name) if name in counts else NODES.c[name] for name in names)


NODE: Final = _node_columns(_count_of(SHARDS.c.owner_node_id), _count_of(SHARDS.c.leader_id))

# Counting reads the index of every shard that the node owns or leads: left out where no count is shown.
NODE_UNCOUNTED: Final = _node_columns(literal_column("0", Integer()), literal_column("0", Integer()))

CHANGE: Final = (
    CHANGES.c.id,
    CHANGES.c.kind,
    CHANGES.c.actor,
    CHANGES.c.reason,
    CHANGES.c.change_ticket,
    CHANGES.c.metadata,
    CHANGES.c.namespaces,
    CHANGES.c.head_revision,
    CHANGES.c.shard_count,
    CHANGES.c.committed_at,
    CHANGES.c.hash,
    CHANGES.c.configuration,
    CHANGES.c.forced,
)

REFUSAL: Final = tuple(REFUSALS.c[member.name] for member in fields(Refusal))

CREATING: Final = CHANGES.alias("creating")

APPROVING: Final = CHANGES.alias("approving")

LATEST: Final = CHANGES.alias("latest")

PLAN_STATUS: Final = case(
    (PLANS.c.move_count == 0, literal(str(PlanStatus.NOTHING_TO_DO), Text())),
    (
        and_(
            or_(*(PLANS.c.status == str(status) for status in lifecycle.EXPIRING)),
            PLANS.c.expires_at <= func.statement_timestamp(),
        ),
        literal(str(PlanStatus.EXPIRED), Text()),
    ),
    else_=PLANS.c.status,
)
"""The status that a plan has by the database's clock when the statement begins: no change is committed when it
expires, and one without moves is stored as PROPOSED. One time for all of a statement, or a list of the plans that are
open could show one that has expired."""

PLAN: Final = (
    PLANS.c.id,
    PLAN_STATUS.label("status"),
    PLANS.c.base_revision,
    PLANS.c.namespaces,
    PLANS.c.move_count,
    PLANS.c.shard_count,
    PLANS.c.expires_at,
    PLANS.c.moves_made,
    PLANS.c.kind,
    *(CREATING.c[column.name] for column in CHANGE),
    *(LATEST.c[column.name] for column in CHANGE),
    *(APPROVING.c[column.name] for column in CHANGE),
)

# As text: the image is parsed once, by us, and its bytes are what the audit hash covers.
DIFF: Final = (
    HISTORY.c.revision,
    HISTORY.c.kind,
    HISTORY.c.namespace,
    HISTORY.c.shard_id,
    HISTORY.c.version,
    HISTORY.c.changed_fields,
    HISTORY.c.previous_revision,
    HISTORY.c.previous_updated_at,
    HISTORY.c.created_at,
    cast(HISTORY.c.previous, Text).label("previous"),
    cast(HISTORY.c.current, Text).label("current"),
    HISTORY.c.move_reason,
)


# Where in a row those stand that a record has otherwise than the table. Status and pin stand side by side.
_STATUS: Final = SHARD.index(SHARDS.c.status)

_PINNED: Final = _STATUS + 1

_HALVES: Final = NAMESPACE.index(NAMESPACE_HEADS.c.digest_high)

_NODE_STATUS: Final = NODE.index(NODES.c.status)


def shard_of(row: Sequence[Any]) -> Shard:
    """From columns in the order of SHARD."""
    by, reason, until = row[_PINNED : _PINNED + 3]
    pin = None if by is None else Pin(by, reason, until)
    return new_shard(*row[:_STATUS], ShardStatus(row[_STATUS]), pin, *row[_PINNED + 3 :])


def as_arrays(shards: Collection[ShardKey]) -> dict[str, list[str]]:
    """The parameters of a statement over KEYS."""
    return {"key_namespaces": [key.namespace for key in shards], "key_shard_ids": [key.shard_id for key in shards]}


def namespace_of(row: Sequence[Any]) -> Namespace:
    """From columns in the order of NAMESPACE."""
    high, low = row[_HALVES : _HALVES + 2]
    *counted, policy = row[_HALVES + 2 :]
    return Namespace(*(*row[:_HALVES], HALVES.pack(high, low).hex(), *counted, read_policy(policy)))


def node_of(row: Sequence[Any]) -> Node:
    """From columns in the order of NODE, or of NODE_UNCOUNTED."""
    return Node(*(*row[:_NODE_STATUS], NodeStatus(row[_NODE_STATUS]), *row[_NODE_STATUS + 1 :]))


def plan_of(row: Sequence[Any]) -> RebalancePlan:
    """From columns in the order of PLAN."""
    id_, status, base_revision, namespaces, move_count, shard_count, expires_at, moves_made, kind, *changes = row
    size = len(CHANGE)
    created, latest, approved = changes[:size], changes[size : 2 * size], changes[2 * size :]
    return RebalancePlan(
        id_,
        PlanStatus(status),
        base_revision,
        tuple(namespaces),
        move_count,
        shard_count,
        change_of(created),
        expires_at,
        change_of(latest),
        None if approved[0] is None else change_of(approved),
        moves_made,
        PlanKind(kind),
    )


def change_of(row: Sequence[Any]) -> Change:
    """From columns in the order of CHANGE."""
    id_, kind, actor, reason, ticket, metadata, namespaces, head, count, committed_at, hash_, details, forced = row
    configuration, rebalance, compaction = (None, None, None) if details is None else read_details(details)
    return Change(
        id_,
        ChangeKind(kind),
        actor,
        reason,
        ticket,
        metadata,
        tuple(namespaces),
        head - count + 1 if count else None,
        head if count else None,
        count,
        committed_at,
        hash_.hex(),
        configuration,
        rebalance,
        compaction,
        forced,
    )


def refusal_of(row: Sequence[Any]) -> Refusal:
    """From columns in the order of REFUSAL."""
    id_, kind, actor, reason, ticket, namespaces, *rest, hash_ = row
    return Refusal(*(id_, ChangeKind(kind), actor, reason, ticket, tuple(namespaces), *rest, hash_.hex()))


def diff_of(row: Sequence[Any], change: Change) -> ShardDiff:
    """From columns in the order of DIFF."""
    revision, kind, namespace, shard_id, version, changed, previous_revision, previous_at, created_at, *rest = row
    previous, current, move_reason = rest
    return ShardDiff(
        revision,
        DiffKind(kind),
        namespace,
        shard_id,
        version,
        tuple(changed),
        None if previous is None else read_image(previous, previous_revision, created_at, previous_at),
        None if current is None else read_image(current, revision, created_at, change.committed_at),
        change,
        None if move_reason is None else MoveReason(move_reason),
    )


class Diffs:
    """Diffs from rows of DIFF followed by CHANGE. Rows of one change share one Change: the first of them must name it,
    the others may leave the columns of CHANGE null."""

    def __init__(self) -> None:
        self.diffs: list[ShardDiff] = []
        self._changes: dict[int, Change] = {}
        self._newest: Change | None = None

    def add(self, row: tuple[Any, ...]) -> None:
        change = self._change(row)
        self.diffs.append(diff_of(row[: len(DIFF)], change))

    def _change(self, row: tuple[Any, ...]) -> Change:
        change_id = row[len(DIFF)]
        change = self._newest if change_id is None else self._changes.get(change_id)
        if change is None:
            change = change_of(row[len(DIFF) :])
            self._changes[change.id] = change
        self._newest = change
        return change


def diffs_of(rows: Iterable[Sequence[Any]]) -> list[ShardDiff]:
    """From rows of DIFF followed by CHANGE."""
    read = Diffs()
    for row in rows:
        read.add(tuple(row))
    return read.diffs
