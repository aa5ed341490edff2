"""The records of the store, as values. Field by field they are the data contract of docs/data-contracts.md."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from persistence.model.policy import DEFAULT_POLICY, NamespaceConfiguration, NamespacePolicy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

NAME_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}"
"""Of namespaces and strategies: without a slash, so that the first in `namespace/shard` ends the namespace, and without
a comma, which joins namespaces in rows of changes."""

IDENTIFIER_PATTERN: Final = r"[A-Za-z0-9._-][]A-Za-z0-9._:@/+=[-]{0,127}"
"""Of shards, nodes, leaders and groups, as other systems write them: `index[3]`, `__consumer_offsets-7`,
`host:7000@17000`, `-9223372036854775808`. Read alike by Python and PostgreSQL."""

MAX_COUNTER: Final = 2**63 - 1

COUNTER_PATTERN: Final = r"0|[1-9][0-9]{0,18}"
"""Of a counter in decimal digits: every one up to MAX_COUNTER, and some beyond it."""


class ShardKey(NamedTuple):
    """Identity of a shard. Tuples of it sort as the store lists: by namespace, then shard id, bytewise."""

    namespace: str
    shard_id: str


class GroupKey(NamedTuple):
    """Identity of an anti-affinity group: shards of one are on different nodes."""

    namespace: str
    group: str


class ShardStatus(StrEnum):
    """What the owner may do with the shard. The store records it; nodes act on it."""

    ACTIVE = "ACTIVE"
    DRAINING = "DRAINING"
    PAUSED = "PAUSED"
    DISABLED = "DISABLED"


class DiffKind(StrEnum):
    """What happened to one shard."""

    CREATED = "CREATED"
    UPDATED = "UPDATED"
    DELETED = "DELETED"


class ChangeKind(StrEnum):
    """What a committed transaction was for."""

    CREATE_SHARDS = "CREATE_SHARDS"
    UPDATE_SHARDS = "UPDATE_SHARDS"
    DELETE_SHARDS = "DELETE_SHARDS"
    CONFIGURE_NAMESPACE = "CONFIGURE_NAMESPACE"
    REGISTER_NODE = "REGISTER_NODE"
    UPDATE_NODE = "UPDATE_NODE"
    DRAIN_NODE = "DRAIN_NODE"
    PLAN_REBALANCE = "PLAN_REBALANCE"
    APPLY_PLAN = "APPLY_PLAN"
    APPROVE_PLAN = "APPROVE_PLAN"
    REJECT_PLAN = "REJECT_PLAN"
    STOP_PLAN = "STOP_PLAN"
    ROLLBACK_CHANGE = "ROLLBACK_CHANGE"
    COMPACT_HISTORY = "COMPACT_HISTORY"


class NodeStatus(StrEnum):
    """Whether a node may own shards. Plans act on it: DRAINING, DOWN and REMOVED nodes are vacated first."""

    ACTIVE = "ACTIVE"
    CORDONED = "CORDONED"
    DRAINING = "DRAINING"
    DOWN = "DOWN"
    REMOVED = "REMOVED"


VACATED: Final = frozenset({NodeStatus.DRAINING, NodeStatus.DOWN, NodeStatus.REMOVED})
"""Nodes of these statuses may not own shards."""


class MoveReason(StrEnum):
    """Why a rebalance moves a shard, or only its leader. In order of urgency: shards without a working owner come
    first, then those without a working leader.
    """

    OWNER_REMOVED = "OWNER_REMOVED"
    OWNER_DOWN = "OWNER_DOWN"
    LEADER_REMOVED = "LEADER_REMOVED"
    LEADER_DOWN = "LEADER_DOWN"
    OWNER_DRAINING = "OWNER_DRAINING"
    LEADER_DRAINING = "LEADER_DRAINING"
    OWNER_INELIGIBLE = "OWNER_INELIGIBLE"
    LEADER_INELIGIBLE = "LEADER_INELIGIBLE"
    OWNER_OVERLOADED = "OWNER_OVERLOADED"
    STRATEGY_CHANGED = "STRATEGY_CHANGED"
    PLACEMENT_CHANGED = "PLACEMENT_CHANGED"
    ROLLBACK = "ROLLBACK"


INVOLUNTARY: Final = frozenset(
    {MoveReason.OWNER_REMOVED, MoveReason.OWNER_DOWN, MoveReason.LEADER_REMOVED, MoveReason.LEADER_DOWN}
)
"""Of involuntary moves: their shards have no working owner, or no working leader. Others can wait.

The distinction is that of Kubernetes: https://kubernetes.io/docs/concepts/workloads/pods/disruptions/.
"""


@dataclass(frozen=True, slots=True)
class Pin:
    """A decision that the shard stays where it is. `until` is null for no end."""

    by: str
    reason: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class ShardContent:
    """What a command decides about a shard; all of it goes into the checksum.

    A field added since the first version stands last, here and in Shard, and has the default null. Where it is null,
    images and checksums have the bytes that they had before there was such a field.
    """

    strategy: str
    owner_node_id: str
    leader_id: str | None
    capacity_hint: float
    locality_hint: str | None
    status: ShardStatus
    pinned: Pin | None
    change_ticket: str | None
    anti_affinity_group: str | None = None


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard as of `revision`.

    `version` counts its changes and is never reused, `owner_epoch` counts its changes of owner (the fencing token),
    `checksum` is 32 hex digits over identity and content (`encoding.shard_checksum`).
    """

    namespace: str
    shard_id: str
    strategy: str
    owner_node_id: str
    leader_id: str | None
    capacity_hint: float
    locality_hint: str | None
    status: ShardStatus
    pinned: Pin | None
    change_ticket: str | None
    version: int
    owner_epoch: int
    checksum: str
    revision: int
    created_at: datetime
    updated_at: datetime
    anti_affinity_group: str | None = None

    @property
    def key(self) -> ShardKey:
        return ShardKey(self.namespace, self.shard_id)

    @property
    def content(self) -> ShardContent:
        return ShardContent(*content_values(self))


CONTENT_FIELDS: Final = tuple(member.name for member in fields(ShardContent))

ADDED_FIELDS: Final = tuple(member.name for member in fields(ShardContent) if member.default is not MISSING)
"""Of the content, those added since the first version, oldest first."""

content_values: Final = attrgetter(*CONTENT_FIELDS)
"""Of a ShardContent or a Shard, in the order of CONTENT_FIELDS."""


def public_name(name: str) -> str:
    """Of a field, as the API and the documents of the store have it: `owner_node_id` is `ownerNodeId`."""
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


class Tombstone(NamedTuple):
    """What is left of a deleted shard, so that its counters go on if it is created again."""

    version: int
    owner_epoch: int


@dataclass(frozen=True, slots=True)
class Namespace:
    """A family of shards with one strategy and one policy.

    `version` counts its configuration's changes. `digest` (32 hex digits), `shard_count` and `revision` follow its
    shards: a client that holds the same digest holds the same shards at the same versions.
    """

    name: str
    strategy: str
    strategy_parameters: Mapping[str, Any]
    algorithm_version: int
    parameters_digest: str
    version: int
    digest: str
    shard_count: int
    revision: int
    created_at: datetime
    updated_at: datetime
    policy: NamespacePolicy = DEFAULT_POLICY

    @property
    def configuration(self) -> NamespaceConfiguration:
        return NamespaceConfiguration(self.strategy, self.strategy_parameters, self.algorithm_version, self.policy)


@dataclass(frozen=True, slots=True)
class Node:
    """A mesh node that may own shards.

    `weight` is a whole number from 1 to 2^20, `labels` are free keys and values. `version` counts its changes and goes
    on when a removed node is registered again. `shard_count` follows the shards it owns, `leader_count` those it leads.
    """

    node_id: str
    region: str | None
    zone: str | None
    labels: Mapping[str, str]
    weight: int
    status: NodeStatus
    change_ticket: str | None
    version: int
    shard_count: int
    created_at: datetime
    updated_at: datetime
    leader_count: int = 0


class ChangeMark(NamedTuple):
    """Names a change and the history that led to it: `hash` is the first 8 bytes of its link in the audit chain.

    The same mark in two stores, or in one store before and after a failover, is the same history up to that change.
    """

    change_id: int
    hash: bytes


MARK_BYTES: Final = 8

NO_CHANGE: Final = ChangeMark(0, bytes(MARK_BYTES))
"""Of a position before every change: part of every history."""

UNMARKED: Final = ChangeMark(0, b"")
"""Part of no history: what a cursor has that was issued before cursors named a change."""


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction left of history. `floor` is the oldest position served since, `previous_floor` the one before.

    Of the rows up to the floor the newest of each shard was left (`kept_rows`), and `removed_rows` were removed.
    `kept_digest` (SHA-256, hex) covers those that are left (`hash_chain.compacted_digest`): what is left of a change
    whose other rows were removed no longer adds up to the change's own digest.
    """

    floor: int
    previous_floor: int
    removed_rows: int
    kept_rows: int
    kept_digest: str


@dataclass(frozen=True, slots=True)
class ConfigurationChange:
    """A namespace's or a node's configuration (one of the two) before (null when it was new) and after a change."""

    namespace: str | None
    node_id: str | None
    previous: Mapping[str, Any] | None
    current: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rebalance:
    """A plan in a change: how many shards it moves, out of how many there were in its namespaces.

    Of an APPLY_PLAN `moved` are the moves that this change made. `supersedes` are the older plans it closed.
    """

    plan_id: str
    moved: int
    shard_count: int
    supersedes: tuple[str, ...] = ()

    @property
    def diff_percent(self) -> float:
        return 100 * self.moved / self.shard_count if self.shard_count else 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """One committed transaction.

    `id` is gapless in commit order. `first_revision`..`last_revision` are the shard changes it made; both are null when
    it touched no shard. `hash` (SHA-256, hex) chains it to the change before it. `configuration` is what it changed
    beside shards, `rebalance` the plan it made or applied, `compaction` what it took away of history. `forced` is why
    the rules of a policy that can be forced did not hold for it; null where they did.
    """

    id: int
    kind: ChangeKind
    actor: str
    reason: str
    change_ticket: str | None
    metadata: Any
    namespaces: tuple[str, ...]
    first_revision: int | None
    last_revision: int | None
    shard_count: int
    committed_at: datetime
    hash: str
    configuration: ConfigurationChange | None
    rebalance: Rebalance | None = None
    compaction: Compaction | None = None
    forced: str | None = None

    @property
    def mark(self) -> ChangeMark:
        return ChangeMark(self.id, bytes.fromhex(self.hash[: 2 * MARK_BYTES]))


@dataclass(frozen=True, slots=True)
class Refusal:
    """One request that the store refused, and that therefore is no change.

    `id` counts refusals without gaps; `hash` (SHA-256, hex) chains each to the one before. `outcome` names the answer,
    `request` and `details` are bounded extracts of the request and the answer. `left_out` refusals before this one
    were not stored, because there were too many at once.
    """

    id: int
    kind: ChangeKind
    actor: str
    reason: str
    change_ticket: str | None
    namespaces: tuple[str, ...]
    outcome: str
    request: Any
    details: Any
    left_out: int
    refused_at: datetime
    hash: str


@dataclass(frozen=True, slots=True)
class ShardDiff:
    """One shard before and after: one row of history, or the net difference between two revisions.

    `move_reason` is set in rows that a rebalance wrote; of a net difference it is that of the last row, as `change` is.
    """

    revision: int
    kind: DiffKind
    namespace: str
    shard_id: str
    version: int
    changed_fields: tuple[str, ...]
    previous: Shard | None
    current: Shard | None
    change: Change
    move_reason: MoveReason | None = None

    @property
    def key(self) -> ShardKey:
        return ShardKey(self.namespace, self.shard_id)

    def position_in(self, epoch: str) -> StreamPosition:
        """Right after this row of the stream."""
        return StreamPosition(epoch, self.revision, self.change.mark)

    @property
    def moves(self) -> bool:
        """Whether the shard was there before and after, with another owner."""
        before, after = self.previous, self.current
        return before is not None and after is not None and before.owner_node_id != after.owner_node_id


class StreamPosition(NamedTuple):
    """A position in the change stream: everything up to and including `revision` of stream `epoch` has been seen.

    `mark` is that of the change that made the revision, so within one history a revision has one position. Order is
    that of revisions within an epoch: compare those, not positions.
    """

    epoch: str
    revision: int
    mark: ChangeMark


@dataclass(frozen=True, slots=True)
class AsOf:
    """A point in time: exactly one of a revision or a timestamp."""

    revision: int | None = None
    time: datetime | None = None
