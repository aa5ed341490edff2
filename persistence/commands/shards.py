"""What a caller asks the store to change. Each checks itself: `validate` names every field to mend."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, Protocol

from persistence import fields as rules
from persistence.fields import MAX_SHARDS_PER_CHANGE, Problems, canonical_json
from persistence.pins import PinRequest
from persistence.policy import NamespacePolicy
from persistence.policy_problems import add_policy_problems
from persistence.read_set import ReadSet
from persistence.records import ChangeKind, ShardKey, ShardStatus, public_name
from strategies.registry import Registry


class Unset(Enum):
    """A patch leaves this field as it is; null is a value and clears it."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET

NOT_NULL: Final = "must not be null; leave it out to keep it as it is"
NOT_DIGESTED_WHEN_NULL: Final[Mapping[str, bool]] = MappingProxyType({"digested_when_null": False})
"""For a field that came later: requests without it keep the digest they had, and so do their retries."""


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """By whom, why, under which ticket. Retries with the same `idempotency_key` get the first answer.

    `forced` is why the rules of a policy that can be forced shall not hold for it.
    """

    actor: str
    reason: str
    change_ticket: str | None = None
    metadata: Any = None
    idempotency_key: str | None = None
    forced: str | None = field(default=None, metadata=NOT_DIGESTED_WHEN_NULL)

    def validate(self) -> None:
        """For a change that no command makes. Raises InvalidArgument naming every field that breaks a rule."""
        problems = Problems()
        self.add_problems(problems)
        problems.raise_if_any()

    def add_problems(self, problems: Problems) -> None:
        problems.add("change.actor", rules.text_problem(self.actor))
        problems.add("change.reason", rules.text_problem(self.reason))
        if self.change_ticket is not None:
            problems.add("change.changeTicket", rules.text_problem(self.change_ticket))
        if self.metadata is not None:
            problems.add("change.metadata", rules.json_problem(self.metadata))
        if self.idempotency_key is not None:
            problems.add("change.idempotencyKey", rules.text_problem(self.idempotency_key, limit=255))
        if self.forced is not None:
            problems.add("change.force.reason", rules.text_problem(self.forced))


class Command(Protocol):
    """One unit of work to be."""

    @property
    def change(self) -> ChangeRequest: ...

    @property
    def kind(self) -> ChangeKind: ...

    @property
    def reads(self) -> ReadSet:
        """What must not change before it is committed."""
        ...

    def add_problems(self, problems: Problems) -> None: ...


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


@dataclass(frozen=True, slots=True)
class ConfigureNamespace:
    """Create the namespace (`expected_version` 0) or change its strategy, parameters and policy.

    Without a policy it keeps the one it has, and a new one has the default.
    """

    name: str
    strategy: str
    strategy_parameters: Mapping[str, Any]
    expected_version: int
    change: ChangeRequest
    policy: NamespacePolicy | Unset | None = UNSET
    kind = ChangeKind.CONFIGURE_NAMESPACE

    @property
    def reads(self) -> ReadSet:
        return ReadSet(namespaces=(self.name,), configure=True)

    def add_problems(self, problems: Problems) -> None:
        problems.add("name", rules.identifier_problem(self.name))
        problems.add("expectedVersion", rules.counter_problem(self.expected_version))
        problems.add("strategyParameters", rules.json_problem(self.strategy_parameters, limit=rules.MAX_PARAMETERS))
        if self.policy is None:
            problems.add("policy", NOT_NULL)
        elif self.policy is not UNSET:
            add_policy_problems(problems, self.policy)

    def add_strategy_problems(self, problems: Problems, strategies: Registry) -> None:
        """What is wrong with strategy and parameters, given the strategies there are. Parameters are JSON by now."""
        unknown = strategies.problem(self.strategy)
        problems.add("strategy", unknown)
        if unknown is None:
            for name, message in strategies.parameter_problems(self.strategy, self.strategy_parameters):
                problems.add(f"strategyParameters.{name}", message)


def validate(command: Command, strategies: Registry) -> None:
    """Raises InvalidArgument naming every field that breaks a rule."""
    problems = Problems()
    command.change.add_problems(problems)
    command.add_problems(problems)
    if isinstance(command, ConfigureNamespace) and not any(error.field == "strategyParameters" for error in problems):
        command.add_strategy_problems(problems, strategies)
    problems.raise_if_any()


def request_digest(command: Command) -> bytes:
    """SHA-256 of everything the caller asked for: tells a retry from another request under the same idempotency key."""
    return hashlib.sha256(canonical_json({"kind": command.kind, "request": _plain(command)}).encode()).digest()


def _plain(value: Any) -> Any:
    if isinstance(value, (str, int, float)) or value is None:
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if is_dataclass(value):
        members = ((member, getattr(value, member.name)) for member in fields(value) if member.compare)
        return {member.name: _plain(given) for member, given in members if _is_digested(member, given)}
    if isinstance(value, Mapping):
        return {name: _plain(member) for name, member in value.items()}
    return [_plain(member) for member in value]


def _is_digested(member: Field[Any], given: object) -> bool:
    return given is not UNSET and (given is not None or member.metadata != NOT_DIGESTED_WHEN_NULL)


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
