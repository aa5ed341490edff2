"""Which node comes next for a shard, while nodes fill up: the first of its rank that is open, without the whole rank.

Nodes close and never open again. Shards and nodes go by their indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from strategies.model import Node, Owners, Placement, Shards, shard_at, taken


class Overflow(Protocol):
    def close(self, index: int) -> None:
        """The node at `index` takes no more. It has not been closed before."""
        ...

    def first_open(self, shard: int) -> int:
        """The index of the first node in the shard's rank that is open. One is."""
        ...


@runtime_checkable
class Overflowing(Protocol):
    """A placement that finds the next open node sooner than by ranking all of them."""

    def overflow(self, shards: Shards) -> Overflow:
        """With all nodes open."""
        ...


class Ranked:
    """For any placement."""

    def __init__(self, placement: Placement, shards: Shards) -> None:
        self._placement = placement
        self._shards = shards
        self._open = {node.node_id: index for index, node in enumerate(placement.nodes)}

    def close(self, index: int) -> None:
        del self._open[self._placement.nodes[index].node_id]

    def first_open(self, shard: int) -> int:
        rank = self._placement.rank(self._shards.namespace, shard_at(self._shards, shard))
        return next(self._open[node_id] for node_id in rank if node_id in self._open)


class Succeeded:
    """For placements that give a shard to the next in its rank once those before it are left out.

    All shards that closed nodes own are handed on at once. `order` is that in which shards will be handed on, `owners`
    the nodes that own them while all nodes are open; `prepare` gives the placement over some of the nodes.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        shards: Shards,
        order: NDArray[np.intp],
        owners: Owners,
        prepare: Callable[[Sequence[Node]], Placement],
    ) -> None:
        self._nodes = nodes
        self._shards = shards
        self._order = order
        self._at = np.empty_like(order)
        self._at[order] = np.arange(len(order))
        self._owners = owners[order]
        self._prepare = prepare
        self._closed = np.zeros(len(nodes), np.bool_)

    def close(self, index: int) -> None:
        self._closed[index] = True

    def first_open(self, shard: int) -> int:
        at = self._at[shard]
        if self._closed[self._owners[at]]:
            refused = at + np.flatnonzero(self._closed[self._owners[at:]])
            left = np.flatnonzero(~self._closed).astype(np.int32)
            placement = self._prepare([self._nodes[index] for index in left.tolist()])
            self._owners[refused] = left[placement.assign(taken(self._shards, self._order[refused]))]
        return int(self._owners[at])


class Circular:
    """For ranks that are walks round a circle: `circle` has the indexes of nodes, `starts` where each shard's begins.

    Nodes that are not on the circle come last, by index. What was found closed is skipped ever after.
    """

    def __init__(self, circle: Owners, starts: NDArray[np.integer], nodes: int) -> None:
        present = np.bincount(circle, minlength=nodes) > 0
        self._circle = np.ascontiguousarray(circle).data  # a list's speed, a tenth of its memory
        self._starts = starts
        self._closed = bytearray(nodes)
        self._absent = np.flatnonzero(~present).tolist()
        self._present = present
        self._left = nodes - len(self._absent)
        onwards = np.arange(1, len(circle) + 1, dtype=np.int32)
        onwards[-1] = 0
        self._onwards = onwards.data

    def close(self, index: int) -> None:
        self._closed[index] = 1
        self._left -= bool(self._present[index])

    def first_open(self, shard: int) -> int:
        closed, circle, onwards = self._closed, self._circle, self._onwards
        if not self._left:
            return next(index for index in self._absent if not closed[index])
        slot = int(self._starts[shard])
        while closed[circle[slot]]:
            following = onwards[slot]
            if closed[circle[following]]:
                following = onwards[slot] = onwards[following]
            slot = following
        return circle[slot]


def overflow_of(
    placement: Placement,
    shards: Shards,
    order: NDArray[np.intp],
    owners: Owners,
    prepare: Callable[[Sequence[Node]], Placement] | None,
) -> Overflow:
    """The quickest that there is; `order`, `owners` and `prepare` as for `Succeeded`, None for other placements."""
    if isinstance(placement, Overflowing):
        return placement.overflow(shards)
    if prepare is None:
        return Ranked(placement, shards)
    return Succeeded(placement.nodes, shards, order, owners, prepare)
