"""A commit, as a function from the tables before to the tables after."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from persistence.codec import hash_chain
from persistence.codec.encoding import EMPTY_DIGEST, format_digest
from persistence.commands.read_state import StoredPlan
from persistence.commands.write_set import (
    CommitConditions,
    NamespaceDelta,
    NamespaceWrite,
    ShardWrite,
    WriteSet,
    proposed,
)
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
from persistence.model.records import (
    INVOLUNTARY,
    Change,
    ChangeKind,
    DiffKind,
    Namespace,
    Node,
    Shard,
    ShardDiff,
    ShardKey,
    Tombstone,
)
from tests.reference.tables import Tables


def committed(tables: Tables, write_set: WriteSet, now: datetime) -> tuple[Tables, Committed]:
    """The tables with `write_set` in them, and its answer. Raises TransientConflict if a condition does not hold."""
    change = _change(tables, write_set, now)
    _require(write_set.conditions, tables, change)
    rows = tuple(_rows(write_set, change))
    after = replace(
        tables,
        namespaces=_namespaces(tables, write_set, change),
        shards=_shards(tables, rows),
        tombstones=_tombstones(tables, write_set.shards),
        registered=_nodes(tables, write_set, change),
        plans=_plans(tables, write_set, change),
        revision=change.last_revision or tables.revision,
        history=tables.history + rows,
        changes=(*tables.changes, change),
        digests=(*tables.digests, write_set.content_digest),
    )
    answer = _answer(after, write_set, change)
    key = write_set.request.idempotency_key
    if key is None or write_set.request_digest is None:
        return after, answer
    claimed = {(write_set.request.actor, key): (write_set.request_digest, answer)}
    return replace(after, answers={**tables.answers, **claimed}), answer


def _change(tables: Tables, write_set: WriteSet, now: datetime) -> Change:
    last = tables.changes[-1] if tables.changes else None
    change_id = len(tables.changes) + 1
    committed_at = max(now, last.committed_at if last else now, write_set.conditions.decided_at or now)
    shard_count = len(write_set.shards)
    head = tables.head.revision + shard_count
    link = hash_chain.chain_hash(
        bytes.fromhex(last.hash) if last else hash_chain.GENESIS,
        change_id,
        head,
        shard_count,
        committed_at,
        write_set.content_digest,
    )
    request = write_set.request
    metadata = write_set.metadata_json
    return Change(
        change_id,
        write_set.kind,
        request.actor,
        request.reason,
        request.change_ticket,
        None if metadata is None else json.loads(metadata),
        write_set.namespaces,
        tables.head.revision + 1 if shard_count else None,
        head if shard_count else None,
        shard_count,
        committed_at,
        link.hex(),
        write_set.configuration,
        write_set.rebalance,
        write_set.compaction,
        request.forced,
    )


def _require(conditions: CommitConditions, tables: Tables, change: Change) -> None:
    """Raises TransientConflict."""
    since = tables.between(conditions.counted_to, tables.revision)
    moves = Counter(row.namespace for row in since if row.moves)
    voluntary = Counter(row.namespace for row in since if row.moves and row.move_reason not in INVOLUNTARY)
    fewest = conditions.fewest_shards.items()
    expires_at = conditions.expires_at
    broken = (
        ("plans", expires_at is not None and change.committed_at >= expires_at),
        ("freezes", conditions.frozen_from is not None and change.committed_at >= conditions.frozen_from),
        ("number of shards", any(tables.namespaces[name].shard_count < count for name, count in fewest)),
        ("moves", any(moves[name] > left for name, left in conditions.moves_left.items())),
        ("moves", any(voluntary[name] > left for name, left in conditions.voluntary_moves_left.items())),
    )
    for what, is_broken in broken:
        if is_broken:
            raise TransientConflict(f"the {what} that this change was decided on changed before it was committed")


def _rows(write_set: WriteSet, change: Change) -> Iterator[ShardDiff]:
    for revision, write in enumerate(write_set.shards, change.first_revision or 0):
        yield ShardDiff(
            revision,
            write.kind,
            *write.key,
            write.version,
            write.changed_fields,
            write.previous,
            None if write.kind is DiffKind.DELETED else write.committed(revision, change.committed_at),
            change,
            write.move_reason,
        )


def _shards(tables: Tables, rows: Iterable[ShardDiff]) -> Mapping[ShardKey, Shard]:
    table = {**tables.shards, **{row.key: row.current for row in rows}}
    return {key: shard for key, shard in table.items() if shard is not None}


def _tombstones(tables: Tables, rows: Iterable[ShardWrite]) -> Mapping[ShardKey, Tombstone]:
    tombstones = dict(tables.tombstones)
    for row in rows:
        if row.kind is DiffKind.DELETED:
            tombstones[row.key] = Tombstone(row.version, row.owner_epoch)
        else:
            tombstones.pop(row.key, None)
    return tombstones


def _namespaces(tables: Tables, write_set: WriteSet, change: Change) -> Mapping[str, Namespace]:
    namespaces = dict(tables.namespaces)
    for delta in write_set.deltas:
        namespaces[delta.namespace] = _moved(namespaces[delta.namespace], delta, change)
    if write_set.namespace is not None:
        namespaces[write_set.namespace.name] = _configured(write_set.namespace, change.committed_at)
    return namespaces


def _moved(namespace: Namespace, delta: NamespaceDelta, change: Change) -> Namespace:
    return replace(
        namespace,
        digest=format_digest(int(namespace.digest, 16) ^ delta.digest),
        shard_count=namespace.shard_count + delta.shard_count,
        revision=change.last_revision or namespace.revision,
    )


def _configured(write: NamespaceWrite, committed_at: datetime) -> Namespace:
    before = write.previous
    return Namespace(
        write.name,
        write.strategy,
        write.strategy_parameters,
        write.algorithm_version,
        write.parameters_digest,
        write.version,
        before.digest if before else EMPTY_DIGEST,
        before.shard_count if before else 0,
        before.revision if before else 0,
        before.created_at if before else committed_at,
        committed_at,
        write.policy,
    )


def _nodes(tables: Tables, write_set: WriteSet, change: Change) -> Mapping[str, Node]:
    if write_set.node is None:
        return tables.registered
    node_id = write_set.node.node_id
    node = write_set.node.committed(tables.owned(node_id), tables.led(node_id), change.committed_at)
    return {**tables.registered, node.node_id: node}


def _plans(tables: Tables, write_set: WriteSet, change: Change) -> Mapping[str, StoredPlan]:
    plans = dict(tables.plans)
    if (proposal := write_set.proposal) is not None:
        plans[proposal.id] = StoredPlan(proposed(proposal, change, write_set.lifetime), proposal)
    for write in write_set.plans:
        plan = write.committed(change)
        plans[plan.id] = replace(plans[plan.id], plan=plan)
    return plans


def _answer(tables: Tables, write_set: WriteSet, change: Change) -> Committed:
    if write_set.namespace is not None:
        return NamespaceConfigured(change, tables.namespaces[write_set.namespace.name])
    if write_set.node is not None:
        return NodeChanged(change, tables.registered[write_set.node.node_id])
    if write_set.rebalance is not None:
        plan = tables.plans[write_set.rebalance.plan_id].plan
        if write_set.kind in (ChangeKind.PLAN_REBALANCE, ChangeKind.ROLLBACK_CHANGE):
            return PlanProposed(change, plan)
        if write_set.kind is ChangeKind.APPLY_PLAN:
            return PlanApplied(change, plan, tables.head.position)
        return PlanChanged(change, plan)
    first = change.first_revision or 0
    shards = (write.committed(first + index, change.committed_at) for index, write in enumerate(write_set.shards))
    return ShardsChanged(change, tuple(shards), tables.head.position)
