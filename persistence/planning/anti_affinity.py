"""Anti-affinity in plans: the shards of a group get the nodes that their strategy prefers, one each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from persistence.planning.proposal import Move, Violation
from persistence.planning.snapshot import PlacedShard
from strategies import model
from strategies.bounds import Bounds
from strategies.overflow import Overflow
from strategies.placing import Placer


@dataclass(frozen=True, slots=True)
class Separated:
    """By position among the shards: where those of groups go, and which of them stay for want of a free node."""

    targets: Mapping[int, str] = field(default_factory=dict)
    stuck: Collection[int] = frozenset()
    violations: Sequence[Violation] = ()


def separate(
    namespace: str,
    shards: Sequence[PlacedShard],
    preferred: Sequence[str],
    staying: Collection[int],
    placer: Placer,
    *,
    even_on_full: bool = True,
) -> Separated:
    """`preferred` are the strategy's first choices, `staying` the positions of shards that keep their owner anyway.

    Those have their nodes first. Then, by id, each has its first choice if that is free, and the others the best that
    is left: so as few as can be are sent elsewhere. A full node is chosen only where no other is left for the group,
    and not at all without `even_on_full`. Where a group has more shards than nodes, those that are on one by themselves
    keep it, and those that find none stay.
    """
    positions: dict[str, list[int]] = defaultdict(list)
    for position, shard in enumerate(shards):
        if shard.group is not None:
            positions[shard.group].append(position)
    groups = sorted(positions.items())
    asking = [position for _, members in groups for position in members if position not in staying]
    choices = _Choices(namespace, shards, asking, staying, placer)
    targets: dict[int, str] = {}
    stuck: set[int] = set()
    violations: list[Violation] = []
    for group, members in groups:
        taken: dict[str, int] = {}
        for position in members:
            if position in staying:
                first = taken.setdefault(shards[position].owner_node_id, position)
                if first != position:
                    violations.append(_together(namespace, group, shards[position], shards[first]))
        free = [position for position in members if position not in staying]
        if not free:
            continue  # of most groups, where a plan is narrowed to few nodes
        found = _assigned(shards, free, preferred, set(taken), choices, even_on_full=even_on_full)
        targets |= found
        for position in free:
            if position not in found:
                stuck.add(position)
                violations.append(_crowded(namespace, group, shards[position], len(members), len(placer.nodes)))
    return Separated(targets, stuck, tuple(violations))


def _assigned(
    shards: Sequence[PlacedShard],
    free: Sequence[int],
    preferred: Sequence[str],
    taken: set[str],
    choices: _Choices,
    *,
    even_on_full: bool,
) -> Mapping[int, str]:
    """A node of its own for each position, of as many as there are nodes for. `taken` grows by those."""
    found: dict[int, str] = {}

    def claim(position: int, node_id: str) -> None:
        found[position] = node_id
        taken.add(node_id)
        choices.take(node_id, shards[position].capacity_hint)

    if len(free) > len(choices.nodes) - sum(map(choices.nodes.__contains__, taken)):
        for position in free:
            if (owner := shards[position].owner_node_id) in choices.nodes and owner not in taken:
                claim(position, owner)
    for position in free:
        if position not in found and choices.is_open(preferred[position]) and preferred[position] not in taken:
            claim(position, preferred[position])
    for position in free:
        if position not in found and (best := choices.best(position, taken, even_on_full=even_on_full)) is not None:
            claim(position, best)
    return found


class _Choices:
    """The best node for a shard among those that are left, without ranking them all where that can be done without.

    `asking` are the positions of the shards that may be given one, in the order in which they are. A node that is full
    never has room again.
    """

    def __init__(
        self,
        namespace: str,
        shards: Sequence[PlacedShard],
        asking: Sequence[int],
        staying: Collection[int],
        placer: Placer,
    ) -> None:
        self._node_ids = [node.node_id for node in placer.nodes]
        self.nodes = {node_id: index for index, node_id in enumerate(self._node_ids)}
        """Their indexes, by id."""
        self._placer = placer
        self._namespace = namespace
        self._asking = [
            model.Shard(shard.shard_id, shard.capacity_hint, shard.locality_hint)
            for shard in map(shards.__getitem__, asking)
        ]
        self._at = {position: at for at, position in enumerate(asking)}
        self._room = room_beside(shards, staying, placer) if placer.bounded and asking else None
        self._open = {one for one in self.nodes if self._room is None or self._room.is_open(one)}
        self._overflow: Overflow | None = None

    def is_open(self, node_id: str) -> bool:
        """Of a node that may own shards, whether it has room."""
        return node_id in self._open

    def take(self, node_id: str, capacity: float) -> None:
        if self._room is None:
            return
        self._room.take(node_id, capacity)
        if node_id in self._open and not self._room.is_open(node_id):
            self._open.remove(node_id)
            if self._overflow is not None:
                self._overflow.close(self.nodes[node_id])

    def best(self, position: int, taken: set[str], *, even_on_full: bool) -> str | None:
        """The first in its rank that has room and is not taken; else, `even_on_full`, the first that is not taken."""
        at = self._at[position]
        if len(self._open) > len(taken) or not self._open <= taken:
            first = self._first_open(at)
            return first if first not in taken else self._first_of_rank(at, self._open, taken)
        if not even_on_full:
            return None
        first = self._node_ids[self._firsts[at]]
        return first if first not in taken else self._first_of_rank(at, self.nodes, taken)

    def _first_of_rank(self, at: int, among: Container[str], taken: set[str]) -> str | None:
        rank = self._placer.rank(self._namespace, self._asking[at])
        return next((node_id for node_id in rank if node_id in among and node_id not in taken), None)

    def _first_open(self, at: int) -> str:
        first = self._node_ids[self._firsts[at]]
        if first in self._open:
            return first
        if self._overflow is None:
            self._overflow = self._placer.overflow(self._batch, np.arange(len(self._asking)))
            for node_id in self.nodes.keys() - self._open:
                self._overflow.close(self.nodes[node_id])
        return self._node_ids[self._overflow.first_open(at)]

    @cached_property
    def _batch(self) -> model.Shards:
        return model.Shards.of(self._namespace, self._asking)

    @cached_property
    def _firsts(self) -> Sequence[int]:
        """The first in rank of each, as an index: what the strategy would choose for a shard that has no owner."""
        firsts: list[int] = self._placer.first_choices(self._batch).tolist()
        return firsts


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


class Chain(NamedTuple):
    """Positions of moves of a group, each of which waits for the next; `closed`: and the last for the first."""

    moves: Sequence[int]
    closed: bool


class Groups:
    """Where the shards of groups are while moves are made. Positions are those of the moves."""

    def __init__(self, shards: Iterable[PlacedShard], moves: Sequence[Move]) -> None:
        groups = {shard.shard_id: shard.group for shard in shards if shard.group is not None}
        self._group_of = {position: groups.get(move.shard_id) for position, move in enumerate(moves)} if groups else {}
        self._moves = moves
        self._position = {moves[one].shard_id: one for one, group in self._group_of.items() if group is not None}
        self._here: dict[tuple[str, str], set[str]] = defaultdict(set)
        for shard in shards if self._position else ():
            if shard.group is not None:
                self._here[shard.group, shard.owner_node_id].add(shard.shard_id)

    def __bool__(self) -> bool:
        """Whether a shard of a group is moved."""
        return bool(self._position)

    def is_free(self, position: int) -> bool:
        """Whether the target of the move owns no other shard of the group."""
        return not self._in_the_way(position)

    def chain(self, position: int) -> Chain | None:
        """From the move to one that is free, or back to it. Null if one of them waits for a shard that does not move.

        The last of a chain that is not closed comes first, and others may then be in the way of the one before it.
        """
        moves, found = [position], {position}
        while others := self._in_the_way(moves[-1]):
            following = self._position.get(min(others))
            if following == position:
                # What is beside those of a circle has to be gone before it is made.
                beside = [one for move in moves for one in self._moving(move) if one not in found]
                if not beside:
                    return Chain(moves, closed=True)
                return None if beside[0] is None else self.chain(beside[0])
            if following is None or following in found:
                return None
            moves.append(following)
            found.add(following)
        return Chain(moves, closed=False)

    def leave(self, position: int) -> None:
        """It is not made."""
        self._position.pop(self._moves[position].shard_id, None)

    def make(self, moves: Sequence[int]) -> None:
        """All at once."""
        for one in moves:
            if (group := self._group_of.get(one)) is not None:
                self._here[group, self._moves[one].from_node_id].discard(self._moves[one].shard_id)
        for one in moves:
            if (group := self._group_of.get(one)) is not None:
                self._here[group, self._moves[one].to_node_id].add(self._moves[one].shard_id)
                del self._position[self._moves[one].shard_id]

    def _moving(self, position: int) -> Sequence[int | None]:
        """The moves of the shards that are in the way of one, null for a shard that does not move."""
        return [self._position.get(shard_id) for shard_id in sorted(self._in_the_way(position))]

    def _in_the_way(self, position: int) -> Collection[str]:
        group = self._group_of.get(position)
        if group is None or not self._moves[position].changes_owner:
            return ()
        return self._here.get((group, self._moves[position].to_node_id), set()) - {self._moves[position].shard_id}


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


class Room:
    """What nodes have left while shards are given to them one by one.

    `held` are the capacities of shards that the nodes hold already, by node id, `coming` those of all others.
    """

    def __init__(
        self, bounds: Bounds, nodes: Sequence[model.Node], held: Mapping[str, Sequence[float]], coming: Sequence[float]
    ) -> None:
        own = [bounds.sizes(held.get(node.node_id, ())) for node in nodes]
        total = sum(map(sum, own)) + sum(bounds.sizes(coming))
        most = sum(map(len, own)) + len(coming) if bounds.max_shards is None else bounds.max_shards
        self._bounds = bounds
        self._counts = {node.node_id: most - len(sizes) for node, sizes in zip(nodes, own, strict=True)}
        full_at = bounds.full_at(total, nodes)
        self._loads = {node.node_id: limit - sum(sizes) for node, sizes, limit in zip(nodes, own, full_at, strict=True)}

    def is_open(self, node_id: str) -> bool:
        """Whether the node is not full, whatever the size of the shard."""
        return self._counts[node_id] > 0 and self._loads[node_id] > 0

    def take(self, node_id: str, capacity: float) -> None:
        self._counts[node_id] -= 1
        self._loads[node_id] -= self._bounds.sizes([capacity])[0]
