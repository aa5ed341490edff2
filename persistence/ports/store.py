"""A store as the composition root assembles it, for the layers above."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from persistence.errors import Unavailable
from persistence.ports.feed import ChangeStream, CommitSignal
from persistence.ports.readers import (
    ChangeReader,
    HistoryReader,
    NamespaceReader,
    NodeReader,
    PlacementReader,
    PlanReader,
    ShardReader,
    ShardTotals,
)
from persistence.ports.writes import ChangeGroupFactory, Refusals, UnitOfWorkFactory


class PoolState(NamedTuple):
    """Of a pool of connections, in connections; `waiting` are the requests for one that have none yet."""

    in_use: int
    idle: int
    waiting: int


async def _always_available() -> None:
    """A store without a database has none."""


@dataclass(frozen=True, slots=True)
class Store:
    """A backend, assembled by the composition root."""

    shards: ShardReader
    totals: ShardTotals
    namespaces: NamespaceReader
    nodes: NodeReader
    plans: PlanReader
    placement: PlacementReader
    history: HistoryReader
    changes: ChangeReader
    stream: ChangeStream
    signal: CommitSignal
    refusals: Refusals
    unit_of_work: UnitOfWorkFactory
    change_group: ChangeGroupFactory
    trouble: Callable[[], Awaitable[Unavailable | None]] = _always_available
    """Why requests have failed, and still would, where reading the head need not show it."""
    pools: Mapping[str, Callable[[], PoolState]] = field(default_factory=dict)
    """The pools of connections, by what they are for."""


@dataclass(frozen=True, slots=True)
class BulkStore:
    """The part of a backend that works on thousands of shards at a time."""

    placement: PlacementReader
    shards: ShardReader
    changes: ChangeReader
    stream: ChangeStream
    refusals: Refusals
    unit_of_work: UnitOfWorkFactory
