"""What a caller asks the store to change. Each checks itself: `validate` names every field to mend.

Pins: a decision that a shard stays where it is, by whom, why and until when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Final

from persistence.commands.command import NOT_DIGESTED_WHEN_NULL, NOT_NULL, UNSET, ChangeRequest, Unset
from persistence.commands.read_state import ReadSet
from persistence.model import fields as rules
from persistence.model.fields import MAX_SHARDS_PER_CHANGE, Problems
from persistence.model.records import ChangeKind, Pin, ShardKey, ShardStatus, public_name


@dataclass(frozen=True, slots=True)
class PinRequest:
    """A pin to be. It is the actor's of the change that makes it; `until` null is for good."""

    reason: str
    until: datetime | None = None

    def add_problems(self, problems: Problems, path: str) -> None:
        problems.add(f"{path}pin.reason", rules.text_problem(self.reason))

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


_CHANGEABLE: Final = tuple(member.name for member in fields(ShardPatch) if member.default is UNSET)


@dataclass(frozen=True, slots=True)
class ShardExpectation:
    namespace: str
    shard_id: str
    expected_version: int

    @property
    def key(self) -> ShardKey:
        return ShardKey(self.namespace, self.shard_id)


class _Shards:
    """What the three commands on shards share. `path` writes a shard's place in the input, for messages."""

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

    def _add_identity_problems(self, problems: Problems) -> None:
        if not self.shards:
            problems.add("shards", "must name at least one shard")
        if len(self.shards) > MAX_SHARDS_PER_CHANGE:
            message = f"holds {len(self.shards):,} shards; one change takes at most {MAX_SHARDS_PER_CHANGE:,}"
            problems.add("shards", message)
            return
        seen: dict[ShardKey, int] = {}
        for index, shard in enumerate(self.shards):
            path = self.path(index)
            problems.add(f"{path}namespace", rules.identifier_problem(shard.namespace))
            problems.add(f"{path}shardId", rules.identifier_problem(shard.shard_id))
            first = seen.setdefault(shard.key, index)
            if first != index:
                problems.add(f"{path}shardId", f"names the same shard as {self.path(first)}shardId")


@dataclass(frozen=True, slots=True)
class CreateShards(_Shards):
    shards: Sequence[NewShard]
    change: ChangeRequest
    kind = ChangeKind.CREATE_SHARDS

    def add_problems(self, problems: Problems) -> None:
        self._add_identity_problems(problems)
        for index, shard in enumerate(self.shards[:MAX_SHARDS_PER_CHANGE]):
            path = self.path(index)
            problems.add(f"{path}ownerNodeId", rules.identifier_problem(shard.owner_node_id))
            problems.add(f"{path}capacityHint", rules.capacity_problem(shard.capacity_hint))
            if shard.leader_id is not None:
                problems.add(f"{path}leaderId", rules.identifier_problem(shard.leader_id))
            if shard.locality_hint is not None:
                problems.add(f"{path}localityHint", rules.locality_problem(shard.locality_hint))
            _add_rule_problems(shard, path, problems)


@dataclass(frozen=True, slots=True)
class UpdateShards(_Shards):
    """`single` only changes how messages name the fields: `capacityHint`, not `shards[0].capacityHint`."""

    shards: Sequence[ShardPatch]
    change: ChangeRequest
    single: bool = field(default=False, compare=False)
    kind = ChangeKind.UPDATE_SHARDS

    def path(self, index: int) -> str:
        return "" if self.single else f"shards[{index}]."

    def add_problems(self, problems: Problems) -> None:
        self._add_identity_problems(problems)
        for index, patch in enumerate(self.shards[:MAX_SHARDS_PER_CHANGE]):
            _add_patch_problems(patch, self.path(index), problems)


@dataclass(frozen=True, slots=True)
class DeleteShards(_Shards):
    shards: Sequence[ShardExpectation]
    change: ChangeRequest
    kind = ChangeKind.DELETE_SHARDS

    def add_problems(self, problems: Problems) -> None:
        self._add_identity_problems(problems)
        for index, shard in enumerate(self.shards[:MAX_SHARDS_PER_CHANGE]):
            problems.add(f"{self.path(index)}expectedVersion", rules.counter_problem(shard.expected_version))


def _add_patch_problems(patch: ShardPatch, path: str, problems: Problems) -> None:
    problems.add(f"{path}expectedVersion", rules.counter_problem(patch.expected_version))
    if patch.owner_node_id is None:
        problems.add(f"{path}ownerNodeId", NOT_NULL)
    elif patch.owner_node_id is not UNSET:
        problems.add(f"{path}ownerNodeId", rules.identifier_problem(patch.owner_node_id))
    if patch.capacity_hint is None:
        problems.add(f"{path}capacityHint", NOT_NULL)
    elif patch.capacity_hint is not UNSET:
        problems.add(f"{path}capacityHint", rules.capacity_problem(patch.capacity_hint))
    if patch.status is None:
        problems.add(f"{path}status", NOT_NULL)
    if isinstance(patch.leader_id, str):
        problems.add(f"{path}leaderId", rules.identifier_problem(patch.leader_id))
    if isinstance(patch.locality_hint, str):
        problems.add(f"{path}localityHint", rules.locality_problem(patch.locality_hint))
    _add_rule_problems(patch, path, problems)
    if all(getattr(patch, name) is UNSET for name in _CHANGEABLE):
        *most, last = map(public_name, _CHANGEABLE)
        problems.add(f"{path}shardId", f"has nothing to change: give {', '.join(most)} or {last}")


def _add_rule_problems(shard: NewShard | ShardPatch, path: str, problems: Problems) -> None:
    """Of what keeps a shard from being placed freely."""
    if isinstance(shard.pin, PinRequest):
        shard.pin.add_problems(problems, path)
    if isinstance(shard.anti_affinity_group, str):
        problems.add(f"{path}antiAffinityGroup", rules.identifier_problem(shard.anti_affinity_group))


def holds(pin: Pin | None, now: datetime | None) -> bool:
    """Whether the shard must stay where it is. `now` may be null for a pin without an end."""
    return pin is not None and (pin.until is None or (now is not None and pin.until > now))


def ends(pin: Pin | PinRequest | None) -> bool:
    """Whether it depends on the time if the pin holds."""
    return pin is not None and pin.until is not None
