"""A set of moves and what it was computed from, as a value and as a document that names itself.

The document is canonical JSON; the proposal's id is the beginning of its SHA-256. So the same inputs give the same
plan, byte for byte, and a plan that was edited in a file no longer has its id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Final

import orjson

from persistence.model.fields import ID_LENGTH
from persistence.model.plans import ConflictReason, PlanKind
from persistence.model.records import MoveReason, Node, ShardKey, ShardStatus
from persistence.planning.scope import PlanScope, read_scope

_FORMATS: Final = {PlanKind.REBALANCE: "omnirelay.plan.v1", PlanKind.ROLLBACK: "omnirelay.rollback.v1"}

_LEFT_OUT_IF_NULL: Final = frozenset(
    {"restore", "rollback", "leader", "scope", "threshold", "together", "waves", "shards_peak"}
)
"""Members that documents have only where there is something to say, as those of before there were such."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a shard is given back beside its owner."""

    leader_id: str | None
    capacity_hint: float
    locality_hint: str | None
    status: ShardStatus


@dataclass(frozen=True, slots=True)
class LeaderChange:
    """The node that leads a shard, and the one that shall; null for none."""

    from_node_id: str
    to_node_id: str | None


@dataclass(frozen=True, slots=True)
class Move:
    """One shard from one node to another, if it still is at `version`.

    With `leader` it gets another leader as well, or only that: then the owner stays, and no budget counts it. A
    rollback may `restore` more than the owner, the leader among it, and then also where the owner stays.
    """

    namespace: str
    shard_id: str
    version: int
    from_node_id: str
    to_node_id: str
    reason: MoveReason
    restore: Restored | None = None
    leader: LeaderChange | None = None

    @property
    def key(self) -> ShardKey:
        return ShardKey(self.namespace, self.shard_id)

    @property
    def changes_owner(self) -> bool:
        return self.from_node_id != self.to_node_id

    @property
    def nodes_touched(self) -> Iterator[str]:
        """Those that lose the shard, or its lead, and those of `nodes_given`."""
        if self.changes_owner:
            yield self.from_node_id
        if self.leader is not None:
            yield self.leader.from_node_id
        yield from self.nodes_given

    @property
    def nodes_given(self) -> Iterator[str]:
        """The nodes that it makes owner or leader, but for a leader that a rollback restores: it may lead already."""
        if self.changes_owner:
            yield self.to_node_id
        if self.leader is not None and self.leader.to_node_id is not None:
            yield self.leader.to_node_id


@dataclass(frozen=True, slots=True)
class PlannedNamespace:
    """A namespace as the plan found it, and how many of its shards the plan moves."""

    name: str
    version: int
    strategy: str
    algorithm_version: int
    parameters_digest: str
    digest: str
    shard_count: int
    moved: int


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """A registered node that a move leads to or comes from, as the plan found it.

    `placement_digest` covers what placement depends on; null in plans of before there was one.
    """

    node_id: str
    version: int
    placement_digest: str | None = None


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """What a node owns of the planned namespaces, before and after.

    `shards_peak`: the most in between. It follows from the moves, so documents do not have it.
    """

    node_id: str
    shards_before: int
    shards_after: int
    capacity_before: float
    capacity_after: float
    shards_peak: int | None = None


@dataclass(frozen=True, slots=True)
class Violation:
    """Something the plan cannot put right, as a stable code and a message for the operator."""

    code: str
    namespace: str
    shard_id: str | None
    node_id: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """A shard that a rollback leaves as it is, and why; `change_id` is the change that is in the way, if one is."""

    namespace: str
    shard_id: str
    reason: ConflictReason
    change_id: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Rollback:
    """What a proposal takes back: one of the first three, in `namespace` or in all of them.

    `unchanged` shards are as they were already. `omitted_conflicts` are more than are listed.
    """

    change_id: int | None
    change_ticket: str | None
    since_revision: int | None
    namespace: str | None
    conflicts: tuple[Conflict, ...] = ()
    omitted_conflicts: int = 0
    unchanged: int = 0


@dataclass(frozen=True)
class Proposal:
    """Moves in the order they are made in: the most urgent first, as far as bounds and groups let. They are a tuple, or
    equal to one.

    `base_revision` is the newest revision of the planned namespaces. `remaining_moves` were left for a later plan
    because of a limit. `nodes` are by id. `scope` is what it was narrowed to, `threshold` the percentage that loads may
    be off their shares by; null where nothing of that was requested. `together` are the moves that only one change can
    make: the position of the first and how many they are; null if there are none. `waves`: as few as the budgets of
    then allow.
    """

    base_revision: int
    inputs_digest: str
    namespaces: tuple[PlannedNamespace, ...]
    moves: Sequence[Move]
    remaining_moves: int
    loads: tuple[NodeLoad, ...]
    violations: tuple[Violation, ...]
    nodes: tuple[PlannedNode, ...] = ()
    rollback: Rollback | None = None
    scope: PlanScope | None = None
    threshold: int | None = None
    together: tuple[tuple[int, int], ...] | None = None
    waves: int | None = None

    @property
    def kind(self) -> PlanKind:
        return PlanKind.REBALANCE if self.rollback is None else PlanKind.ROLLBACK

    @cached_property
    def document(self) -> str:
        """Canonical JSON: members sorted by name, no spaces."""
        # Sorting reaches members of mappings only, so dataclasses are made mappings.
        options = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
        content = {"format": _FORMATS[self.kind], **_members(self), "moves": tuple(self.moves)}
        # Beside the nodes: programs of before read those, and no member that they do not know.
        if digests := {node.node_id: node.placement_digest for node in self.nodes if node.placement_digest is not None}:
            content["node_digests"] = digests
        return orjson.dumps(content, default=_members, option=options).decode()

    @cached_property
    def id(self) -> str:
        return document_id(self.document)

    @property
    def shard_count(self) -> int:
        return sum(namespace.shard_count for namespace in self.namespaces)

    @property
    def moved_percent(self) -> float:
        return 100 * len(self.moves) / self.shard_count if self.shard_count else 0.0


NOTHING: Final = Proposal(0, "", (), (), 0, (), ())
"""Stands in where none has been worked out yet."""


def document_id(document: str) -> str:
    """32 hex digits: what a plan is called."""
    return hashlib.sha256(document.encode()).hexdigest()[:ID_LENGTH]


def read_proposal(document: str) -> Proposal:
    """From a document this store wrote. Raises ValueError for another format, KeyError or TypeError for none at all."""
    content: dict[str, Any] = orjson.loads(document)
    if content["format"] not in _FORMATS.values():
        known = " or ".join(_FORMATS.values())
        raise ValueError(f"its format is {content['format']!a:.64}, and not {known}")
    return Proposal(
        content["base_revision"],
        content["inputs_digest"],
        tuple(PlannedNamespace(**member) for member in content["namespaces"]),
        tuple(_move(member) for member in content["moves"]),
        content["remaining_moves"],
        tuple(NodeLoad(**member) for member in content["loads"]),
        tuple(Violation(**member) for member in content["violations"]),
        tuple(
            PlannedNode(**member, placement_digest=content.get("node_digests", {}).get(member["node_id"]))
            for member in content["nodes"]
        ),
        _rollback(content["rollback"]) if "rollback" in content else None,
        read_scope(content["scope"]) if "scope" in content else None,
        content.get("threshold"),
        tuple((first, count) for first, count in content["together"]) if "together" in content else None,
        content.get("waves"),
    )


def _members(value: Any) -> dict[str, Any]:
    return {
        member.name: found
        for member in fields(value)
        if (found := getattr(value, member.name)) is not None or member.name not in _LEFT_OUT_IF_NULL
        if member.name != "placement_digest"
    }


def _move(member: Mapping[str, Any]) -> Move:
    restore = _restored(member["restore"]) if "restore" in member else None
    leader = LeaderChange(**member["leader"]) if "leader" in member else None
    return Move(**{**member, "reason": MoveReason(member["reason"]), "restore": restore, "leader": leader})


def _restored(member: Mapping[str, Any]) -> Restored:
    return Restored(**{**member, "status": ShardStatus(member["status"])})


def _rollback(member: Mapping[str, Any]) -> Rollback:
    return Rollback(**{**member, "conflicts": tuple(_conflict(one) for one in member["conflicts"])})


def _conflict(member: Mapping[str, Any]) -> Conflict:
    return Conflict(**{**member, "reason": ConflictReason(member["reason"])})


def urgency(reason: MoveReason) -> int:
    """Lower is more urgent."""
    return _URGENCY[reason]


def urgency_order(move: Move) -> tuple[int, str, str]:
    """Sorts moves by urgency, then by namespace and shard id."""
    return urgency(move.reason), move.namespace, move.shard_id


_URGENCY: Final[Mapping[MoveReason, int]] = {reason: position for position, reason in enumerate(MoveReason)}


def placement_digest(node: Node) -> str:
    """Of what placement depends on of a node, 32 hex digits: equal for equal, whatever its version is."""
    return inputs_digest(node.region, node.zone, dict(node.labels), node.weight, node.status)[:ID_LENGTH]


def inputs_digest(*inputs: Any) -> str:
    """SHA-256 (hex) over what a plan depends on, as canonical JSON."""
    return hashlib.sha256(orjson.dumps(inputs, option=orjson.OPT_SORT_KEYS)).hexdigest()
