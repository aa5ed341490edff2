"""What draining a node would do, and what stands in the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from persistence.planning.planner import MAX_MOVES, PlacementImpossible, propose
from persistence.planning.proposal import Move, Violation
from persistence.planning.snapshot import PlacementSnapshot
from persistence.planning.what_if import SupposedNode, WhatIf, suppose
from persistence.records import NodeStatus
from strategies.registry import Registry


@dataclass(frozen=True, slots=True)
class DrainPreflight:
    """`moves` are those off the node, `blockers` the shards that would have to stay, or the namespaces that would.

    `remaining_moves` did not fit into one plan.
    """

    node_id: str
    shard_count: int
    moves: tuple[Move, ...]
    remaining_moves: int
    blockers: tuple[Violation, ...]


NOTHING_TO_DRAIN: Final = DrainPreflight("", 0, (), 0, ())
"""Of a node that is gone by now."""


def preflight(snapshot: PlacementSnapshot, node_id: str, strategies: Registry) -> DrainPreflight:
    """For a node of the snapshot: what the next plans would do if it were DRAINING."""
    owned = [
        (name, shard) for name, shards in snapshot.shards.items() for shard in shards if shard.owner_node_id == node_id
    ]
    affected = {name for name, _ in owned}
    drained = suppose(snapshot, WhatIf((SupposedNode(node_id, status=NodeStatus.DRAINING),)), strategies)
    try:
        proposal = propose(drained, strategies, max_moves=_every(snapshot))
        moves, violations = proposal.moves, proposal.violations
    except PlacementImpossible as impossible:
        moves, violations = (), impossible.violations
    off = tuple(move for move in moves if move.from_node_id == node_id)
    blockers = tuple(
        one
        for one in violations
        if one.node_id == node_id or (one.code == "NO_PLACEMENT" and one.namespace in affected)
    )
    return DrainPreflight(node_id, len(owned), off[:MAX_MOVES], max(0, len(off) - MAX_MOVES), blockers)


def _every(snapshot: PlacementSnapshot) -> int:
    return sum(map(len, snapshot.shards.values()))
