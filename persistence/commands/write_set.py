"""What a handler's decision writes: values that handlers return and every backend commits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import starmap
from typing import Any, NamedTuple

from persistence.codec import hash_chain
from persistence.codec.columns import MANY, digest_terms, row_digests
from persistence.codec.encoding import digest_term, encode_texts
from persistence.codec.json_documents import details_json, write_policy
from persistence.commands.command import ChangeRequest, Command, request_digest
from persistence.model.drafts import new_shard
from persistence.model.fields import canonical_json
from persistence.model.plans import PlanStatus, RebalancePlan
from persistence.model.policy import NamespacePolicy
from persistence.model.records import (
    ADDED_FIELDS,
    Change,
    ChangeKind,
    Compaction,
    ConfigurationChange,
    DiffKind,
    MoveReason,
    Namespace,
    Node,
    NodeStatus,
    Rebalance,
    Shard,
    ShardContent,
    ShardKey,
    content_values,
)
from persistence.planning import lifecycle
from persistence.planning.proposal import Proposal


@dataclass(frozen=True, slots=True)
class CommitConditions:
    """What must be so when the change is committed, although it was decided earlier.

    It is committed at `decided_at` or later, before `frozen_from`, and before `expires_at` of the plan that it begins;
    its namespaces hold `fewest_shards` or more before it, and have seen at most `moves_left` moves, or
    `voluntary_moves_left` of those that are not involuntary, after revision `counted_to`. A backend that finds it
    otherwise writes nothing and raises TransientConflict: decided anew, the change meets what has come in between.
    """

    decided_at: datetime | None = None
    frozen_from: datetime | None = None
    fewest_shards: Mapping[str, int] = field(default_factory=dict)
    moves_left: Mapping[str, int] = field(default_factory=dict)
    voluntary_moves_left: Mapping[str, int] = field(default_factory=dict)
    counted_to: int = 0
    expires_at: datetime | None = None


class ShardWrite(NamedTuple):
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
    move_reason: MoveReason | None = None

    @property
    def moves(self) -> bool:
        """Whether the shard was there and is given another owner."""
        return self.previous is not None and self.previous.owner_node_id != self.content.owner_node_id

    def committed(self, revision: int, committed_at: datetime) -> Shard:
        """The record after the change; for a deletion the record it took away."""
        if self.kind is DiffKind.DELETED and self.previous is not None:
            return self.previous
        values, added = content_values(self.content), len(ADDED_FIELDS)
        created_at = self.previous.created_at if self.previous else committed_at
        counted = (self.version, self.owner_epoch, self.checksum, revision, created_at, committed_at)
        return new_shard(*self.key, *values[:-added], *counted, *values[-added:])

    def digested(self) -> tuple[Any, ...]:
        """The arguments of `hash_chain.row_digest`."""
        before = self.previous
        return (
            self.kind,
            self.previous_image,
            before.revision if before else None,
            before.updated_at if before else None,
            before.created_at if before else None,
            self.current_image,
            self.move_reason,
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
    policy: NamespacePolicy
    previous: Namespace | None

    @property
    def configuration(self) -> ConfigurationChange:
        return ConfigurationChange(
            self.name,
            None,
            None if self.previous is None else _namespace_configuration(self.previous),
            _namespace_configuration(self),
        )


@dataclass(frozen=True, slots=True)
class NodeWrite:
    """A node to be. `previous` is null for one that was never there."""

    node_id: str
    region: str | None
    zone: str | None
    labels: Mapping[str, str]
    weight: int
    status: NodeStatus
    change_ticket: str | None
    version: int
    previous: Node | None

    @property
    def configuration(self) -> ConfigurationChange:
        return ConfigurationChange(
            None,
            self.node_id,
            None if self.previous is None else _node_configuration(self.previous),
            _node_configuration(self),
        )

    def committed(self, shard_count: int, leader_count: int, committed_at: datetime) -> Node:
        """The record after the change. A node keeps the time when it was registered first, also if it comes back."""
        return Node(
            self.node_id,
            self.region,
            self.zone,
            self.labels,
            self.weight,
            self.status,
            self.change_ticket,
            self.version,
            shard_count,
            self.previous.created_at if self.previous else committed_at,
            committed_at,
            leader_count,
        )


@dataclass(frozen=True, slots=True)
class PlanWrite:
    """What becomes of a stored plan. With `lifetime` it is proposed again, for so long."""

    previous: RebalancePlan
    status: PlanStatus
    moves_made: int
    lifetime: timedelta | None = None

    def committed(self, change: Change) -> RebalancePlan:
        """The record after the change."""
        plan = replace(self.previous, status=self.status, moves_made=self.moves_made, latest=change)
        if self.lifetime is not None:
            return replace(plan, created=change, approved=None, expires_at=change.committed_at + self.lifetime)
        return replace(plan, approved=change) if self.status is PlanStatus.APPROVED else plan


@dataclass(frozen=True, slots=True)
class WriteSet:
    """Everything one unit of work writes, complete but for what the stream head assigns.

    `proposal` is a plan to store, which may be begun within `lifetime`; `rebalance` names the plan that the change is
    about. Where it writes nothing of that plan and only stores an idempotency key, `known` is the plan. `plans` are
    those it changes, the one that it is about first.

    From `configuration` on fields follow from those before: what it changes beside shards, and metadata and details
    (configuration, plan or compaction) as the change stores them and its audit digest covers them.
    """

    kind: ChangeKind
    request: ChangeRequest
    request_digest: bytes | None
    namespaces: tuple[str, ...]
    shards: tuple[ShardWrite, ...] = ()
    deltas: tuple[NamespaceDelta, ...] = ()
    namespace: NamespaceWrite | None = None
    node: NodeWrite | None = None
    proposal: Proposal | None = None
    rebalance: Rebalance | None = None
    lifetime: timedelta = timedelta()
    plans: tuple[PlanWrite, ...] = ()
    known: RebalancePlan | None = None
    compaction: Compaction | None = None
    conditions: CommitConditions = field(default_factory=CommitConditions)
    configuration: ConfigurationChange | None = field(init=False)
    metadata_json: str | None = field(init=False)
    details_json: str | None = field(init=False)
    content_digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        written, metadata = self.namespace or self.node, self.request.kept_metadata
        configuration = None if written is None else written.configuration
        details = configuration, self.rebalance, self.compaction
        fill = partial(object.__setattr__, self)
        fill("configuration", configuration)
        fill("metadata_json", None if metadata is None else canonical_json(metadata))
        fill("details_json", None if details == (None, None, None) else details_json(*details))
        fill("content_digest", self.digest())

    def digest(self) -> bytes:
        """The audit digest of what this change states and does."""
        return hash_chain.content_digest(
            self.kind,
            self.request.actor,
            self.request.reason,
            self.request.change_ticket,
            self.metadata_json,
            self.details_json,
            _row_digests(self.shards),
            self.request.forced,
        )


def _row_digests(writes: Sequence[ShardWrite]) -> Iterable[bytes]:
    digested = map(ShardWrite.digested, writes)
    return starmap(hash_chain.row_digest, digested) if len(writes) < MANY else row_digests(*zip(*digested, strict=True))


def proposed(proposal: Proposal, created: Change, lifetime: timedelta) -> RebalancePlan:
    """The plan that a change stores, as it leaves it."""
    return RebalancePlan(
        proposal.id,
        lifecycle.proposed(len(proposal.moves)),
        proposal.base_revision,
        created.namespaces,
        len(proposal.moves),
        proposal.shard_count,
        created,
        created.committed_at + lifetime,
        created,
        kind=proposal.kind,
    )


def _namespace_configuration(namespace: Namespace | NamespaceWrite) -> Mapping[str, Any]:
    return {
        "strategy": namespace.strategy,
        "strategyParameters": dict(namespace.strategy_parameters),
        "algorithmVersion": namespace.algorithm_version,
        "parametersDigest": namespace.parameters_digest,
        "policy": write_policy(namespace.policy),
        "version": namespace.version,
    }


def _node_configuration(node: Node | NodeWrite) -> Mapping[str, Any]:
    return {
        "region": node.region,
        "zone": node.zone,
        "labels": dict(node.labels),
        "weight": node.weight,
        "status": node.status,
        "version": node.version,
    }


def configuration_of(member: Namespace | Node) -> Mapping[str, Any]:
    """What a change stores of its configuration."""
    return _namespace_configuration(member) if isinstance(member, Namespace) else _node_configuration(member)


def write_set(
    command: Command,
    namespaces: Sequence[str],
    *,
    shards: tuple[ShardWrite, ...] = (),
    namespace: NamespaceWrite | None = None,
    node: NodeWrite | None = None,
    proposal: Proposal | None = None,
    rebalance: Rebalance | None = None,
    lifetime: timedelta = timedelta(),
    plans: tuple[PlanWrite, ...] = (),
    known: RebalancePlan | None = None,
    conditions: CommitConditions | None = None,
) -> WriteSet:
    """Everything `command` writes, with the digests that can be taken before the stream head is."""
    request = command.change
    return WriteSet(
        command.kind,
        request,
        request_digest(command) if request.idempotency_key is not None else None,
        tuple(namespaces),
        shards,
        tuple(_deltas(shards)),
        namespace,
        node,
        proposal,
        rebalance,
        lifetime,
        plans,
        known,
        conditions=conditions or CommitConditions(),
    )


def _deltas(writes: Sequence[ShardWrite]) -> Iterator[NamespaceDelta]:
    digests: dict[str, int] = {}
    counts: dict[str, int] = {}
    for name, term in _terms(writes) if len(writes) < MANY else _all_terms(writes):
        digests[name] = digests.get(name, 0) ^ term
    for write in writes:
        if write.kind is not DiffKind.UPDATED:
            name = write.key.namespace
            counts[name] = counts.get(name, 0) + (1 if write.kind is DiffKind.CREATED else -1)
    for name in sorted(digests):
        yield NamespaceDelta(name, digests[name], counts.get(name, 0))


def _terms(writes: Iterable[ShardWrite]) -> Iterator[tuple[str, int]]:
    """Of each shard as it was and as it will be, with its namespace."""
    for write in writes:
        name, shard_id = write.key
        if write.previous is not None:
            yield name, digest_term(shard_id, write.previous.version, write.previous.checksum)
        if write.kind is not DiffKind.DELETED:
            yield name, digest_term(shard_id, write.version, write.checksum)


def _all_terms(writes: Iterable[ShardWrite]) -> Iterator[tuple[str, int]]:
    """The same, field by field."""
    terms = [(write.key, write.previous.version, write.previous.checksum) for write in writes if write.previous]
    terms += [(write.key, write.version, write.checksum) for write in writes if write.kind is not DiffKind.DELETED]
    keys, versions, checksums = zip(*terms, strict=True)
    namespaces, shard_ids = zip(*keys, strict=True)
    return zip(namespaces, digest_terms(encode_texts(shard_ids), versions, checksums), strict=True)
