"""Sticky: shards keep the owners they have; only those without an eligible one are placed, by rendezvous.

For tables that were made by hand, or by another system. What a shard's owner is depends on what it was: the Placement
is that of rendezvous, which ranks the nodes, and `settled` is where present owners come in. The least movement that
balances loads is as of Redis' `--cluster rebalance` with its threshold, Kafka's sticky assignor, Pinot's
minimizeDataMovement.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np

from strategies.bounded import NOWHERE, Succession, ascending, bounded, into_room
from strategies.bounds import Bounds, load_bounds, most_of
from strategies.model import Infeasible, Movement, Node, Owners, Placement, Shards, taken
from strategies.parameters import Parameter
from strategies.rendezvous import RendezvousPlacement


class Sticky:
    name: Final = "sticky"
    algorithm_version: Final = 1
    parameters: Mapping[str, Parameter] = {}
    movement: Final = Movement.MINIMAL
    keeps_owners: Final = True

    def prepare(self, nodes: Sequence[Node], parameters: Mapping[str, Any]) -> RendezvousPlacement:  # noqa: ARG002
        return RendezvousPlacement(nodes)


@dataclass(frozen=True, slots=True)
class Present:
    """For each shard the index of the node that owns it, or `NOWHERE`. With a `threshold`, in per cent, loads are
    brought as close to the nodes' shares as that."""

    owners: Owners
    threshold: int | None = None


def settled(
    placement: Placement,
    shards: Shards,
    present: Present,
    bounds: Bounds,
    succession: Succession | None,
    staying: Mapping[str, Sequence[float]] | None,
) -> Owners:
    """Present owners, except of shards that have none, and of those that bounds or threshold send elsewhere.

    From a node above a bound as few shards go as can, the last in ascending (size, key, id). `bounds`, `succession`
    and `staying` are as for `bounded`. With a threshold loads are numbers of shards, whatever `loadBy` is.

    Raises Infeasible where the bounds leave too little room.
    """
    nodes = placement.nodes
    held = [list((staying or {}).get(node.node_id, ())) for node in nodes]
    if present.threshold is not None:
        return _balanced(placement, shards, present, bounds, succession, [len(own) for own in held])
    owners = present.owners.copy()
    if not bounds.unbounded:
        for index in _above_bounds(shards, owners, nodes, bounds, held):
            owners[index] = NOWHERE
    free = np.flatnonzero(owners == NOWHERE)
    if len(free):
        some = taken(shards, free)
        first = placement.assign(some)
        if bounds.unbounded:
            owners[free] = first
        else:
            for index in np.flatnonzero(owners != NOWHERE).tolist():
                held[owners[index]].append(float(shards.capacities[index]))
            kept = {node.node_id: own for node, own in zip(nodes, held, strict=True) if own}
            owners[free] = bounded(placement, some, first, bounds, succession, kept)
    return owners


def _above_bounds(
    shards: Shards, owners: Owners, nodes: Sequence[Node], bounds: Bounds, held: Sequence[Sequence[float]]
) -> Iterator[int]:
    """The shards that nodes have to give away. As many as fit stay: so the smallest come first."""
    size = bounds.sizes(shards.capacities)
    loads = [sum(bounds.sizes(own)) for own in held]
    counts = [len(own) for own in held]
    most = len(shards) + sum(counts) if bounds.max_shards is None else bounds.max_shards
    full_at = bounds.full_at(sum(size) + sum(loads), nodes)
    at = np.empty(len(shards), np.intp)
    at[ascending(shards)] = np.arange(len(shards))
    for node, members in _by_owner(owners):
        if counts[node] + len(members) <= most and loads[node] + sum(size[index] for index in members) <= full_at[node]:
            continue
        for index in sorted(members, key=lambda index: (size[index], at[index])):
            if loads[node] >= full_at[node] or counts[node] >= most:
                yield index
            else:
                loads[node] += size[index]
                counts[node] += 1


def _by_owner(owners: Owners) -> Iterator[tuple[int, list[int]]]:
    """The indexes of the shards of each node that has any."""
    order = np.argsort(owners, kind="stable")
    nodes, starts = np.unique(owners[order], return_index=True)
    # Of no shards at all, one empty part is left over.
    for node, members in zip(nodes.tolist(), np.split(order, starts[1:]), strict=False):
        if node != NOWHERE:
            yield node, members.tolist()


def _balanced(
    placement: Placement,
    shards: Shards,
    present: Present,
    bounds: Bounds,
    succession: Succession | None,
    staying: Sequence[int],
) -> Owners:
    """With as few moves as bring each node to its quota: shards without owner and those given away first fill the
    nodes that lack some, the rest go where there is room, each in order of key to the first in its rank."""
    nodes = placement.nodes
    owners = present.owners.copy()
    have = [stay + own for stay, own in zip(staying, _counts(owners, len(nodes)), strict=True)]
    quota, most = quotas(have, staying, len(shards) + sum(staying), nodes, bounds, present.threshold or 0)
    order = ascending(shards)
    surplus = [max(0, own - right) for own, right in zip(have, quota, strict=True)]
    for index in order[::-1].tolist() if any(surplus) else ():
        owner = owners[index]
        if owner != NOWHERE and surplus[owner]:
            surplus[owner] -= 1
            owners[index] = NOWHERE
    free = order[owners[order] == NOWHERE]
    lacking = [max(0, right - own) for own, right in zip(have, quota, strict=True)]
    split = min(sum(lacking), len(free))
    beyond = [max(0, limit - right) for limit, right in zip(most, quota, strict=True)]
    for some, room in ((free[:split], lacking), (free[split:], beyond)):
        if len(some):
            owners[some] = into_room(placement, taken(shards, some), room, succession)
    return owners


def _counts(owners: Owners, nodes: int) -> list[int]:
    counts: list[int] = np.bincount(owners[owners != NOWHERE], minlength=nodes).tolist()
    return counts


def quotas(
    have: Sequence[int], staying: Sequence[int], total: int, nodes: Sequence[Node], bounds: Bounds, threshold: int
) -> tuple[Sequence[int], Sequence[int]]:
    """How many of `total` shards each node keeps or gets at least, and the most it may have.

    Of the `have` of a node `staying` cannot go. A node's share is `total` by weight; `threshold` per cent below it,
    rounded down, is the least it is to have, as many above it, rounded up, the most, and no bound is passed; where
    bounds keep nodes from their share so that there is not room for all, the others may have more than that. Each
    quota is as close to `have` as that allows; where they come to more than `total`, the nodes with the most for their
    weight give away what is missing. So the moves, the sum of what `have` is above the quotas, are the fewest.

    Raises Infeasible where the bounds leave too little room.
    """
    full = most_of(total, nodes, bounds)
    most = [min(above, bound) for above, bound in zip(load_bounds(total, nodes, 100 + threshold), full, strict=True)]
    most = _raised(most, full, staying, total, nodes, bounds)
    weight = sum(node.weight for node in nodes)
    shares = [total * node.weight * (100 - threshold) // (100 * weight) for node in nodes]
    least = [max(min(share, limit), stay) for share, limit, stay in zip(shares, most, staying, strict=True)]
    quota = [
        max(low, min(own, max(high, stay))) for own, low, high, stay in zip(have, least, most, staying, strict=True)
    ]
    excess = sum(quota) - total
    # Those above the least first. Then, where what stays elsewhere is too much for all to have that, those below it.
    for floor in (least, [min(own, low) for own, low in zip(have, least, strict=True)]):
        excess = _given_away(quota, floor, nodes, excess)
    return quota, most


def _raised(
    most: Sequence[int],
    full: Sequence[int],
    staying: Sequence[int],
    total: int,
    nodes: Sequence[Node],
    bounds: Bounds,
) -> list[int]:
    """`most`, where that is too little for all shards because bounds keep some nodes from their share: raised up to
    `full`, one at a time, each time of the node with the least for its weight. Raises Infeasible."""
    raised = [max(pair) for pair in zip(most, staying, strict=True)]
    lacking = total - sum(raised)
    heap = [
        (Fraction(raised[index], node.weight), index)
        for index, node in enumerate(nodes)
        if lacking > 0 and raised[index] < full[index]
    ]
    heapq.heapify(heap)
    while lacking > 0:
        if not heap:
            room = total - lacking
            raise Infeasible(f"{total:,} shards do not fit: with {bounds} there is room for {room:,}")
        _, index = heap[0]
        raised[index] += 1
        lacking -= 1
        if raised[index] < full[index]:
            heapq.heapreplace(heap, (Fraction(raised[index], nodes[index].weight), index))
        else:
            heapq.heappop(heap)
    return raised


def _given_away(quota: list[int], floor: Iterable[int], nodes: Sequence[Node], excess: int) -> int:
    """Take `excess` off the quotas, each time one of the node with the most for its weight. Returns what is left."""
    floors = list(floor)
    heap = [
        (-Fraction(quota[index], node.weight), index)
        for index, node in enumerate(nodes)
        if excess > 0 and quota[index] > floors[index]
    ]
    heapq.heapify(heap)
    while excess > 0 and heap:
        _, index = heap[0]
        quota[index] -= 1
        excess -= 1
        if quota[index] > floors[index]:
            heapq.heapreplace(heap, (-Fraction(quota[index], nodes[index].weight), index))
        else:
            heapq.heappop(heap)
    return excess
