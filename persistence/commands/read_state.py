"""What a decision needs to know beside its read set, and what it is told.

Asked for once the state is known, and only what the command turns on: most changes ask for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from persistence.records import GroupKey, Node


@dataclass(frozen=True, slots=True)
class Asked:
    """The database's clock, nodes, and anti-affinity groups. The commit re-checks that the nodes and the members of the
    groups are as they were read."""

    clock: bool = False
    node_ids: Sequence[str] = ()
    groups: Sequence[GroupKey] = ()

    def __bool__(self) -> bool:
        return self.clock or bool(self.node_ids) or bool(self.groups)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """`clock` is null where it was not asked for: a decision has one, which is read with the state where a policy
    depends on it. `groups` are the shards of each, by id, with their owners. Nodes and groups are of the snapshot that
    the state is of.
    """

    clock: datetime | None = None
    nodes: Mapping[str, Node] = field(default_factory=dict)
    groups: Mapping[GroupKey, Mapping[str, str]] = field(default_factory=dict)
