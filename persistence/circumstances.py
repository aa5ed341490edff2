"""What a decision needs to know beside what was locked, and what it is told.

Asked for once the locked state is known, and only what the command turns on: most changes ask for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from persistence.records import Node


@dataclass(frozen=True, slots=True)
class Asked:
    """`node_ids` are looked at, not held: they may change the moment after, as after the commit."""

    time: bool = False
    node_ids: Sequence[str] = ()

    def __bool__(self) -> bool:
        return self.time or bool(self.node_ids)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """`now` is the store's clock, read when all locks were held; null where it was not asked for."""

    now: datetime | None = None
    nodes: Mapping[str, Node] = field(default_factory=dict)
