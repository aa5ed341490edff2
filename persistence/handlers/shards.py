"""Handlers of the commands on shards: creating, changing, moving and deleting them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from persistence.codec.encoding import shard_checksum
from persistence.codec.images import changed_fields, image_of, write_image
from persistence.commands.command import UNSET, ChangeRequest, Unset
from persistence.commands.read_state import InputsRequired, ReadState
from persistence.commands.shards import (
    CreateShards,
    DeleteShards,
    NewShard,
    PinRequest,
    ShardExpectation,
    ShardPatch,
    UpdateShards,
)
from persistence.commands.write_set import ShardWrite, WriteSet, write_set
from persistence.handlers.rules.pins import check_pins
from persistence.handlers.rules.policies import check
from persistence.model.outcomes import NotFound, PolicyViolation, StaleShard, VersionConflict
from persistence.model.records import (
    ADDED_FIELDS,
    DiffKind,
    GroupKey,
    MoveReason,
    Pin,
    Shard,
    ShardContent,
    ShardKey,
    Tombstone,
)
from persistence.planning.proposal import Move

ShardCommand: TypeAlias = CreateShards | UpdateShards | DeleteShards

_Found: TypeAlias = Sequence[tuple[NewShard | ShardPatch | ShardExpectation, Shard | None]]
"""What is requested of each shard, and the shard as it is."""


def change_shards(
    command: ShardCommand, state: ReadState
) -> WriteSet | InputsRequired | NotFound | VersionConflict | PolicyViolation:
    """Raises InvalidArgument for what breaks no rule of form, but contradicts the mesh."""
    namespaces = sorted({shard.namespace for shard in command.shards})
    missing = tuple(name for name in namespaces if name not in state.namespaces)
    if missing:
        return NotFound(namespaces=missing)
    found: _Found = [(shard, state.shards.get(ShardKey(shard.namespace, shard.shard_id))) for shard in command.shards]
    stale = tuple(_stale(found))
    if stale:
        return VersionConflict(stale)
    if not isinstance(command, DeleteShards):
        if state.inputs is None and (required := _inputs_required(found, state)):
            return required
        if any(isinstance(shard.pin, PinRequest) for shard in command.shards):
            check_pins(command, state)
    writes = tuple(_writes(found, state, command.change))
    checked = check(command.change, state, writes)
    if isinstance(checked, PolicyViolation):
        return checked
    return write_set(command, namespaces, shards=writes, conditions=checked)


def _inputs_required(found: _Found, state: ReadState) -> InputsRequired | None:
    """The clock, if a pin that ends is made or stands in the way and the state has none yet; the nodes that shards are
    pinned to; and the anti-affinity groups of the shards that are brought to a node or into a group.
    """
    clock, node_ids, groups = False, set[str](), set[GroupKey]()
    for shard, current in found:
        if isinstance(shard, ShardExpectation):
            continue
        before = None if current is None else current.owner_node_id
        owner = shard.owner_node_id if isinstance(shard.owner_node_id, str) else before
        moved = current is not None and owner != before
        if isinstance(shard.pin, PinRequest) and owner is not None:
            node_ids.add(owner)
            clock = clock or shard.pin.until is not None
        if moved and current is not None and current.pinned is not None:
            clock = clock or current.pinned.until is not None
        joined = None if current is None else current.anti_affinity_group
        group = joined if isinstance(shard.anti_affinity_group, Unset) else shard.anti_affinity_group
        if group is not None and (current is None or moved or group != joined):
            groups.add(GroupKey(shard.namespace, group))
    return _required(state, clock=clock, node_ids=node_ids, groups=groups)


def inputs_required_by_moves(moves: Sequence[Move], state: ReadState) -> InputsRequired | None:
    """As `_inputs_required`, for the moves of a plan to shards of the state."""
    moved = [state.shards[move.key] for move in moves if move.changes_owner]
    clock = any(shard.pinned is not None and shard.pinned.until is not None for shard in moved)
    groups = {GroupKey(one.namespace, one.anti_affinity_group) for one in moved if one.anti_affinity_group is not None}
    return _required(state, clock=clock, groups=groups)


def _required(
    state: ReadState, *, clock: bool, node_ids: Collection[str] = (), groups: Collection[GroupKey] = ()
) -> InputsRequired | None:
    clock = clock and state.clock is None
    return InputsRequired(clock, sorted(node_ids), sorted(groups)) if clock or node_ids or groups else None


def _stale(found: _Found) -> Iterator[StaleShard]:
    for shard, current in found:
        expected = 0 if isinstance(shard, NewShard) else shard.expected_version
        # Version 0 stands for "not there", so an update that expects 0 is stale whatever it meets.
        absent_as_expected = isinstance(shard, NewShard) and current is None
        if not absent_as_expected and (current is None or current.version != expected):
            key = ShardKey(shard.namespace, shard.shard_id)
            yield StaleShard(key, expected, current.version if current else 0, current, None)


def _writes(found: _Found, state: ReadState, change: ChangeRequest) -> Iterator[ShardWrite]:
    """Of shards that are as expected."""
    for shard, current in found:
        if isinstance(shard, NewShard):
            yield _creation(shard, state, change)
        elif current is None:
            raise TypeError("a shard that is not there has no change")
        elif isinstance(shard, ShardPatch):
            yield _update(shard, current, state, change)
        else:
            yield _deletion(current)


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
    key = ShardKey(shard.namespace, shard.shard_id)
    last = state.tombstones.get(key, Tombstone(0, 0))
    return _write(key, DiffKind.CREATED, None, content, last.version + 1, last.owner_epoch + 1)


def _update(patch: ShardPatch, previous: Shard, state: ReadState, change: ChangeRequest) -> ShardWrite:
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
    key = ShardKey(patch.namespace, patch.shard_id)
    return _write(key, DiffKind.UPDATED, previous, content, previous.version + 1, epoch)


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
    # The tombstone's version counts the deletion too: so it differs from the version before.
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
        changed_fields(previous, content),
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
