"""What takes changes back: the moves that give each shard what it had before them, and the shards it leaves alone.

Nothing that came later is overwritten. Creating and deleting are not taken back: a shard that others may use by now
does not vanish, and one that was deleted does not come back, without a command for that very shard.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from persistence.model.plans import ConflictReason
from persistence.model.records import Change, DiffKind, MoveReason, Node, NodeStatus, Shard, ShardDiff, ShardKey
from persistence.planning.namespaces import placer_of
from persistence.planning.planner import node_loads, planned_namespaces, planned_nodes
from persistence.planning.proposal import Conflict, Move, Proposal, Restored, Rollback, Violation, inputs_digest
from persistence.planning.schedule import schedule
from persistence.planning.snapshot import PlacementSnapshot, snapshot_inputs
from strategies.registry import Registry

MAX_CONFLICTS: Final = 10_000
"""Listed in one plan."""


def compensating_moves(
    what: Rollback,
    rows: Iterable[ShardDiff],
    current: Mapping[ShardKey, Shard],
    last_changes: Mapping[ShardKey, Change],
    snapshot: PlacementSnapshot,
    strategies: Registry,
    *,
    max_moves: int,
) -> Proposal:
    """The proposal that undoes `rows`, which are history in order. `what` names the changes whose rows they are.

    `current` has the shards that are there, `last_changes` the newest change of each that is not as `rows` left it, and
    `snapshot` the namespaces they are in. Owner, leader, capacity, locality and status are given back; pins are
    decisions of their own, and the ticket is that of the change that applies the plan. A leader whose node may not be
    given shards is not given back, which is a violation of the proposal where anything else is.
    """
    histories: dict[ShardKey, list[ShardDiff]] = defaultdict(list)
    for row in rows:
        histories[row.key].append(row)
    nodes = {node.node_id: node for node in snapshot.nodes}
    pinned = {ShardKey(name, one.shard_id) for name, shards in snapshot.shards.items() for one in shards if one.pinned}
    moves: list[Move] = []
    conflicts: list[Conflict] = []
    unchanged = 0
    for key in sorted(histories):
        found = _undone(histories[key], current.get(key), last_changes.get(key), nodes, pinned=key in pinned)
        if isinstance(found, Move):
            moves.append(found)
        elif isinstance(found, Conflict):
            conflicts.append(found)
        else:
            unchanged += 1
    placers = {space.name: placer_of(space, snapshot.nodes, strategies) for space in snapshot.namespaces}
    order = schedule(snapshot, moves, placers, max_moves)
    made = order.moves
    leaders = [_given_leader(move, current[move.key]) for move in made]
    return Proposal(
        max((namespace.revision for namespace in snapshot.namespaces), default=0),
        inputs_digest(
            [what.change_id, what.change_ticket, what.since_revision, what.namespace],
            *snapshot_inputs(snapshot),
            [max_moves],
        ),
        tuple(planned_namespaces(snapshot, made)),
        made,
        len(moves) - len(made),
        tuple(node_loads(snapshot.shards, made, nodes)),
        (*_unrestored(made, histories, current), *order.violations),
        tuple(planned_nodes(made, nodes, (leader for leader in leaders if leader is not None))),
        replace(
            what,
            conflicts=tuple(conflicts[:MAX_CONFLICTS]),
            omitted_conflicts=max(0, len(conflicts) - MAX_CONFLICTS),
            unchanged=unchanged,
        ),
        together=order.together,
        waves=order.waves,
    )


def _undone(
    rows: Sequence[ShardDiff], now: Shard | None, last: Change | None, nodes: Mapping[str, Node], *, pinned: bool
) -> Move | Conflict | None:
    """What to do about one shard: nothing, if it is as it was before the rows."""
    before = rows[0].previous
    if _same(before, now):
        return None
    if before is None or now is None:
        return _there_or_not(rows, last)
    found = _changed_since(rows, now, last) or _immovable(before, now, nodes, pinned=pinned)
    if found is not None:
        return found
    rest = _rest(before, now, _leader(before, now, nodes))
    if rest is None and now.owner_node_id == before.owner_node_id:
        message = (
            f"{now.namespace}/{now.shard_id} was led by {before.leader_id}, which {_status(before.leader_id, nodes)}"
        )
        return Conflict(*now.key, ConflictReason.NODE_UNAVAILABLE, None, message)
    return Move(*now.key, now.version, now.owner_node_id, before.owner_node_id, MoveReason.ROLLBACK, rest)


def _changed_since(rows: Sequence[ShardDiff], now: Shard, last: Change | None) -> Conflict | None:
    """Versions go up by one: where one is missing, or the shard is past the last, another change was made."""
    name, newest = f"{now.namespace}/{now.shard_id}", rows[-1].version
    if now.version != newest:
        by = f" by change {last.id}" if last else ""
        message = f"{name} was changed since{by}: it is at version {now.version}, not {newest}"
        return Conflict(*now.key, ConflictReason.CHANGED_SINCE, last.id if last else None, message)
    if newest - rows[0].version != len(rows) - 1:
        message = f"{name} was changed in between by what is not to be rolled back"
        return Conflict(*now.key, ConflictReason.CHANGED_SINCE, None, message)
    return None


def _immovable(before: Shard, now: Shard, nodes: Mapping[str, Node], *, pinned: bool) -> Conflict | None:
    """What would keep the shard from its owner of before."""
    if now.owner_node_id == before.owner_node_id:
        return None
    name, owner = f"{now.namespace}/{now.shard_id}", before.owner_node_id
    if pinned:
        message = f"{name} is pinned to {now.owner_node_id}: unpin it to move it"
        return Conflict(*now.key, ConflictReason.PINNED, None, message)
    if not _available(owner, nodes):
        message = f"{name} was owned by {owner}, which {_status(owner, nodes)}"
        return Conflict(*now.key, ConflictReason.NODE_UNAVAILABLE, None, message)
    return None


def _available(node_id: str, nodes: Mapping[str, Node]) -> bool:
    """Whether it may be given shards, or their lead."""
    return node_id in nodes and nodes[node_id].status is NodeStatus.ACTIVE


def _status(node_id: str | None, nodes: Mapping[str, Node]) -> str:
    return f"is {nodes[node_id].status}" if node_id is not None and node_id in nodes else "is not registered"


def _leader(before: Shard, now: Shard, nodes: Mapping[str, Node]) -> str | None:
    """Who leads the shard after the rollback: as before, if that is so already or may be. If not, who leads it now,
    or the owner where that leads it now."""
    if before.leader_id in (None, now.leader_id) or _available(before.leader_id, nodes):
        return before.leader_id
    return before.owner_node_id if now.leader_id == now.owner_node_id else now.leader_id


def _given_leader(move: Move, now: Shard) -> str | None:
    """The node that the move makes leader; null where it makes none."""
    return None if move.restore is None or move.restore.leader_id == now.leader_id else move.restore.leader_id


def _unrestored(
    moves: Iterable[Move], histories: Mapping[ShardKey, Sequence[ShardDiff]], current: Mapping[ShardKey, Shard]
) -> Iterator[Violation]:
    """Leaders of before that shards are not given back."""
    for move in moves:
        before, now = histories[move.key][0].previous, current[move.key]
        after = now.leader_id if move.restore is None else move.restore.leader_id
        if before is not None and after != before.leader_id:
            instead = "no node" if after is None else after
            message = (
                f"{move.namespace}/{move.shard_id} was led by {before.leader_id}, which may not be given shards: "
                f"{instead} leads it instead"
            )
            yield Violation("LEADER_UNAVAILABLE", move.namespace, move.shard_id, before.leader_id, message)


def _there_or_not(rows: Sequence[ShardDiff], last: Change | None) -> Conflict:
    """A shard that was there before, or is there now, and not the other."""
    newest = rows[-1]
    name = f"{newest.namespace}/{newest.shard_id}"
    if rows[0].previous is None:
        message = f"{name} was created: delete it, if it should not be there"
        return Conflict(*newest.key, ConflictReason.CREATED, rows[0].change.id, message)
    deleted_by = newest.change if newest.kind is DiffKind.DELETED else last
    message = f"{name} was deleted: create it again, if it should be there"
    return Conflict(*newest.key, ConflictReason.DELETED, deleted_by.id if deleted_by else None, message)


def _same(before: Shard | None, now: Shard | None) -> bool:
    if before is None or now is None:
        return before is now
    return before.owner_node_id == now.owner_node_id and _rest(before, now, before.leader_id) is None


def _rest(before: Shard, now: Shard, leader_id: str | None) -> Restored | None:
    """What is given back beside the owner, with this leader; null where that is as it is."""
    rest = replace(_restored(before), leader_id=leader_id)
    return None if rest == _restored(now) else rest


def _restored(shard: Shard) -> Restored:
    return Restored(shard.leader_id, shard.capacity_hint, shard.locality_hint, shard.status)
