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
    """The time, nodes, and anti-affinity groups. The commit re-checks that the nodes and the members of the groups are
    as they were read."""

    time: bool = False
    node_ids: Sequence[str] = ()
    groups: Sequence[GroupKey] = ()

    def __bool__(self) -> bool:
        return self.time or bool(self.node_ids) or bool(self.groups)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """`now` is the store's clock, null where it was not asked for. `groups` are the shards of each, by id, with their
    owners. Nodes and groups are of the snapshot that the state is of.
    """

    now: datetime | None = None
    nodes: Mapping[str, Node] = field(default_factory=dict)
    groups: Mapping[GroupKey, Mapping[str, str]] = field(default_factory=dict)
