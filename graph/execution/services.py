"""What a process serves from. Not in `context`, so that opening it does not import GraphQL."""

from asyncio import Semaphore
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from persistence.model.records import StreamPosition
from persistence.ports import DiffFeed, Store
from persistence.replica.reader import ReplicaShards
from persistence.service.executor import CommandExecutor
from persistence.service.rebalancer import Rebalancer
from strategies.registry import Registry

_PROPOSALS_AT_ONCE: Final = 2
"""Read by one process: each may be a megabyte to parse, and occupies a connection that lookups need, too."""


class Feed(DiffFeed, Protocol):
    """A feed with its position in the stream."""

    @property
    def position(self) -> StreamPosition: ...


@dataclass(frozen=True, slots=True)
class Services:
    """What the composition root opens, and closes."""

    store: Store
    writer: CommandExecutor
    feed: Feed
    strategies: Registry
    rebalancer: Rebalancer
    lookups_at: Callable[[], StreamPosition | None] = lambda: None
    """Where in the stream lookups are answered from memory; null while some may be answered elsewhere."""
    memory: ReplicaShards | None = None
    """What lookups are read from, where that can be observed: their answers are kept."""
    reading_proposals: Semaphore = field(default_factory=lambda: Semaphore(_PROPOSALS_AT_ONCE))
    """Held while the proposal of a plan is read."""
