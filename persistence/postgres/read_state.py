"""What a decision is made on, read in the snapshot of its unit of work, without locks: the commit re-checks it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CursorResult,
    DateTime,
    Select,
    String,
    TableValuedAlias,
    bindparam,
    func,
    literal_column,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from persistence.commands.read_state import DecisionInputs, InputsRequired, ReadSet, ReadState, RecentMoves, StoredPlan
from persistence.handlers.rules.policies import depending_on_time, limiting_moves
from persistence.model.plans import PlanKind, RebalancePlan
from persistence.model.records import GroupKey, Namespace, Node, Shard, ShardKey, Tombstone
from persistence.offload import offload
from persistence.planning import lifecycle
from persistence.postgres.readers.keyset import nothing_passed
from persistence.postgres.readers.nodes import SELECT_NAMESPACE, SELECT_NODE, SELECT_UNCOUNTED
from persistence.postgres.readers.plans import DOCUMENT, ONE_PLAN, SELECT_PLAN, stored_proposal
from persistence.postgres.readers.scan import SHARD_AS_SENT, Timestamps, records
from persistence.postgres.rows import KEYS, PLAN_STATUS, as_arrays, namespace_of, node_of, plan_of
from persistence.postgres.tables.current import NAMESPACES, NODES, SHARDS, STREAM_HEAD, TOMBSTONES
from persistence.postgres.tables.history import CHANGES, HISTORY, MOVES, VOLUNTARY_MOVES
from persistence.postgres.tables.plans import PLAN_DOCUMENTS, PLANS

_NAMES: Final[Any] = func.any(bindparam("names", type_=ARRAY(String)))

_NAMESPACES: Final = SELECT_NAMESPACE.where(NAMESPACES.c.name == _NAMES)

NODES_OF: Final = SELECT_UNCOUNTED.where(NODES.c.node_id == _NAMES)

_COUNTED_NODES: Final = SELECT_NODE.where(NODES.c.node_id == _NAMES)

_OLDER: Final = SELECT_PLAN.where(
    PLANS.c.change_id < bindparam("older_than", type_=BigInteger),
    PLANS.c.kind == str(PlanKind.REBALANCE),
    PLANS.c.namespaces.overlap(bindparam("names", type_=PLANS.c.namespaces.type)),
    PLAN_STATUS.in_([str(status) for status in lifecycle.OPEN]),
).order_by(PLANS.c.change_id.desc())

_PLAN: Final = ONE_PLAN.add_columns(DOCUMENT).join(PLAN_DOCUMENTS, PLAN_DOCUMENTS.c.id == PLANS.c.id)

_SHARDS: Final = select(*SHARD_AS_SENT).join(
    KEYS, (SHARDS.c.namespace == KEYS.c.namespace) & (SHARDS.c.shard_id == KEYS.c.shard_id)
)

_TOMBSTONES: Final = select(
    TOMBSTONES.c.namespace, TOMBSTONES.c.shard_id, TOMBSTONES.c.version, TOMBSTONES.c.owner_epoch
).join(KEYS, (TOMBSTONES.c.namespace == KEYS.c.namespace) & (TOMBSTONES.c.shard_id == KEYS.c.shard_id))

_GROUPS: Final = (
    func.unnest(bindparam("namespaces", type_=ARRAY(String)), bindparam("names", type_=ARRAY(String)))
    .table_valued("namespace", "name", name="groups")
    .render_derived()
)

_MEMBERS: Final = select(
    SHARDS.c.namespace, SHARDS.c.anti_affinity_group, SHARDS.c.shard_id, SHARDS.c.owner_node_id, SHARDS.c.revision
).join(_GROUPS, (SHARDS.c.namespace == _GROUPS.c.namespace) & (SHARDS.c.anti_affinity_group == _GROUPS.c.name))


def _moves_of(bounded: TableValuedAlias, condition: str) -> Select[Any]:
    """Of each row of arrays how many of the moves of `condition` came after its revision `after`, counted up to `most`.

    They are read in the order of revisions, which only an index has: any number of other rows may lie between them.
    """
    bounded = bounded.render_derived()
    *names, after, most = bounded.c
    moves = (
        select(HISTORY.c.revision)
        .where(
            *(HISTORY.c[name.name] == name for name in names),
            HISTORY.c.revision > after,
            # Constants, not parameters: under a plan for any parameters they must imply what the index holds.
            literal_column(condition, Boolean),
            nothing_passed(HISTORY.c.revision),
        )
        .order_by(HISTORY.c.revision.desc())
        .limit(most)
        .correlate(bounded)
        .subquery("moves")
    )
    return select(*names, select(func.count()).select_from(moves).scalar_subquery()).select_from(bounded)


_CLOCK: Final = select(func.clock_timestamp())

# Not before the newest change: what is counted up to now must include it, whatever the clock does.
_NOW: Final = select(
    func.greatest(STREAM_HEAD.c.committed_at, func.clock_timestamp()), func.clock_timestamp(), STREAM_HEAD.c.revision
)

_WINDOWS: Final = (
    func.unnest(bindparam("begins", type_=ARRAY(DateTime(timezone=True))))
    .table_valued("begins", with_ordinality="position", name="windows")
    .render_derived()
)

# A window begins after the newest revision there was at its beginning: changes have times, their rows have revisions.
_BEGINNINGS: Final = (
    select(
        func.coalesce(
            select(CHANGES.c.head_revision)
            .where(CHANGES.c.committed_at <= _WINDOWS.c.begins)
            .order_by(CHANGES.c.committed_at.desc(), CHANGES.c.id.desc())
            .limit(1)
            .scalar_subquery(),
            0,
        )
    )
    .select_from(_WINDOWS)
    .order_by(_WINDOWS.c.position)
)

_IN: Final = bindparam("namespaces", type_=ARRAY(String))

_AFTER: Final = bindparam("afters", type_=ARRAY(BigInteger))

_MOST: Final = bindparam("most", type_=ARRAY(BigInteger))

_NAMESPACES_BOUNDED: Final = func.unnest(_IN, _AFTER, _MOST).table_valued("namespace", "after", "most")

_SHARDS_BOUNDED: Final = func.unnest(_IN, bindparam("shard_ids", type_=ARRAY(String)), _AFTER, _MOST).table_valued(
    "namespace", "shard_id", "after", "most"
)

# By whether the policy limits involuntary moves.
_OF_NAMESPACES: Final = {
    True: _moves_of(_NAMESPACES_BOUNDED, MOVES),
    False: _moves_of(_NAMESPACES_BOUNDED, VOLUNTARY_MOVES),
}

_OF_SHARDS: Final = {True: _moves_of(_SHARDS_BOUNDED, MOVES), False: _moves_of(_SHARDS_BOUNDED, VOLUNTARY_MOVES)}


class GroupMark(NamedTuple):
    """What changes whenever a group does: a shard that joins, leaves or moves changes one of the two."""

    members: int
    revision: int


async def read_state(connection: AsyncConnection, reads: ReadSet) -> ReadState:
    plan = await _plan(connection, reads.plan) if reads.plan is not None else None
    older = await _older(connection, reads.older_than, reads.namespaces) if reads.older_than is not None else ()
    nodes = await _nodes(connection, reads.nodes, counted=reads.configure) if reads.nodes else {}
    namespaces: Mapping[str, Namespace] = {}
    if reads.namespaces:
        rows = await connection.execute(_NAMESPACES, {"names": list(reads.namespaces)})
        namespaces = {row[0]: namespace_of(row) for row in rows}
    shards: Mapping[ShardKey, Shard] = {}
    if reads.shards:
        result = await connection.execute(_SHARDS, as_arrays(reads.shards))
        # The driver's rows: SQLAlchemy's own take longer than reading them did.
        found = cast("CursorResult[Any]", result).cursor.fetchall()
        shards = await offload(len(found), _by_key, found)
    missing = set(reads.shards) - shards.keys()
    tombstones = await _tombstones(connection, missing) if missing else {}
    timed = depending_on_time(namespaces.values(), reads)
    now, clock, recent = await _policy_facts(connection, timed, reads) if timed else (None, None, RecentMoves())
    return ReadState(namespaces, shards, tombstones, nodes, plan, older, now, clock, recent)


async def read_decision_inputs(
    connection: AsyncConnection, required: InputsRequired
) -> tuple[DecisionInputs, Mapping[GroupKey, GroupMark]]:
    """And the mark of each group."""
    clock = (await connection.execute(_CLOCK)).scalar_one() if required.clock else None
    rows = await connection.execute(NODES_OF, {"names": list(required.node_ids)}) if required.node_ids else ()
    groups, marks = await _groups(connection, required.groups) if required.groups else ({}, {})
    return DecisionInputs(clock, {row[0]: node_of(row) for row in rows}, groups), marks


async def _plan(connection: AsyncConnection, plan_id: str) -> StoredPlan | None:
    row = (await connection.execute(_PLAN, {"plan_id": plan_id})).one_or_none()
    if row is None:
        return None
    *plan, document = row
    return StoredPlan(plan_of(plan), await stored_proposal(plan_id, document))


def _by_key(rows: Sequence[Any]) -> Mapping[ShardKey, Shard]:
    return {shard.key: shard for shard in records(rows, Timestamps())} if rows else {}


async def _older(connection: AsyncConnection, change_id: int, names: Sequence[str]) -> tuple[RebalancePlan, ...]:
    rows = await connection.execute(_OLDER, {"older_than": change_id, "names": list(names)})
    return tuple(plan_of(row) for row in rows)


async def _nodes(connection: AsyncConnection, node_ids: Sequence[str], *, counted: bool = False) -> Mapping[str, Node]:
    rows = await connection.execute(_COUNTED_NODES if counted else NODES_OF, {"names": list(node_ids)})
    return {row[0]: node_of(row) for row in rows}


async def _tombstones(connection: AsyncConnection, missing: Collection[ShardKey]) -> Mapping[ShardKey, Tombstone]:
    rows = await connection.execute(_TOMBSTONES, as_arrays(missing))
    return {ShardKey(row[0], row[1]): Tombstone(row[2], row[3]) for row in rows}


async def _groups(
    connection: AsyncConnection, groups: Sequence[GroupKey]
) -> tuple[Mapping[GroupKey, Mapping[str, str]], Mapping[GroupKey, GroupMark]]:
    values: dict[str, Any] = {"namespaces": [key.namespace for key in groups], "names": [key.group for key in groups]}
    members: dict[GroupKey, dict[str, str]] = {key: {} for key in groups}
    newest = dict.fromkeys(groups, 0)
    for namespace, group, shard_id, owner, revision in await connection.execute(_MEMBERS, values):
        key = GroupKey(namespace, group)
        members[key][shard_id] = owner
        newest[key] = max(newest[key], revision)
    return members, {key: GroupMark(len(members[key]), newest[key]) for key in groups}


async def _policy_facts(
    connection: AsyncConnection, namespaces: Sequence[Namespace], reads: ReadSet
) -> tuple[datetime, datetime, RecentMoves]:
    """What policies that depend on time are judged by: `now`, `clock` and `recent` of the state."""
    now, clock, revision = (await connection.execute(_NOW)).one()
    limiting = limiting_moves(namespaces, reads)
    recent = await _recent(connection, limiting, clock, revision, reads.shards) if limiting else RecentMoves()
    return now, clock, recent


async def _recent(
    connection: AsyncConnection,
    namespaces: Sequence[Namespace],
    clock: datetime,
    revision: int,
    shards: Sequence[ShardKey],
) -> RecentMoves:
    # Not from `now`, which may be ahead: moves would leave the window before their time.
    begins = [clock - timedelta(seconds=namespace.policy.window_seconds) for namespace in namespaces]
    beginnings = (await connection.execute(_BEGINNINGS, {"begins": begins})).scalars()
    after = dict(zip((namespace.name for namespace in namespaces), beginnings, strict=True))
    # One more than is allowed is too many already, however many there are.
    of_all = {one.name: most + 1 for one in namespaces if (most := one.policy.window_moves) is not None}
    of_each = {one.name: most + 1 for one in namespaces if (most := one.policy.shard_window_moves) is not None}
    whole: dict[str, int] = {}
    each: dict[ShardKey, int] = {}
    for limited in (True, False):
        names = {one.name for one in namespaces if one.policy.involuntary_moves_limited is limited}
        own = {name: count for name, count in of_all.items() if name in names}
        keys = [key for key in shards if key.namespace in of_each and key.namespace in names]
        whole |= await _counted(connection, _OF_NAMESPACES[limited], own, after)
        each |= await _counted_each(connection, _OF_SHARDS[limited], keys, of_each, after)
    return RecentMoves(whole, each, revision)


async def _counted(
    connection: AsyncConnection, statement: Select[Any], most: Mapping[str, int], after: Mapping[str, int]
) -> Mapping[str, int]:
    if not most:
        return {}
    given: dict[str, Any] = {
        "namespaces": list(most),
        "afters": [after[name] for name in most],
        "most": list(most.values()),
    }
    return {row[0]: row[1] for row in await connection.execute(statement, given)}


async def _counted_each(
    connection: AsyncConnection,
    statement: Select[Any],
    shards: Sequence[ShardKey],
    most: Mapping[str, int],
    after: Mapping[str, int],
) -> Mapping[ShardKey, int]:
    if not shards:
        return {}
    given: dict[str, Any] = {
        "namespaces": [key.namespace for key in shards],
        "shard_ids": [key.shard_id for key in shards],
        "afters": [after[key.namespace] for key in shards],
        "most": [most[key.namespace] for key in shards],
    }
    return {ShardKey(row[0], row[1]): row[2] for row in await connection.execute(statement, given)}
