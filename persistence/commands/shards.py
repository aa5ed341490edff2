"""Creating, changing and deleting shards, and the pins and groups that they may be given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Final

from persistence.commands.command import NOT_DIGESTED_WHEN_NULL, NOT_NULL, UNSET, ChangeRequest, Unset
from persistence.commands.read_state import ReadSet
from persistence.model.fields import (
    MAX_SHARDS_PER_CHANGE,
    Check,
    Problems,
    capacity_problem,
    counter_problem,
    identifier_problem,
    locality_problem,
    text_problem,
)
from persistence.model.records import ChangeKind, Pin, ShardKey, ShardStatus, public_name


@dataclass(frozen=True, slots=True)
class PinRequest:
    """A pin to be. It is the actor's of the change that makes it; `until` null is for good."""

    reason: str
    until: datetime | None = None

    def by(self, actor: str) -> Pin:
        return Pin(actor, self.reason, self.until)


@dataclass(frozen=True, slots=True)
class NewShard:
    namespace: str
    shard_id: str
    owner_node_id: str
    leader_id: str | None = None
    capacity_hint: float = 1.0
    locality_hint: str | None = None
    status: ShardStatus = ShardStatus.ACTIVE
    pin: PinRequest | None = field(default=None, metadata=NOT_DIGESTED_WHEN_NULL)
    anti_affinity_group: str | None = field(default=None, metadata=NOT_DIGESTED_WHEN_NULL)

    @property
    def key(self) -> ShardKey:
        return ShardKey(self.namespace, self.shard_id)

    def checks(self, path: str) -> list[Check]:
        """`path` is the shard's position in the input, with a dot at its end."""
        return [
            (f"{path}ownerNodeId", identifier_problem, self.owner_node_id),
            (f"{path}capacityHint", capacity_problem, self.capacity_hint),
            *_optional_checks(self, path),
        ]


@dataclass(frozen=True, slots=True)
class ShardPatch:
    """The fields of one shard to change, if it still is at `expected_version`."""

    namespace: str
    shard_id: str
    expected_version: int
    owner_node_id: str | Unset | None = UNSET
    leader_id: str | Unset | None = UNSET
    capacity_hint: float | Unset | None = UNSET
    locality_hint: str | Unset | None = UNSET
    status: ShardStatus | Unset | None = UNSET
    pin: PinRequest | Unset | None = UNSET
    anti_affinity_group: str | Unset | None = UNSET

    @property
    def key(self) -> ShardKey:
        return ShardKey(self.namespace, self.shard_id)

    def checks(self, path: str) -> list[Check]:
        """As those of NewShard."""
        checks: list[Check] = [(f"{path}expectedVersion", counter_problem, self.expected_version)]
        if self.owner_node_id is None:
            checks.append((f"{path}ownerNodeId", None, NOT_NULL))
        elif self.owner_node_id is not UNSET:
            checks.append((f"{path}ownerNodeId", identifier_problem, self.owner_node_id))
        if self.capacity_hint is None:
            checks.append((f"{path}capacityHint", None, NOT_NULL))
        elif self.capacity_hint is not UNSET:
            checks.append((f"{path}capacityHint", capacity_problem, self.capacity_hint))
        if self.status is None:
            checks.append((f"{path}status", None, NOT_NULL))
        checks += _optional_checks(self, path)
        if all(getattr(self, name) is UNSET for name in _CHANGEABLE):
            *most, last = map(public_name, _CHANGEABLE)
            checks.append((f"{path}shardId", None, f"has nothing to change: give {', '.join(most)} or {last}"))
        return checks


def _optional_checks(shard: NewShard | ShardPatch, path: str) -> Iterator[Check]:
    """Of fields that may be null, where they are given."""
    if isinstance(shard.leader_id, str):
        yield f"{path}leaderId", identifier_problem, shard.leader_id
    if isinstance(shard.locality_hint, str):
        yield f"{path}localityHint", locality_problem, shard.locality_hint
    if isinstance(shard.pin, PinRequest):
        yield f"{path}pin.reason", text_problem, shard.pin.reason
    if isinstance(shard.anti_affinity_group, str):
        yield f"{path}antiAffinityGroup", identifier_problem, shard.anti_affinity_group


_CHANGEABLE: Final = tuple(member.name for member in fields(ShardPatch) if member.default is UNSET)


@dataclass(frozen=True, slots=True)
class ShardExpectation:
    namespace: str
    shard_id: str
    expected_version: int

    @property
    def key(self) -> ShardKey:
        return ShardKey(self.namespace, self.shard_id)

    def checks(self, path: str) -> list[Check]:
        """As those of NewShard."""
        return [(f"{path}expectedVersion", counter_problem, self.expected_version)]


class _Shards:
    """What the three commands on shards share. `path` is a shard's position in the input, for messages."""

    __slots__ = ()
    shards: Sequence[NewShard | ShardPatch | ShardExpectation]
    change: ChangeRequest

    @property
    def reads(self) -> ReadSet:
        return ReadSet(
            namespaces=sorted({shard.namespace for shard in self.shards}),
            shards=[shard.key for shard in self.shards],
            moves=any(isinstance(shard, ShardPatch) and shard.owner_node_id is not UNSET for shard in self.shards),
        )

    def path(self, index: int) -> str:
        return f"shards[{index}]."

    def add_problems(self, problems: Problems) -> None:
        checks = self._identity_checks()
        for index, shard in enumerate(self.shards[:MAX_SHARDS_PER_CHANGE]):
            checks += shard.checks(self.path(index))
        problems.check(checks)

    def _identity_checks(self) -> list[Check]:
        if not self.shards:
            return [("shards", None, "must name at least one shard")]
        if len(self.shards) > MAX_SHARDS_PER_CHANGE:
            message = f"holds {len(self.shards):,} shards; one change takes at most {MAX_SHARDS_PER_CHANGE:,}"
            return [("shards", None, message)]
        checks: list[Check] = []
        seen: dict[ShardKey, int] = {}
        for index, shard in enumerate(self.shards):
            path = self.path(index)
            checks.append((f"{path}namespace", identifier_problem, shard.namespace))
            checks.append((f"{path}shardId", identifier_problem, shard.shard_id))
            first = seen.setdefault(shard.key, index)
            if first != index:
                checks.append((f"{path}shardId", None, f"names the same shard as {self.path(first)}shardId"))
        return checks


@dataclass(frozen=True, slots=True)
class CreateShards(_Shards):
    shards: Sequence[NewShard]
    change: ChangeRequest
    kind = ChangeKind.CREATE_SHARDS


@dataclass(frozen=True, slots=True)
class UpdateShards(_Shards):
    """`single` only changes how messages name the fields: `capacityHint`, not `shards[0].capacityHint`."""

    shards: Sequence[ShardPatch]
    change: ChangeRequest
    single: bool = field(default=False, compare=False)
    kind = ChangeKind.UPDATE_SHARDS

    def path(self, index: int) -> str:
        return "" if self.single else f"shards[{index}]."


@dataclass(frozen=True, slots=True)
class DeleteShards(_Shards):
    shards: Sequence[ShardExpectation]
    change: ChangeRequest
    kind = ChangeKind.DELETE_SHARDS


def holds(pin: Pin | None, now: datetime | None) -> bool:
    """Whether the shard must stay where it is. `now` may be null for a pin without an end."""
    return pin is not None and (pin.until is None or (now is not None and pin.until > now))
