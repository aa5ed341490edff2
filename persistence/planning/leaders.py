"""Which nodes may lead shards, and what leads those of the others in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from persistence.model.records import MoveReason, Namespace, Node, NodeStatus
from persistence.planning.placement import status_of
from persistence.planning.proposal import LeaderChange, Move
from persistence.planning.scope import PlanScope
from persistence.planning.snapshot import PlacedShard

UNLED_REASONS: Final = {
    NodeStatus.REMOVED: MoveReason.LEADER_REMOVED,
    NodeStatus.DOWN: MoveReason.LEADER_DOWN,
    NodeStatus.DRAINING: MoveReason.LEADER_DRAINING,
}


def led_elsewhere(
    namespace: Namespace, shard: PlacedShard, unfit: Mapping[str | None, MoveReason], scope: PlanScope
) -> Move | None:
    """The move of a shard that stays and whose leader, which is another node, is not to lead any more."""
    owner, leader_id = shard.owner_node_id, shard.leader_id
    if leader_id is None or leader_id == owner or leader_id not in unfit:
        return None
    if not scope.vacates(leader_id) or not scope.allows(reason := unfit[leader_id]):
        return None
    leader = leader_after(shard, owner, unfit)
    return Move(namespace.name, shard.shard_id, shard.version, owner, owner, reason, leader=leader)


def unfit_to_lead(
    shards: Sequence[PlacedShard], nodes: Mapping[str, Node], eligible: set[str] | None
) -> Mapping[str | None, MoveReason]:
    """Of the nodes that own or lead these shards those that may not lead any, and why. A cordoned one keeps what it
    has. `eligible` null: where no node is, so that it means nothing."""
    unfit: dict[str | None, MoveReason] = {}
    leaders = {shard.leader_id for shard in shards if shard.leader_id is not None}
    for node_id in leaders | {shard.owner_node_id for shard in shards}:
        status = status_of(nodes.get(node_id))
        if status in UNLED_REASONS:
            unfit[node_id] = UNLED_REASONS[status]
        elif status is NodeStatus.ACTIVE and eligible is not None and node_id not in eligible:
            unfit[node_id] = MoveReason.LEADER_INELIGIBLE
    return unfit


def leader_after(shard: PlacedShard, owner_after: str, unfit: Mapping[str | None, MoveReason]) -> LeaderChange | None:
    """Null where the leader stays. An owner that leads does so wherever the shard is moved. Another leader is replaced
    where its node is unfit: by the owner, or by none where the owner is unfit itself."""
    leader, owner = shard.leader_id, shard.owner_node_id
    if leader is None or (owner == owner_after if leader == owner else leader not in unfit):
        return None
    return LeaderChange(leader, None if owner_after in unfit else owner_after)
