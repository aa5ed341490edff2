"""What a namespace's strategy makes of its shards: first choices, then groups, bounds and what stays."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from persistence.model.records import Namespace, Node, NodeStatus
from persistence.planning.anti_affinity import Separated, separate
from persistence.planning.snapshot import PlacedShard
from strategies import model
from strategies.bounded import NOWHERE
from strategies.model import taken
from strategies.placing import Placer
from strategies.registry import Registry
from strategies.sticky import Present

_BOUNDS: Final = frozenset({"maxLoadPercent", "maxShardsPerNode"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the strategy makes of the shards: `first` are the nodes it would choose if none could be full. `present` are
    the owners that it keeps, null for a strategy that keeps none."""

    placer: Placer
    batch: model.Shards
    first: Sequence[str]
    present: Present | None


def wanted_owners(
    placer: Placer,
    namespace: Namespace,
    shards: Sequence[PlacedShard],
    batch: model.Shards,
    active: Sequence[model.Node],
    strategies: Registry,
    threshold: int | None,
) -> Wanted:
    present = None
    if placer.keeps_owners:
        index_of = {node.node_id: index for index, node in enumerate(placer.nodes)}
        owners = (index_of.get(shard.owner_node_id, NOWHERE) for shard in shards)
        present = Present(np.fromiter(owners, np.int32, len(shards)), threshold)
    unbounded = _unbounded(namespace, active, strategies) if placer.bounded else placer
    node_ids = [node.node_id for node in placer.nodes]
    kept = None if present is None else Present(present.owners)
    first = [node_ids[owner] for owner in unbounded.owners(batch, present=kept).tolist()]
    return Wanted(placer, batch, first, present)


def _unbounded(namespace: Namespace, active: Sequence[model.Node], strategies: Registry) -> Placer:
    """As if no node could be full: so a shard that its owner has no room for differs from others."""
    free = {name: value for name, value in namespace.strategy_parameters.items() if name not in _BOUNDS}
    return strategies.placer(namespace.strategy, free, active)


def targets_of(
    wanted: Wanted,
    namespace: Namespace,
    shards: Sequence[PlacedShard],
    nodes: Mapping[str, Node],
    outside: Collection[int],
) -> tuple[Sequence[str], Separated]:
    """The strategy's node for each shard, given the others: first those of groups, then what the bounds leave."""
    placer = wanted.placer
    balances = placer.bounded or (wanted.present is not None and wanted.present.threshold is not None)
    grouped = any(shard.group is not None for shard in shards)
    if not grouped and not balances:
        return wanted.first, Separated()
    staying = {position for position, shard in enumerate(shards) if stays(shard, nodes.get(shard.owner_node_id))}
    staying.update(outside)
    separated = separate(namespace.name, shards, wanted.first, staying, placer) if grouped else Separated()
    targets = list(wanted.first)
    for position, target in separated.targets.items():
        targets[position] = target
    if balances:
        node_ids = [node.node_id for node in placer.nodes]
        found = owners_beside(placer, shards, wanted.batch, staying, separated, wanted.present)
        for position, owner in found.items():
            targets[position] = node_ids[owner]
    return targets, separated


def owners_beside(
    placer: Placer,
    shards: Sequence[PlacedShard],
    batch: model.Shards,
    staying: Collection[int],
    separated: Separated,
    present: Present | None = None,
    *,
    partly: bool = False,
) -> Mapping[int, int]:
    """The owners of the shards that nothing holds, given what the nodes must hold, by position.

    What stays on a node that takes part counts towards its bounds, and so does what a group puts there: groups come
    first, for they have fewer nodes to choose from. What stays elsewhere counts nowhere: as long as it is there, it
    takes no other shard's room.
    """
    occupied: dict[str, list[float]] = {node.node_id: [] for node in placer.nodes}
    free: list[int] = []
    for position, shard in enumerate(shards):
        if position in staying or position in separated.stuck:
            where = shard.owner_node_id
        elif position in separated.targets:
            where = separated.targets[position]
        else:
            free.append(position)
            continue
        if where in occupied:
            occupied[where].append(shard.capacity_hint)
    held = {node_id: capacities for node_id, capacities in occupied.items() if capacities}
    at = np.array(free, np.intp)
    some = batch if len(free) == len(shards) else taken(batch, at)
    owned = None if present is None else replace(present, owners=present.owners[at])
    return dict(zip(free, placer.owners(some, held, owned, partly=partly).tolist(), strict=True))


def stays(shard: PlacedShard, owner: Node | None) -> str | None:
    """Why the shard stays where it is, whatever its strategy prefers; None if nothing holds it."""
    if shard.pinned:
        return "PINNED"
    # A cordoned node takes nothing and gives nothing away.
    return "CORDONED" if owner is not None and owner.status is NodeStatus.CORDONED else None


def strategy_node(node: Node) -> model.Node:
    return model.Node(node.node_id, node.weight, node.region, node.zone, node.labels)


def strategy_shard(shard: PlacedShard) -> model.Shard:
    return model.Shard(shard.shard_id, shard.capacity_hint, shard.locality_hint)
