"""What a decision needs to know beside what was locked, and what it is told.

Asked for once the locked state is known, and only what the command turns on: most changes ask for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from persistence.records import GroupKey, Node


@dataclass(frozen=True, slots=True)
class Asked:
    """`node_ids` are looked at, not held: they may change the moment after, as after the commit.

    `groups` are locked, in order, after everything else but the stream head: whoever brings a shard of one to a node,
    or a shard into one, waits here.
    """

    time: bool = False
    node_ids: Sequence[str] = ()
    groups: Sequence[GroupKey] = ()

    def __bool__(self) -> bool:
        return self.time or bool(self.node_ids) or bool(self.groups)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """`now` is the store's clock, read when all locks were held; null where it was not asked for. `groups` are the
    shards of each, by id, with their owners.
    """

    now: datetime | None = None
    nodes: Mapping[str, Node] = field(default_factory=dict)
    groups: Mapping[GroupKey, Mapping[str, str]] = field(default_factory=dict)
