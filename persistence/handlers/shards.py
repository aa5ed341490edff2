"""Handlers of the commands on shards: creating, changing, moving and deleting them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from typing import Any, Final, TypeAlias

from persistence.codec.columns import (
    MANY,
    Columns,
    as_json,
    changed_fields_of,
    content_columns,
    images,
    shard_checksums,
)
from persistence.codec.encoding import encode_texts, shard_checksum
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
from persistence.model.drafts import new_contents
from persistence.model.outcomes import NotFound, PolicyViolation, StaleShard, VersionConflict
from persistence.model.records import (
    ADDED_FIELDS,
    CONTENT_FIELDS,
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


def change_shards(
    command: ShardCommand, state: ReadState
) -> WriteSet | InputsRequired | NotFound | VersionConflict | PolicyViolation:
    """Raises InvalidArgument for what breaks no rule of form, but contradicts the mesh."""
    namespaces = sorted({shard.namespace for shard in command.shards})
    missing = tuple(name for name in namespaces if name not in state.namespaces)
    if missing:
        return NotFound(namespaces=missing)
    found = [state.shards.get(ShardKey(shard.namespace, shard.shard_id)) for shard in command.shards]
    stale = tuple(_stale(command.shards, found))
    if stale:
        return VersionConflict(stale)
    if not isinstance(command, DeleteShards):
        if state.inputs is None and (required := _inputs_required(command.shards, found, state)):
            return required
        if any(isinstance(shard.pin, PinRequest) for shard in command.shards):
            check_pins(command, state)
    writes = _writes(command, [shard for shard in found if shard is not None], state)
    checked = check(command.change, state, writes)
    if isinstance(checked, PolicyViolation):
        return checked
    return write_set(command, namespaces, shards=writes, conditions=checked)


def _inputs_required(
    requested: Sequence[NewShard | ShardPatch], found: Sequence[Shard | None], state: ReadState
) -> InputsRequired | None:
    """The clock, if a pin that ends is made or stands in the way and the state has none yet; the nodes that shards are
    pinned to, and those that they are given where these must be registered; and the anti-affinity groups of the shards
    that are brought to a node or into a group.
    """
    clock, node_ids, groups = False, set[str](), set[GroupKey]()
    for shard, current in zip(requested, found, strict=True):
        before = None if current is None else current.owner_node_id
        owner = shard.owner_node_id if isinstance(shard.owner_node_id, str) else before
        moved = current is not None and owner != before
        if isinstance(shard.pin, PinRequest) and owner is not None:
            node_ids.add(owner)
            clock = clock or shard.pin.until is not None
        if state.namespaces[shard.namespace].policy.owners_must_be_registered:
            node_ids.update(node_id for node_id in _named(shard, current) if node_id not in state.nodes_read)
        if moved and current is not None and current.pinned is not None:
            clock = clock or current.pinned.until is not None
        joined = None if current is None else current.anti_affinity_group
        group = joined if isinstance(shard.anti_affinity_group, Unset) else shard.anti_affinity_group
        if group is not None and (current is None or moved or group != joined):
            groups.add(GroupKey(shard.namespace, group))
    return _required(state, clock=clock, node_ids=node_ids, groups=groups)


def _named(shard: NewShard | ShardPatch, current: Shard | None) -> Iterator[str]:
    """Owner and leader, where they are others than now."""
    if isinstance(shard.owner_node_id, str) and (current is None or shard.owner_node_id != current.owner_node_id):
        yield shard.owner_node_id
    if isinstance(shard.leader_id, str) and (current is None or shard.leader_id != current.leader_id):
        yield shard.leader_id


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


def _stale(
    requested: Sequence[NewShard | ShardPatch | ShardExpectation], found: Sequence[Shard | None]
) -> Iterator[StaleShard]:
    for shard, current in zip(requested, found, strict=True):
        expected = 0 if isinstance(shard, NewShard) else shard.expected_version
        # Version 0 stands for "not there", so an update that expects 0 is stale whatever it meets.
        absent_as_expected = isinstance(shard, NewShard) and current is None
        if not absent_as_expected and (current is None or current.version != expected):
            key = ShardKey(shard.namespace, shard.shard_id)
            yield StaleShard(key, expected, current.version if current else 0, current, None)


def _writes(command: ShardCommand, current: Sequence[Shard], state: ReadState) -> tuple[ShardWrite, ...]:
    """Of shards that are as expected. `current` are those of an update or a deletion."""
    if isinstance(command, CreateShards):
        return _creations(command.shards, state, command.change)
    if isinstance(command, UpdateShards):
        return _updates(command.shards, current, state, command.change)
    return _deletions(current)


def _creations(shards: Sequence[NewShard], state: ReadState, change: ChangeRequest) -> tuple[ShardWrite, ...]:
    contents = [
        ShardContent(
            state.namespaces[shard.namespace].strategy,
            shard.owner_node_id,
            shard.leader_id,
            shard.capacity_hint + 0.0,
            shard.locality_hint,
            shard.status,
            _pin(shard.pin, None, change),
            change.change_ticket,
            *(getattr(shard, name) for name in ADDED_FIELDS),
        )
        for shard in shards
    ]
    keys = [shard.key for shard in shards]
    last = [state.tombstones.get(key, _NEVER_THERE) for key in keys]
    return _shard_writes(keys, None, contents, [one.version + 1 for one in last], [one.owner_epoch + 1 for one in last])


_NEVER_THERE: Final = Tombstone(0, 0)


def _updates(
    patches: Sequence[ShardPatch], previous: Sequence[Shard], state: ReadState, change: ChangeRequest
) -> tuple[ShardWrite, ...]:
    columns: tuple[Columns, Columns] | None = None
    contents: Sequence[ShardContent]
    if len(patches) < MANY:
        contents = [_patched(patch, shard, state, change) for patch, shard in zip(patches, previous, strict=True)]
    else:
        before = content_columns(previous)
        after = _all_patched(patches, before, state, change)
        columns, contents = (before, after), new_contents(after[name] for name in CONTENT_FIELDS)
    moved = [shard.owner_node_id != content.owner_node_id for shard, content in zip(previous, contents, strict=True)]
    return _shard_writes(
        [ShardKey(shard.namespace, shard.shard_id) for shard in previous],
        previous,
        contents,
        [shard.version + 1 for shard in previous],
        [shard.owner_epoch + moves for shard, moves in zip(previous, moved, strict=True)],
        columns=columns,
    )


def _patched(patch: ShardPatch, previous: Shard, state: ReadState, change: ChangeRequest) -> ShardContent:
    owner = _given(patch.owner_node_id, previous.owner_node_id)
    moved = owner != previous.owner_node_id
    return ShardContent(
        state.namespaces[patch.namespace].strategy if moved else previous.strategy,
        owner,
        _given(patch.leader_id, previous.leader_id),
        _given(patch.capacity_hint, previous.capacity_hint) + 0.0,
        _given(patch.locality_hint, previous.locality_hint),
        _given(patch.status, previous.status),
        _pin(patch.pin, previous.pinned, change),
        change.change_ticket,
        *(_given(getattr(patch, name), getattr(previous, name)) for name in ADDED_FIELDS),
    )


def _given(value: Any, previous: Any) -> Any:
    return previous if value is UNSET else value


def _all_patched(patches: Sequence[ShardPatch], before: Columns, state: ReadState, change: ChangeRequest) -> Columns:
    """As `_patched`, field by field: one that no patch has is as it was."""
    given: dict[str, Sequence[Any]] = dict(zip(ShardPatch._fields, zip(*patches, strict=True), strict=True))
    namespaces, pins = given["namespace"], given.pop("pin")
    after = dict(before)
    for name in before.keys() & given.keys():
        if set(given[name]) != {UNSET}:
            after[name] = list(map(_given, given[name], before[name]))
    owners = zip(before["owner_node_id"], after["owner_node_id"], strict=True)
    strategies = zip(namespaces, before["strategy"], owners, strict=True)
    after["strategy"] = [
        strategy if was == owner else state.namespaces[namespace].strategy
        for namespace, strategy, (was, owner) in strategies
    ]
    after["capacity_hint"] = [capacity + 0.0 for capacity in after["capacity_hint"]]
    if pins.count(UNSET) < len(pins):
        after["pinned"] = [_pin(pin, was, change) for pin, was in zip(pins, before["pinned"], strict=True)]
    after["change_ticket"] = [change.change_ticket] * len(patches)
    return after


def move_shards(moves: Sequence[Move], state: ReadState, ticket: str | None) -> tuple[ShardWrite, ...]:
    """Shards of the state, given to other owners by a plan, or given back what they had."""
    previous = [state.shards[move.key] for move in moves]
    return _shard_writes(
        [move.key for move in moves],
        previous,
        [_moved(move, shard, state, ticket) for move, shard in zip(moves, previous, strict=True)],
        [shard.version + 1 for shard in previous],
        [shard.owner_epoch + move.changes_owner for move, shard in zip(moves, previous, strict=True)],
        [move.reason for move in moves],
    )


def _moved(move: Move, previous: Shard, state: ReadState, ticket: str | None) -> ShardContent:
    content = replace(previous.content, change_ticket=ticket)
    if move.changes_owner:
        strategy = state.namespaces[move.namespace].strategy
        content = replace(content, strategy=strategy, owner_node_id=move.to_node_id)
    if move.leader is not None:
        content = replace(content, leader_id=move.leader.to_node_id)
    if move.restore is not None:
        content = replace(
            content,
            leader_id=move.restore.leader_id,
            capacity_hint=move.restore.capacity_hint,
            locality_hint=move.restore.locality_hint,
            status=move.restore.status,
        )
    return content


def _deletions(previous: Sequence[Shard]) -> tuple[ShardWrite, ...]:
    # The tombstone's version counts the deletion too: so it differs from the version before.
    return tuple(
        ShardWrite(
            shard.key,
            DiffKind.DELETED,
            shard,
            shard.content,
            shard.version + 1,
            shard.owner_epoch,
            shard.checksum,
            (),
            image_of(shard),
            None,
        )
        for shard in previous
    )


def _shard_writes(
    keys: Sequence[ShardKey],
    previous: Sequence[Shard] | None,
    contents: Sequence[ShardContent],
    versions: Sequence[int],
    owner_epochs: Sequence[int],
    reasons: Sequence[MoveReason | None] | None = None,
    columns: tuple[Columns, Columns] | None = None,
) -> tuple[ShardWrite, ...]:
    """Of shards that are created, where `previous` is null, or updated. `columns` are those of the contents before and
    after, where there are any already."""
    given: tuple[Iterable[Any], ...] = (
        keys,
        repeat(DiffKind.CREATED if previous is None else DiffKind.UPDATED),
        repeat(None) if previous is None else previous,
        contents,
        versions,
        owner_epochs,
    )
    if len(keys) < MANY:
        derived = _derived(keys, previous, contents, versions, owner_epochs)
    else:
        columns = columns or (content_columns(previous) if previous else {}, content_columns(contents))
        derived = _all_derived(keys, previous, columns, versions, owner_epochs)
    rows = zip(*given, *derived, repeat(None) if reasons is None else reasons, strict=False)
    # A named tuple's own function would be called in Python for each.
    return tuple(map(tuple.__new__, repeat(ShardWrite), rows))


_Derived: TypeAlias = tuple[Iterable[str], Iterable[tuple[str, ...]], Iterable[str | None], Iterable[str]]
"""Checksums, changed fields, and the images before and after."""


def _derived(
    keys: Sequence[ShardKey],
    previous: Sequence[Shard] | None,
    contents: Sequence[ShardContent],
    versions: Sequence[int],
    owner_epochs: Sequence[int],
) -> _Derived:
    checksums = list(map(shard_checksum, keys, contents))
    return (
        checksums,
        repeat(()) if previous is None else map(changed_fields, previous, contents),
        repeat(None) if previous is None else map(image_of, previous),
        map(write_image, keys, contents, versions, owner_epochs, checksums),
    )


def _all_derived(
    keys: Sequence[ShardKey],
    previous: Sequence[Shard] | None,
    columns: tuple[Columns, Columns],
    versions: Sequence[int],
    owner_epochs: Sequence[int],
) -> _Derived:
    """The same, field by field."""
    namespaces, shard_ids = zip(*keys, strict=True)
    (before, content), json_ids = columns, as_json(shard_ids)
    checksums = shard_checksums(namespaces, encode_texts(shard_ids), content)
    after = images(namespaces, json_ids, content, versions, owner_epochs, checksums)
    if previous is None:
        return checksums, repeat(()), repeat(None), after
    counted = ([getattr(shard, name) for shard in previous] for name in ("version", "owner_epoch", "checksum"))
    return checksums, changed_fields_of(before, content), images(namespaces, json_ids, before, *counted), after


def _pin(pin: PinRequest | Unset | None, previous: Pin | None, change: ChangeRequest) -> Pin | None:
    if isinstance(pin, PinRequest):
        return pin.by(change.actor)
    return previous if pin is UNSET else None
