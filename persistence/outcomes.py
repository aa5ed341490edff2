"""What a command came to. All of these are expected; broken promises are exceptions (`errors.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from persistence.records import Change, Namespace, Shard, ShardKey, StreamPosition


@dataclass(frozen=True, slots=True)
class ShardsChanged:
    """Committed. `shards` are the records after the change (before it, for a deletion), in the order asked for.

    `replayed`: the change was made earlier, by a request with the same idempotency key.
    """

    change: Change
    shards: tuple[Shard, ...]
    position: StreamPosition
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class NamespaceConfigured:
    change: Change
    namespace: Namespace
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class StaleShard:
    """A shard that was not at the version expected. `actual` is 0 and `current` null where there is none now."""

    key: ShardKey
    expected: int
    actual: int
    current: Shard | None
    last_change: Change | None


@dataclass(frozen=True, slots=True)
class StaleNamespace:
    name: str
    expected: int
    actual: int
    current: Namespace | None
    last_change: Change | None


@dataclass(frozen=True, slots=True)
class VersionConflict:
    """Nothing was written. Every stale expectation is listed, with the record as it is and who changed it last."""

    stale: tuple[StaleShard, ...] = ()
    stale_namespace: StaleNamespace | None = None


@dataclass(frozen=True, slots=True)
class NotFound:
    """Nothing was written. Namespaces and shards that are not there."""

    namespaces: tuple[str, ...] = ()
    shards: tuple[ShardKey, ...] = ()


@dataclass(frozen=True, slots=True)
class IdempotencyKeyReused:
    """Nothing was written. The key already belongs to another request, which made `change`."""

    key: str
    change: Change


Outcome: TypeAlias = ShardsChanged | NamespaceConfigured | VersionConflict | NotFound | IdempotencyKeyReused
