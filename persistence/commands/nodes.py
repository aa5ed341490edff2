"""Registering, changing and draining nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from persistence.commands.command import NOT_NULL, UNSET, ChangeRequest, Unset
from persistence.commands.read_state import ReadSet
from persistence.model import fields as rules
from persistence.model.fields import Problems
from persistence.model.records import ChangeKind, NodeStatus


@dataclass(frozen=True, slots=True)
class RegisterNode:
    """A node that is not there, or was removed. It is ACTIVE unless `status` is given."""

    node_id: str
    change: ChangeRequest
    region: str | None = None
    zone: str | None = None
    labels: Mapping[str, str] | None = None
    weight: int = 1
    status: NodeStatus = NodeStatus.ACTIVE
    kind = ChangeKind.REGISTER_NODE

    @property
    def reads(self) -> ReadSet:
        return ReadSet(nodes=(self.node_id,), configure=True)

    def add_problems(self, problems: Problems) -> None:
        problems.add("nodeId", rules.identifier_problem(self.node_id))
        problems.add("weight", rules.weight_problem(self.weight))
        if self.region is not None:
            problems.add("region", rules.place_problem(self.region))
        if self.zone is not None:
            problems.add("zone", rules.place_problem(self.zone))
        rules.add_label_problems(problems, self.labels or {})
        if self.status is NodeStatus.REMOVED:
            problems.add("status", "must not be REMOVED: the node is about to be registered")


@dataclass(frozen=True, slots=True)
class UpdateNode:
    """The fields of one node to change, if it still is at `expected_version`. `labels` replaces all labels.

    A node is removed by its status REMOVED, which is refused while it owns or leads shards.
    """

    node_id: str
    expected_version: int
    change: ChangeRequest
    region: str | Unset | None = UNSET
    zone: str | Unset | None = UNSET
    labels: Mapping[str, str] | Unset | None = UNSET
    weight: int | Unset | None = UNSET
    status: NodeStatus | Unset | None = UNSET
    kind = ChangeKind.UPDATE_NODE

    @property
    def reads(self) -> ReadSet:
        return ReadSet(nodes=(self.node_id,), configure=True)

    def add_problems(self, problems: Problems) -> None:
        problems.add("nodeId", rules.identifier_problem(self.node_id))
        problems.add("expectedVersion", rules.counter_problem(self.expected_version))
        for name, value in (("labels", self.labels), ("weight", self.weight), ("status", self.status)):
            if value is None:
                problems.add(name, NOT_NULL)
        if isinstance(self.weight, (int, float)):
            problems.add("weight", rules.weight_problem(self.weight))
        if isinstance(self.region, str):
            problems.add("region", rules.place_problem(self.region))
        if isinstance(self.zone, str):
            problems.add("zone", rules.place_problem(self.zone))
        if isinstance(self.labels, Mapping):
            rules.add_label_problems(problems, self.labels)
        if all(value is UNSET for value in (self.region, self.zone, self.labels, self.weight, self.status)):
            problems.add("nodeId", "has nothing to change: give region, zone, labels, weight or status")


@dataclass(frozen=True, slots=True)
class DrainNode:
    """Take the node out of placement, so that the next plan vacates it.

    What blocks that is the caller's to check before (`planning/what_if.py`).
    """

    node_id: str
    expected_version: int
    change: ChangeRequest
    kind = ChangeKind.DRAIN_NODE

    @property
    def reads(self) -> ReadSet:
        return ReadSet(nodes=(self.node_id,), configure=True)

    def add_problems(self, problems: Problems) -> None:
        problems.add("nodeId", rules.identifier_problem(self.node_id))
        problems.add("expectedVersion", rules.counter_problem(self.expected_version))
