"""A set of moves and what it was computed from, as a value and as a document that names itself.

The document is canonical JSON; the proposal's id is the beginning of its SHA-256. So the same inputs give the same
plan, byte for byte, and a plan that was written to a file can be told from one that was edited.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Final

import orjson

from persistence.records import MoveReason, ShardKey

ID_LENGTH: Final = 32
_ID: Final = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")
_FORMAT: Final = "omnirelay.plan.v1"


@dataclass(frozen=True, slots=True)
class Move:
    """One shard from one node to another, if it still is at `version`."""

    namespace: str
    shard_id: str
    version: int
    from_node_id: str
    to_node_id: str
    reason: MoveReason

    @property
    def key(self) -> ShardKey:
        return ShardKey(self.namespace, self.shard_id)


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
    """A registered node that a move leads to or comes from, as the plan found it."""

    node_id: str
    version: int


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """What a node owns of the planned namespaces, before and after."""

    node_id: str
    shards_before: int
    shards_after: int
    capacity_before: float
    capacity_after: float


@dataclass(frozen=True, slots=True)
class Violation:
    """Something the plan cannot put right, as a stable code and a sentence for the operator."""

    code: str
    namespace: str
    shard_id: str | None
    node_id: str | None
    message: str


@dataclass(frozen=True)
class Proposal:
    """Moves, most urgent first. `base_revision` is the newest revision of the planned namespaces.

    `remaining_moves` were left for a later plan because of a limit. `nodes` are by id.
    """

    base_revision: int
    inputs_digest: str
    namespaces: tuple[PlannedNamespace, ...]
    moves: tuple[Move, ...]
    remaining_moves: int
    loads: tuple[NodeLoad, ...]
    violations: tuple[Violation, ...]
    nodes: tuple[PlannedNode, ...] = ()

    @cached_property
    def document(self) -> str:
        """Canonical JSON: members sorted by name, no spaces."""
        # Sorting reaches members of mappings only, so dataclasses are made mappings.
        options = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
        return orjson.dumps({"format": _FORMAT, **_members(self)}, default=_members, option=options).decode()

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


def plan_id_problem(value: str) -> str | None:
    return None if _ID.fullmatch(value) else f"must be the id of a plan: {ID_LENGTH} hex digits"


def read_proposal(document: str) -> Proposal:
    """From a document this store wrote. Raises ValueError for another format, KeyError or TypeError for none at all."""
    content: dict[str, Any] = orjson.loads(document)
    if content["format"] != _FORMAT:
        raise ValueError(f"its format is {content['format']!a:.64}, and not {_FORMAT}")
    return Proposal(
        content["base_revision"],
        content["inputs_digest"],
        tuple(PlannedNamespace(**member) for member in content["namespaces"]),
        tuple(_move(member) for member in content["moves"]),
        content["remaining_moves"],
        tuple(NodeLoad(**member) for member in content["loads"]),
        tuple(Violation(**member) for member in content["violations"]),
        tuple(PlannedNode(**member) for member in content["nodes"]),
    )


def _members(value: Any) -> dict[str, Any]:
    return {member.name: getattr(value, member.name) for member in fields(value)}


def _move(member: Mapping[str, Any]) -> Move:
    return Move(**{**member, "reason": MoveReason(member["reason"])})


def urgency(reason: MoveReason) -> int:
    """Lower is more urgent."""
    return _URGENCY[reason]


_URGENCY: Final[Mapping[MoveReason, int]] = {reason: place for place, reason in enumerate(MoveReason)}


def inputs_digest(*inputs: Sequence[Any]) -> str:
    """SHA-256 (hex) over what a plan depends on, as canonical JSON."""
    return hashlib.sha256(orjson.dumps(inputs, option=orjson.OPT_SORT_KEYS)).hexdigest()
