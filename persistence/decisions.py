"""The rules of writing, without any I/O: from a command and the locked state to what is written, or why not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Final, TypeAlias

from persistence import audit
from persistence.checksums import digest_term, shard_checksum
from persistence.commands import (
    UNSET,
    ChangeRequest,
    Command,
    ConfigureNamespace,
    CreateShards,
    DeleteShards,
    NewShard,
    ShardPatch,
    UpdateShards,
    request_digest,
)
from persistence.fields import canonical_json
from persistence.images import image_of, write_image
from persistence.records import (
    ChangeKind,
    ConfigurationChange,
    DiffKind,
    Namespace,
    Shard,
    ShardContent,
    ShardKey,
    Tombstone,
)
from strategies.catalogue import STRATEGIES, parameters_digest


@dataclass(frozen=True, slots=True)
class LockedState:
    """What is there now, and cannot change before the transaction ends."""

    namespaces: Mapping[str, Namespace]
    shards: Mapping[ShardKey, Shard]
    tombstones: Mapping[ShardKey, Tombstone]


@dataclass(frozen=True, slots=True)
class ShardWrite:
    """One row of history to be. Revision and time are not known before the stream head is taken."""

    key: ShardKey
    kind: DiffKind
    previous: Shard | None
    content: ShardContent
    version: int
    owner_epoch: int
    checksum: str
    changed_fields: tuple[str, ...]
    previous_image: str | None
    current_image: str | None

    def committed(self, revision: int, committed_at: datetime) -> Shard:
        """The record after the change; for a deletion the record it took away."""
        if self.kind is DiffKind.DELETED and self.previous is not None:
            return self.previous
        content = self.content
        return Shard(
            self.key.namespace,
            self.key.shard_id,
            content.strategy,
            content.owner_node_id,
            content.leader_id,
            content.capacity_hint,
            content.locality_hint,
            content.status,
            content.pinned,
            content.change_ticket,
            self.version,
            self.owner_epoch,
            self.checksum,
            revision,
            self.previous.created_at if self.previous else committed_at,
            committed_at,
        )

    def row_digest(self) -> bytes:
        before = self.previous
        return audit.row_digest(
            self.kind,
            self.previous_image,
            before.revision if before else None,
            before.updated_at if before else None,
            before.created_at if before else None,
            self.current_image,
        )


@dataclass(frozen=True, slots=True)
class NamespaceDelta:
    """How a change moves a namespace's digest (exclusive or, 128 bits) and its number of shards."""

    namespace: str
    digest: int
    shard_count: int


@dataclass(frozen=True, slots=True)
class NamespaceWrite:
    """A namespace's configuration to be. `previous` is null for a new one."""

    name: str
    strategy: str
    strategy_parameters: Mapping[str, Any]
    algorithm_version: int
    parameters_digest: str
    version: int
    previous: Namespace | None

    @property
    def configuration(self) -> ConfigurationChange:
        return ConfigurationChange(
            self.name,
            None if self.previous is None else _configuration(self.previous),
            _configuration(self),
        )


@dataclass(frozen=True, slots=True)
class WriteSet:
    """Everything one unit of work writes, complete but for what the stream head assigns."""

    kind: ChangeKind
    request: ChangeRequest
    request_digest: bytes | None
    namespaces: tuple[str, ...]
    shards: tuple[ShardWrite, ...] = ()
    deltas: tuple[NamespaceDelta, ...] = ()
    namespace: NamespaceWrite | None = None
    content_digest: bytes = b""

    @property
    def metadata_json(self) -> str | None:
        return None if self.request.metadata is None else canonical_json(self.request.metadata)

    @property
    def configuration_json(self) -> str | None:
        return None if self.namespace is None else configuration_json(self.namespace.configuration)

    def digest(self) -> bytes:
        """The audit digest of what this change says and does."""
        return audit.content_digest(
            self.kind,
            self.request.actor,
            self.request.reason,
            self.request.change_ticket,
            self.metadata_json,
            self.configuration_json,
            (write.row_digest() for write in self.shards),
        )


@dataclass(frozen=True, slots=True)
class Stale:
    """A shard that is not at the version expected; `current` is null where there is none."""

    key: ShardKey
    expected: int
    current: Shard | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing may be written."""

    missing_namespaces: tuple[str, ...] = ()
    stale_shards: tuple[Stale, ...] = ()
    stale_namespace: tuple[str, int, Namespace | None] | None = None


Decision: TypeAlias = WriteSet | Refusal


def decide(command: Command, state: LockedState) -> Decision:
    """What `command` writes given `state`, or every reason why it may not. The command has been validated."""
    match command:
        case ConfigureNamespace():
            return _configure(command, state)
        case CreateShards() | UpdateShards() | DeleteShards():
            missing = tuple(name for name in command.namespaces if name not in state.namespaces)
            if missing:
                return Refusal(missing_namespaces=missing)
            stale = tuple(_stale(command, state))
            if stale:
                return Refusal(stale_shards=stale)
            return _write_set(command, command.namespaces, shards=tuple(_writes(command, state)))
        case _:
            raise TypeError(f"no rule for {type(command).__name__}")


def configuration_json(change: ConfigurationChange) -> str:
    """A configuration change as history keeps it."""
    return canonical_json({"namespace": change.namespace, "previous": change.previous, "current": change.current})


def _configure(command: ConfigureNamespace, state: LockedState) -> Decision:
    current = state.namespaces.get(command.name)
    if command.expected_version != (current.version if current else 0):
        return Refusal(stale_namespace=(command.name, command.expected_version, current))
    write = NamespaceWrite(
        command.name,
        command.strategy,
        dict(command.strategy_parameters),
        STRATEGIES[command.strategy].algorithm_version,
        parameters_digest(command.strategy, command.strategy_parameters),
        command.expected_version + 1,
        current,
    )
    return _write_set(command, (command.name,), namespace=write)


def _stale(command: CreateShards | UpdateShards | DeleteShards, state: LockedState) -> Iterable[Stale]:
    for shard in command.shards:
        expected = 0 if isinstance(shard, NewShard) else shard.expected_version
        current = state.shards.get(shard.key)
        # Version 0 stands for "not there", so an update that expects 0 is stale whatever it meets.
        absent_as_expected = isinstance(shard, NewShard) and current is None
        if not absent_as_expected and (current is None or current.version != expected):
            yield Stale(shard.key, expected, current)


def _writes(command: CreateShards | UpdateShards | DeleteShards, state: LockedState) -> Iterable[ShardWrite]:
    ticket = command.change.change_ticket
    for shard in command.shards:
        if isinstance(shard, NewShard):
            yield _creation(shard, state, ticket)
        elif isinstance(shard, ShardPatch):
            yield _update(shard, state, ticket)
        else:
            yield _deletion(state.shards[shard.key])


def _creation(shard: NewShard, state: LockedState, ticket: str | None) -> ShardWrite:
    strategy = state.namespaces[shard.namespace].strategy
    content = ShardContent(
        strategy,
        shard.owner_node_id,
        shard.leader_id,
        shard.capacity_hint + 0.0,
        shard.locality_hint,
        shard.status,
        None,
        ticket,
    )
    last = state.tombstones.get(shard.key, Tombstone(0, 0))
    return _write(shard.key, DiffKind.CREATED, None, content, last.version + 1, last.owner_epoch + 1)


def _update(patch: ShardPatch, state: LockedState, ticket: str | None) -> ShardWrite:
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
        previous.pinned,
        ticket,
    )
    epoch = previous.owner_epoch + 1 if moved else previous.owner_epoch
    return _write(patch.key, DiffKind.UPDATED, previous, content, previous.version + 1, epoch)


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
    key: ShardKey, kind: DiffKind, previous: Shard | None, content: ShardContent, version: int, epoch: int
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
    )


def _patched(value: Any, previous: Any) -> Any:
    return previous if value is UNSET else value


def _public_name(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


_CONTENT_FIELDS: Final = {member.name: _public_name(member.name) for member in fields(ShardContent)}


def changed_fields(previous: ShardContent | None, current: ShardContent | None) -> tuple[str, ...]:
    """Names (as the API writes them) of the content fields that differ; none where a side is missing."""
    if previous is None or current is None:
        return ()
    return tuple(
        public for name, public in _CONTENT_FIELDS.items() if getattr(previous, name) != getattr(current, name)
    )


def _write_set(
    command: Command,
    namespaces: Sequence[str],
    *,
    shards: tuple[ShardWrite, ...] = (),
    namespace: NamespaceWrite | None = None,
) -> WriteSet:
    request = command.change
    write_set = WriteSet(
        command.kind,
        request,
        request_digest(command) if request.idempotency_key is not None else None,
        tuple(namespaces),
        shards,
        tuple(_deltas(shards)),
        namespace,
    )
    return replace(write_set, content_digest=write_set.digest())


def _deltas(writes: Iterable[ShardWrite]) -> Iterable[NamespaceDelta]:
    digests: dict[str, int] = {}
    counts: dict[str, int] = {}
    for write in writes:
        name, shard_id = write.key
        term = 0
        if write.previous is not None:
            term ^= digest_term(shard_id, write.previous.version, write.previous.checksum)
        if write.kind is not DiffKind.DELETED:
            term ^= digest_term(shard_id, write.version, write.checksum)
        digests[name] = digests.get(name, 0) ^ term
        counts[name] = counts.get(name, 0) + (write.kind is DiffKind.CREATED) - (write.kind is DiffKind.DELETED)
    for name in sorted(digests):
        yield NamespaceDelta(name, digests[name], counts[name])


def _configuration(namespace: Namespace | NamespaceWrite) -> Mapping[str, Any]:
    return {
        "strategy": namespace.strategy,
        "strategyParameters": dict(namespace.strategy_parameters),
        "algorithmVersion": namespace.algorithm_version,
        "parametersDigest": namespace.parameters_digest,
        "version": namespace.version,
    }
