"""What a command came to. All of these are expected; broken promises are exceptions (`errors.py`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeAlias

from persistence.model.plans import RebalancePlan
from persistence.model.policy import PolicyRule
from persistence.model.records import Change, Namespace, Node, Shard, ShardKey, StreamPosition


class WarningCode(StrEnum):
    """What a warning is about."""

    NODE_NOT_REGISTERED = "NODE_NOT_REGISTERED"
    NODE_UNAVAILABLE = "NODE_UNAVAILABLE"
    NAMESPACE_UNPLACEABLE = "NAMESPACE_UNPLACEABLE"
    NAMESPACE_WITHOUT_RESERVE = "NAMESPACE_WITHOUT_RESERVE"


@dataclass(frozen=True, slots=True)
class AdmissionWarning:
    """What is likely a mistake in a request that is carried out all the same.

    `field` is a path into the input as that of a FieldError, null where it is about no one field; `suggestion` a value
    that may have been meant instead; `namespace` the one that it is about, if it is about one.
    """

    code: WarningCode
    field: str | None
    message: str
    suggestion: str | None = None
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class ShardsChanged:
    """Committed. `shards` are the records after the change (before it, for a deletion), in the order of the request.

    `replayed`: the change was made earlier, by a request with the same idempotency key. `warnings` are added by the API
    where they are asked for.
    """

    change: Change
    shards: tuple[Shard, ...]
    position: StreamPosition
    replayed: bool = False
    warnings: tuple[AdmissionWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class NamespaceConfigured:
    """`warnings` as of ShardsChanged."""

    change: Change
    namespace: Namespace
    replayed: bool = False
    warnings: tuple[AdmissionWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class StaleShard:
    """A shard that was not at the version expected. `actual` is 0 and `current` null where there is none now.

    `changed_fields`, by their public names, were changed since: looked for where a plan is stale.
    """

    key: ShardKey
    expected: int
    actual: int
    current: Shard | None
    last_change: Change | None
    changed_fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StaleNamespace:
    name: str
    expected: int
    actual: int
    current: Namespace | None
    last_change: Change | None


@dataclass(frozen=True, slots=True)
class VersionConflict:
    """Nothing was written. Every stale shard is listed, with the record as it is and its last change."""

    stale: tuple[StaleShard, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeChanged:
    """`warnings` as of ShardsChanged."""

    change: Change
    node: Node
    replayed: bool = False
    warnings: tuple[AdmissionWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class StaleNode:
    """Nothing was written: the node is not at the version expected (0: not registered)."""

    node_id: str
    expected: int
    actual: int
    current: Node | None
    last_change: Change | None


@dataclass(frozen=True, slots=True)
class NodeInUse:
    """Nothing was written: the node cannot be removed, it owns or leads shards."""

    node: Node


@dataclass(frozen=True, slots=True)
class PlanProposed:
    """A plan that can be reviewed and applied.

    `change` is `plan.created`, unless the plan was known already and the change only stores the idempotency key of
    another request for it.
    """

    change: Change
    plan: RebalancePlan
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class PlanKnown:
    """Nothing was written: the same inputs gave a plan that is stored already."""

    plan: RebalancePlan


@dataclass(frozen=True, slots=True)
class PlanApplied:
    """Moves of the plan were made, as one change: all of them, or the next ones (then it is APPLYING)."""

    change: Change
    plan: RebalancePlan
    position: StreamPosition
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class PlanChanged:
    """A plan was approved, rejected or stopped."""

    change: Change
    plan: RebalancePlan
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class PlanClosed:
    """Nothing was written: the plan's status does not let it be done."""

    plan: RebalancePlan


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field of a configuration, by its public name, before and after."""

    name: str
    previous: Any
    current: Any


@dataclass(frozen=True, slots=True)
class StalePlanned:
    """A namespace or a node that is not as a plan found it.

    `expected` is the version it was at, 0 if it was not registered; `actual` the one it is at, 0 if it is not there.
    `changed_fields` are those that placement depends on and that differ, none if they were changed and changed back;
    `last_change` is the newest that changed any of them.
    """

    name: str
    expected: int
    actual: int
    changed_fields: tuple[FieldChange, ...] = ()
    last_change: Change | None = None


@dataclass(frozen=True, slots=True)
class StalePlan:
    """Nothing was written: what the plan relies on has changed since it was made.

    `shards` were changed, the namespaces were configured to place otherwise, and the nodes were changed or removed, or
    may not be given shards. `namespaces` and `node_ids` are the names of those.
    """

    plan: RebalancePlan
    shards: tuple[StaleShard, ...] = ()
    namespace_conflicts: tuple[StalePlanned, ...] = ()
    node_conflicts: tuple[StalePlanned, ...] = ()
    namespaces: tuple[str, ...] = field(init=False)
    node_ids: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "namespaces", tuple(one.name for one in self.namespace_conflicts))
        object.__setattr__(self, "node_ids", tuple(one.name for one in self.node_conflicts))


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """A rule of a namespace's policy that a change would break; `shard_id` where it is about one shard.

    `actual` is what the change comes to, `allowed` what the policy allows, `remedy` how to go on, as a message.
    """

    rule: PolicyRule
    namespace: str
    shard_id: str | None
    actual: str
    allowed: str
    remedy: str


@dataclass(frozen=True, slots=True)
class PolicyViolation:
    """Nothing was written: the change would break rules. All of them are counted, the first are listed."""

    violations: tuple[BrokenRule, ...]
    omitted: int = 0


@dataclass(frozen=True, slots=True)
class NotFound:
    """Nothing was written. What the request names and is not there."""

    namespaces: tuple[str, ...] = ()
    shards: tuple[ShardKey, ...] = ()
    nodes: tuple[str, ...] = ()
    plans: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IdempotencyKeyReused:
    """Nothing was written. The key already belongs to another request, which made `change`."""

    key: str
    change: Change


Committed: TypeAlias = ShardsChanged | NamespaceConfigured | NodeChanged | PlanProposed | PlanApplied | PlanChanged

Refused: TypeAlias = (
    VersionConflict
    | StaleNamespace
    | StaleNode
    | NodeInUse
    | PlanKnown
    | PlanClosed
    | StalePlan
    | PolicyViolation
    | NotFound
)

Outcome: TypeAlias = Committed | Refused | IdempotencyKeyReused


_WRITTEN: Final = 100
"""Characters of a value in a message."""


def stale_planned_message(
    what: str, name: str, expected: int, actual: int, changed: Sequence[tuple[str, Any, Any]], by: str | None
) -> str:
    """What has changed of a namespace or a node since a plan was made. `changed` are fields with their values before
    and after, `by` is who changed it, in which change, when and why.

    For example `node node-1 is at version 5, not 3: weight 1 -> 2, by alice in change 17 at ... (CHG-42: new disks)`.
    """
    if actual == 0:
        at = f"{what} {name} is not registered" if expected == 0 else f"{what} {name} is gone"
    elif expected == 0:
        at = f"{what} {name} was not registered, and is at version {actual} now"
    else:
        at = f"{what} {name} is at version {actual}, not {expected}"
    fields = ", ".join(f"{field} {_value(before)} -> {_value(after)}" for field, before, after in changed)
    if not fields and expected and actual:
        fields = "changed, and changed back"
    why = ", ".join(part for part in (fields, by) if part)
    return f"{at}: {why}" if why else at


def _value(value: Any) -> str:
    if value is None:
        return "none"
    written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return written if len(written) <= _WRITTEN else f"{written[:_WRITTEN]}..."
