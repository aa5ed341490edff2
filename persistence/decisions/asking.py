"""What a command asks to be told, given what was locked for it."""

from __future__ import annotations

from collections.abc import Iterator

from persistence.circumstances import Asked
from persistence.commands import Command, CreateShards, NewShard, ShardPatch, UpdateShards
from persistence.pins import PinRequest, ends
from persistence.plan_commands import ApplyPlan
from persistence.records import Pin
from persistence.writes import LockedState


def asked_by(command: Command, state: LockedState) -> Asked:
    """The time, if a pin that ends is made or stands in the way; the nodes that shards are pinned to."""
    pinned = list(_pinned_to(command, state))
    return Asked(
        any(ends(pin) for pin in (*(pin for pin, _ in pinned), *_met(command, state))),
        sorted({owner for _, owner in pinned}),
    )


def _pinned_to(command: Command, state: LockedState) -> Iterator[tuple[PinRequest, str]]:
    """Each pin the command makes, and the node that will own the shard."""
    if not isinstance(command, CreateShards | UpdateShards):
        return
    for shard in command.shards:
        if isinstance(shard.pin, PinRequest) and (owner := owner_after(shard, state)) is not None:
            yield shard.pin, owner


def _met(command: Command, state: LockedState) -> Iterator[Pin | None]:
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


def owner_after(shard: NewShard | ShardPatch, state: LockedState) -> str | None:
    """Null for a patch of a shard that is not there."""
    if isinstance(shard.owner_node_id, str):
        return shard.owner_node_id
    current = state.shards.get(shard.key)
    return None if current is None else current.owner_node_id
