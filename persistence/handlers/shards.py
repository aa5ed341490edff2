"""Creating, changing, moving and deleting shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

from persistence.codec.encoding import shard_checksum
from persistence.codec.images import changed_fields, image_of, write_image
from persistence.commands.command import UNSET, ChangeRequest, Unset
from persistence.commands.read_state import ReadState
from persistence.commands.shards import CreateShards, DeleteShards, NewShard, PinRequest, ShardPatch, UpdateShards
from persistence.commands.write_set import ShardWrite, WriteSet, write_set
from persistence.handlers.rules.anti_affinity import broken_groups
from persistence.handlers.rules.pins import broken_pins, check_pins
from persistence.handlers.rules.policies import conditions, violation
from persistence.model.outcomes import BrokenRule, NotFound, PolicyViolation, StaleShard, VersionConflict
from persistence.model.records import ADDED_FIELDS, DiffKind, MoveReason, Pin, Shard, ShardContent, ShardKey, Tombstone
from persistence.planning.proposal import Move

LISTED: Final = 100
"""Broken rules that an answer holds; the rest are counted."""

ShardCommand: TypeAlias = CreateShards | UpdateShards | DeleteShards


def change_shards(command: ShardCommand, state: ReadState) -> WriteSet | NotFound | VersionConflict | PolicyViolation:
    """Raises InvalidArgument for what breaks no rule of form, but contradicts the mesh."""
    namespaces = command.reads.namespaces
    missing = tuple(name for name in namespaces if name not in state.namespaces)
    if missing:
        return NotFound(namespaces=missing)
    stale = tuple(_stale(command, state))
    if stale:
        return VersionConflict(stale)
    if not isinstance(command, DeleteShards):
        check_pins(command, state)
    writes = tuple(_writes(command, state))
    broken = violation(command.change, state, writes, misplaced(command.change, writes, state))
    if broken is not None:
        return broken
    return write_set(command, namespaces, shards=writes, conditions=conditions(command.change, state, writes))


def misplaced(change: ChangeRequest, writes: Sequence[ShardWrite], state: ReadState) -> Iterator[BrokenRule]:
    """Moves that pins forbid, and owners that an anti-affinity group has already. Forcing lets them pass."""
    if change.forced is None:
        yield from broken_pins(writes, state)
        yield from broken_groups(writes, state)


def _stale(command: ShardCommand, state: ReadState) -> Iterator[StaleShard]:
    for shard in command.shards:
        expected = 0 if isinstance(shard, NewShard) else shard.expected_version
        current = state.shards.get(shard.key)
        # Version 0 stands for "not there", so an update that expects 0 is stale whatever it meets.
        absent_as_expected = isinstance(shard, NewShard) and current is None
        if not absent_as_expected and (current is None or current.version != expected):
            yield StaleShard(shard.key, expected, current.version if current else 0, current, None)


def _writes(command: ShardCommand, state: ReadState) -> Iterator[ShardWrite]:
    for shard in command.shards:
        if isinstance(shard, NewShard):
            yield _creation(shard, state, command.change)
        elif isinstance(shard, ShardPatch):
            yield _update(shard, state, command.change)
        else:
            yield _deletion(state.shards[shard.key])


def _creation(shard: NewShard, state: ReadState, change: ChangeRequest) -> ShardWrite:
    strategy = state.namespaces[shard.namespace].strategy
    content = ShardContent(
        strategy,
        shard.owner_node_id,
        shard.leader_id,
        shard.capacity_hint + 0.0,
        shard.locality_hint,
        shard.status,
        _pin(shard.pin, None, change),
        change.change_ticket,
        *(getattr(shard, name) for name in ADDED_FIELDS),
    )
    last = state.tombstones.get(shard.key, Tombstone(0, 0))
    return _write(shard.key, DiffKind.CREATED, None, content, last.version + 1, last.owner_epoch + 1)


def _update(patch: ShardPatch, state: ReadState, change: ChangeRequest) -> ShardWrite:
    previous = state.shards[patch.key]
    owner = _patched(patch.owner_node_id, previous.owner_node_id)
    moved = owner != previous.owner_node_id
    content = ShardContent(
        state.namespaces[patch.namespace].strategy if moved else previous.strategy,
        owner,
        _patched(patch.leader_id, previous.leader_id),
        _patched(patch.capacity_hint, previous.capacity_hint) + 0.0,
        _patched(patch.locality_hint, previous.locality_hint),
        _patched(patch.status, previous.status),
        _pin(patch.pin, previous.pinned, change),
        change.change_ticket,
        *(_patched(getattr(patch, name), getattr(previous, name)) for name in ADDED_FIELDS),
    )
    epoch = previous.owner_epoch + 1 if moved else previous.owner_epoch
    return _write(patch.key, DiffKind.UPDATED, previous, content, previous.version + 1, epoch)


def move_shard(move: Move, state: ReadState, ticket: str | None) -> ShardWrite:
    """A shard of the state, given to another owner by a plan, or given back what it had."""
    previous = state.shards[move.key]
    content, epoch = replace(previous.content, change_ticket=ticket), previous.owner_epoch
    if move.changes_owner:
        strategy = state.namespaces[move.namespace].strategy
        content, epoch = replace(content, strategy=strategy, owner_node_id=move.to_node_id), epoch + 1
    if move.restore is not None:
        content = replace(
            content,
            leader_id=move.restore.leader_id,
            capacity_hint=move.restore.capacity_hint,
            locality_hint=move.restore.locality_hint,
            status=move.restore.status,
        )
    return _write(move.key, DiffKind.UPDATED, previous, content, previous.version + 1, epoch, move.reason)


def _deletion(previous: Shard) -> ShardWrite:
    # The tombstone's version counts the deletion too: whoever saw it can tell it from the version before.
    return ShardWrite(
        previous.key,
        DiffKind.DELETED,
        previous,
        previous.content,
        previous.version + 1,
        previous.owner_epoch,
        previous.checksum,
        (),
        image_of(previous),
        None,
    )


def _write(
    key: ShardKey,
    kind: DiffKind,
    previous: Shard | None,
    content: ShardContent,
    version: int,
    epoch: int,
    reason: MoveReason | None = None,
) -> ShardWrite:
    checksum = shard_checksum(key, content)
    return ShardWrite(
        key,
        kind,
        previous,
        content,
        version,
        epoch,
        checksum,
        changed_fields(previous.content if previous else None, content),
        image_of(previous) if previous else None,
        write_image(key, content, version, epoch, checksum),
        reason,
    )


def _pin(pin: PinRequest | Unset | None, previous: Pin | None, change: ChangeRequest) -> Pin | None:
    if isinstance(pin, PinRequest):
        return pin.by(change.actor)
    return previous if pin is UNSET else None


def _patched(value: Any, previous: Any) -> Any:
    return previous if value is UNSET else value
