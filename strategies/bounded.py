"""Bounded loads: no node gets more than so many per cent of its share, and overflow goes on to the next in rank.

Consistent hashing with bounded loads, after Mirrokni, Thorup and Zadimoghaddam (SODA 2018, arXiv:1608.01350), made
independent of history: shards choose in the order of their keys, not in that of their arrival, so equal sets of shards
are placed equally.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from strategies.bounds import Bounds
from strategies.model import Infeasible, Node, Owners, Placement, Shards
from strategies.overflow import Overflow, overflow_of

Succession: TypeAlias = Callable[[Sequence[Node]], Placement]

NOWHERE: Final = -1
"""In place of an owner: no node."""


def ascending(shards: Shards) -> NDArray[np.intp]:
    """Indexes of the shards in ascending order of key, and of id where keys are equal."""
    keys = shards.keys[shards.order]
    if not (keys[1:] == keys[:-1]).any():
        return shards.order
    return np.array(sorted(range(len(shards)), key=lambda index: (int(shards.keys[index]), shards.ids[index])), np.intp)


def bounded(
    placement: Placement,
    shards: Shards,
    owners: Owners,
    bounds: Bounds,
    succession: Succession | None = None,
    staying: Mapping[str, Sequence[float]] | None = None,
    *,
    partly: bool = False,
) -> Owners:
    """`owners`, which `placement` assigned, brought within the bounds.

    Shards in ascending (key, id); each goes to the first node of its rank that is not full. A node is full once its
    load has reached its bound, whatever the size of the shard that did it. Whether a node is full does not depend on
    the shard, so only those whose first node is full have to go on.

    `staying` are the capacities of shards that nodes hold before any of these is placed, by node id; they are part of
    the load of their node and of the whole. Those of other nodes than the placement's count nowhere.

    `succession` prepares the same strategy over some of the nodes, if without the nodes before it in rank a shard
    belongs to the next: then all shards that full nodes refuse are handed on at once, instead of one by one. It is not
    used where the placement has an `overflow`.

    Raises Infeasible where every node is full before all shards are placed; `partly` leaves the others `NOWHERE`.
    """
    nodes = placement.nodes
    held = [bounds.sizes((staying or {}).get(node.node_id, ())) for node in nodes]
    loads, counts = [sum(own) for own in held], [len(own) for own in held]
    total, stay = len(shards), sum(counts)
    most = total + stay + 1 if bounds.max_shards is None else bounds.max_shards
    room = sum(max(0, most - count) for count in counts)
    if room < total and not partly:
        raise _do_not_fit(total, room, stay, nodes, bounds)  # as below, only sooner
    size = bounds.sizes(shards.capacities)
    full_at = bounds.full_at(sum(size) + sum(loads), nodes)
    full = [load >= bound or count >= most for load, bound, count in zip(loads, full_at, counts, strict=True)]
    left = full.count(False)
    order = ascending(shards)
    owner_of = owners.tolist()  # a list is faster one by one
    overflow: Overflow | None = None
    for placed, index in enumerate(order.tolist()):
        owner = owner_of[index]
        if full[owner]:
            if not left:
                if not partly:
                    raise _do_not_fit(total, placed, stay, nodes, bounds)
                for rest in order[placed:].tolist():
                    owner_of[rest] = NOWHERE
                break
            if overflow is None:
                overflow = _closed(overflow_of(placement, shards, order, owners, succession), full)
            owner = owner_of[index] = overflow.first_open(index)
        loads[owner] += size[index]
        counts[owner] += 1
        if loads[owner] >= full_at[owner] or counts[owner] >= most:
            full[owner] = True
            left -= 1
            if overflow is not None:
                overflow.close(owner)
    return np.array(owner_of, np.int32)


def into_room(
    placement: Placement, shards: Shards, room: Sequence[int], succession: Succession | None = None
) -> Owners:
    """Each of the shards, in ascending (key, id), on the first node of its rank that has room left, in shards, of
    `room`. There is room for all of them. `succession` as for `bounded`."""
    left = list(room)
    owners = placement.assign(shards)
    order = ascending(shards)
    overflow = _closed(overflow_of(placement, shards, order, owners, succession), [not free for free in left])
    owner_of = owners.tolist()
    for index in order.tolist():
        owner = owner_of[index]
        if not left[owner]:
            owner = owner_of[index] = overflow.first_open(index)
        left[owner] -= 1
        if not left[owner]:
            overflow.close(owner)
    return np.array(owner_of, np.int32)


def _closed(overflow: Overflow, full: Sequence[bool]) -> Overflow:
    for index in np.flatnonzero(full).tolist():
        overflow.close(index)
    return overflow


def _do_not_fit(total: int, room: int, stay: int, nodes: Sequence[Node], bounds: Bounds) -> Infeasible:
    beside = f" beside {stay:,} that stay{'s' * (stay == 1)}" if stay else ""
    return Infeasible(
        f"{total:,} shards do not fit{beside}: with {bounds} there is room for {room:,} on "
        f"{len(nodes):,} node{'s' * (len(nodes) != 1)}"
    )
