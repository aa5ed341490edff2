"""Anti-affinity in plans: the shards of a group get the nodes that their strategy prefers, one each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from persistence.model.records import GroupKey, ShardKey
from persistence.planning.proposal import Move, Violation
from persistence.planning.snapshot import PlacedShard
from strategies import model
from strategies.placing import Placer
from strategies.room import Room


@dataclass(frozen=True, slots=True)
class Separated:
    """By position among the shards: where those of groups go, and which of them stay for want of a free node."""

    targets: Mapping[int, str] = field(default_factory=dict)
    stuck: Collection[int] = frozenset()
    violations: Sequence[Violation] = ()


def separate(
    namespace: str, shards: Sequence[PlacedShard], preferred: Sequence[str], staying: Collection[int], placer: Placer
) -> Separated:
    """`preferred` are the strategy's first choices, `staying` the positions of shards that keep their owner anyway.

    Those have their nodes first. Then, by id, each has its first choice if that is free, and the others the best that
    is left: so as few as can be are sent elsewhere. A full node is chosen only where no other is left for the group.
    Where a group has more shards than nodes, those that are on one by themselves keep it, and those that find none
    stay.
    """
    room = room_beside(shards, staying, placer) if placer.bounded else None
    positions: dict[str, list[int]] = defaultdict(list)
    for position, shard in enumerate(shards):
        if shard.group is not None:
            positions[shard.group].append(position)
    targets: dict[int, str] = {}
    stuck: set[int] = set()
    violations: list[Violation] = []
    for group, members in sorted(positions.items()):
        taken: dict[str, int] = {}
        for position in members:
            if position in staying:
                first = taken.setdefault(shards[position].owner_node_id, position)
                if first != position:
                    violations.append(_together(namespace, group, shards[position], shards[first]))
        free = [position for position in members if position not in staying]
        found = _assigned(namespace, shards, free, preferred, set(taken), placer, room)
        targets |= found
        for position in free:
            if position not in found:
                stuck.add(position)
                violations.append(_crowded(namespace, group, shards[position], len(members), len(placer.nodes)))
    return Separated(targets, stuck, tuple(violations))


def _assigned(
    namespace: str,
    shards: Sequence[PlacedShard],
    free: Sequence[int],
    preferred: Sequence[str],
    taken: set[str],
    placer: Placer,
    room: Room | None,
) -> Mapping[int, str]:
    """A node of its own for each position, of as many as there are nodes for."""
    nodes = {node.node_id for node in placer.nodes} - taken
    found: dict[int, str] = {}

    def claim(choices: Iterable[tuple[int, str]], *, if_full: bool = False) -> None:
        for position, node_id in choices:
            if position not in found and node_id in nodes and (if_full or room is None or room.is_open(node_id)):
                found[position] = node_id
                nodes.remove(node_id)
                if room is not None:
                    room.take(node_id, shards[position].capacity_hint)

    if len(free) > len(nodes):
        claim(((position, shards[position].owner_node_id) for position in free), if_full=True)
    claim((position, preferred[position]) for position in free)
    for position in free:
        if position not in found and nodes:
            shard = shards[position]
            ranked = placer.rank(namespace, model.Shard(shard.shard_id, shard.capacity_hint, shard.locality_hint))
            claim((position, node_id) for node_id in ranked)
            claim(((position, node_id) for node_id in ranked), if_full=True)
    return found


def room_beside(shards: Sequence[PlacedShard], staying: Collection[int], placer: Placer) -> Room:
    """What is left on the nodes beside the shards that stay, while all others are to come."""
    held: dict[str, list[float]] = {node.node_id: [] for node in placer.nodes}
    coming: list[float] = []
    for position, shard in enumerate(shards):
        if position not in staying:
            coming.append(shard.capacity_hint)
        elif shard.owner_node_id in held:
            held[shard.owner_node_id].append(shard.capacity_hint)
    return Room(placer.bounds, placer.nodes, held, coming)


def without_collisions(moves: Sequence[Move], shards: Mapping[str, Sequence[PlacedShard]]) -> Sequence[Move]:
    """Of some of a plan's moves those that put no two shards of a group on one node while the others are not made."""
    members: dict[GroupKey, dict[str, str]] = defaultdict(dict)
    group_of: dict[ShardKey, GroupKey] = {}
    for name, placed in shards.items():
        for shard in placed:
            if shard.group is not None:
                key = GroupKey(name, shard.group)
                members[key][shard.shard_id] = shard.owner_node_id
                group_of[ShardKey(name, shard.shard_id)] = key
    remaining = list(moves)
    while colliding := set(_colliding(remaining, members, group_of)):
        remaining = [move for move in remaining if move.key not in colliding]
    return remaining


def _colliding(
    moves: Sequence[Move], members: Mapping[GroupKey, Mapping[str, str]], group_of: Mapping[ShardKey, GroupKey]
) -> Iterator[ShardKey]:
    after = {key: dict(owners) for key, owners in members.items()}
    grouped = [(move, group_of[move.key]) for move in moves if move.changes_owner and move.key in group_of]
    for move, key in grouped:
        after[key][move.shard_id] = move.to_node_id
    for move, key in grouped:
        if sum(owner == move.to_node_id for owner in after[key].values()) > 1:
            yield move.key


def _together(namespace: str, group: str, shard: PlacedShard, other: PlacedShard) -> Violation:
    owner = shard.owner_node_id
    message = (
        f"{namespace}/{shard.shard_id} and {other.shard_id} of group {group} are both kept on {owner}: "
        "unpin one of them to move it"
    )
    return Violation("ANTI_AFFINITY", namespace, shard.shard_id, owner, message)


def _crowded(namespace: str, group: str, shard: PlacedShard, members: int, nodes: int) -> Violation:
    message = (
        f"{namespace}/{shard.shard_id} stays on {shard.owner_node_id}: group {group} has {members:,} shards, "
        f"and no node is left of the {nodes:,} that may own them"
    )
    return Violation("ANTI_AFFINITY", namespace, shard.shard_id, shard.owner_node_id, message)
