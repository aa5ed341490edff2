"""What a command asks to be told, given what was read for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from persistence.circumstances import Asked
from persistence.commands import Command, CreateShards, NewShard, ShardPatch, Unset, UpdateShards
from persistence.pins import PinRequest, ends
from persistence.plan_commands import ApplyPlan
from persistence.records import GroupKey, Pin
from persistence.writes import ReadState


def asked_by(command: Command, state: ReadState) -> Asked:
    """The clock, if a pin that ends is made or stands in the way and the state has none yet; the nodes that shards are
    pinned to; and the anti-affinity groups of the shards that are brought to a node or into a group.
    """
    pinned = list(_pinned_to(command, state))
    return Asked(
        state.clock is None and any(ends(pin) for pin in (*(pin for pin, _ in pinned), *_met(command, state))),
        sorted({owner for _, owner in pinned}),
        sorted(set(_joined(command, state))),
    )


def _pinned_to(command: Command, state: ReadState) -> Iterator[tuple[PinRequest, str]]:
    """Each pin the command makes, and the node that will own the shard."""
    if not isinstance(command, CreateShards | UpdateShards):
        return
    for shard in command.shards:
        if isinstance(shard.pin, PinRequest) and (owner := owner_after(shard, state)) is not None:
            yield shard.pin, owner


def _met(command: Command, state: ReadState) -> Iterator[Pin | None]:
    """The pins of the shards that the command moves."""
    if isinstance(command, UpdateShards):
        for patch in command.shards:
            current = state.shards.get(patch.key)
            if current is not None and owner_after(patch, state) != current.owner_node_id:
                yield current.pinned
    elif isinstance(command, ApplyPlan) and state.plan is not None:
        for move in state.plan.proposal.moves:
            if move.key in state.shards:
                yield state.shards[move.key].pinned


def _joined(command: Command, state: ReadState) -> Iterator[GroupKey]:
    """The groups of the shards that the command brings to a node, or into a group."""
    members: Iterable[tuple[str, str | None]] = ()
    if isinstance(command, CreateShards):
        members = ((shard.namespace, shard.anti_affinity_group) for shard in command.shards)
    elif isinstance(command, UpdateShards):
        members = ((patch.namespace, _joined_by(patch, state)) for patch in command.shards)
    elif isinstance(command, ApplyPlan) and state.plan is not None:
        moved = (state.shards.get(move.key) for move in state.plan.proposal.moves)
        members = ((shard.namespace, shard.anti_affinity_group) for shard in moved if shard is not None)
    for namespace, group in members:
        if group is not None:
            yield GroupKey(namespace, group)


def _joined_by(patch: ShardPatch, state: ReadState) -> str | None:
    current = state.shards.get(patch.key)
    if current is None:
        return None
    before, group = current.anti_affinity_group, patch.anti_affinity_group
    after = before if isinstance(group, Unset) else group
    return after if after != before or owner_after(patch, state) != current.owner_node_id else None


def owner_after(shard: NewShard | ShardPatch, state: ReadState) -> str | None:
    """Null for a patch of a shard that is not there."""
    if isinstance(shard.owner_node_id, str):
        return shard.owner_node_id
    current = state.shards.get(shard.key)
    return None if current is None else current.owner_node_id
