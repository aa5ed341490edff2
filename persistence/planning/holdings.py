"""What the nodes of one namespace hold while moves are made, against the bounds of its strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from persistence.planning.proposal import Move
from persistence.planning.snapshot import PlacedShard
from strategies.bounds import load_bound
from strategies.placing import Placer


class Holdings:
    """The counts and loads of the nodes that may own shards, and whether a bound keeps one from taking another.

    A bound counts for a node that is within it before the moves and after all of them; one that is not is given no more
    than it has in the worse of the two. `maxLoadPercent` is of what the nodes hold together at the time, which grows as
    shards come from nodes that may not own any.
    """

    def __init__(self, placer: Placer, shards: Sequence[PlacedShard], moves: Sequence[Move]) -> None:
        self._bounds = placer.bounds
        self._weights = {node.node_id: node.weight for node in placer.nodes}
        self._whole = sum(self._weights.values())
        capacities = self._bounds.sizes([shard.capacity_hint for shard in shards])
        self._sizes = {shard.shard_id: size for shard, size in zip(shards, capacities, strict=True)}
        self._allowed: dict[str, tuple[int, int]] = {}
        targets = {move.shard_id: move.to_node_id for move in moves}
        for owners in (targets, {}):
            self._hold(shards, owners)
            for node_id in self._weights:
                if self._excess(node_id) is not None:
                    count, load = self._allowed.get(node_id, (0, 0))
                    self._allowed[node_id] = max(count, len(self._held[node_id])), max(load, self._loads[node_id])

    def _hold(self, shards: Sequence[PlacedShard], owners: Mapping[str, str]) -> None:
        """The shards where they are, or at their `owners`."""
        self._held: dict[str, set[str]] = {node_id: set() for node_id in self._weights}
        for shard in shards:
            if (held := self._held.get(owners.get(shard.shard_id, shard.owner_node_id))) is not None:
                held.add(shard.shard_id)
        self._loads = {node_id: sum(map(self._sizes.__getitem__, held)) for node_id, held in self._held.items()}
        self.total = sum(self._loads.values())
        """The load of all the nodes."""

    def has_room(self, move: Move) -> bool:
        """Whether the move, by itself, brings its target over no bound."""
        target = move.to_node_id
        if target not in self._held or not move.changes_owner:
            return True
        size, count, load = self._sizes[move.shard_id], len(self._held[target]), self._loads[target]
        most, most_load = self._allowed.get(target, (0, 0))
        if self._bounds.max_shards is not None and count >= max(most, self._bounds.max_shards):
            return False
        total = self.total if move.from_node_id in self._held else self.total + size
        return load < self._bound(target, total) or load + size <= most_load

    def room_from(self, move: Move) -> int | None:
        """The load of all from which on its target has room for the move; null if that takes moves from there."""
        target, most_shards, percent = move.to_node_id, self._bounds.max_shards, self._bounds.max_load_percent
        if (
            percent is None
            or target not in self._held
            or (most_shards is not None and len(self._held[target]) >= most_shards)
        ):
            return None
        coming = 0 if move.from_node_id in self._held else self._sizes[move.shard_id]
        return self._loads[target] * 100 * self._whole // (self._weights[target] * percent) + 1 - coming

    @property
    def by_capacity(self) -> bool:
        """Whether shards differ in what they add to a load."""
        return self._bounds.by_capacity

    def make(self, moves: Sequence[Move]) -> None:
        """All at once."""
        for move in moves:
            if move.from_node_id in self._held:
                self._held[move.from_node_id].remove(move.shard_id)
                self._add(move.from_node_id, -self._sizes[move.shard_id])
        for move in moves:
            if move.to_node_id in self._held:
                self._held[move.to_node_id].add(move.shard_id)
                self._add(move.to_node_id, self._sizes[move.shard_id])

    def _add(self, node_id: str, size: int) -> None:
        self._loads[node_id] += size
        self.total += size

    def excess(self, node_id: str) -> tuple[int, str] | None:
        """How many shards it holds, and what of that is too much, where it is over a bound that counts for it."""
        found = self._excess(node_id)
        if found is None:
            return None
        count, (most, most_load) = len(self._held[node_id]), self._allowed.get(node_id, (0, 0))
        return None if count <= most and self._loads[node_id] <= most_load else (count, f"{node_id} holds {found}")

    def _excess(self, node_id: str) -> str | None:
        held = self._held.get(node_id)
        if not held:
            return None
        largest = max(map(self._sizes.__getitem__, held)) if self._bounds.by_capacity else 1
        return self._bounds.excess(len(held), self._loads[node_id], largest, self._bound(node_id, self.total))

    def _bound(self, node_id: str, total: int) -> int:
        percent = self._bounds.max_load_percent
        return total + 1 if percent is None else load_bound(total, self._weights[node_id], self._whole, percent)
