"""What a process serves from. Not in `context`, so that opening it does not import GraphQL."""

from asyncio import Semaphore
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, cast

from graph.execution.attribution import Attribution
from graph.execution.loads import Loads
from persistence.feed.changes import HeadFeed, LiveChanges
from persistence.feed.tailer import DEFAULT_LIMITS, FeedLimits
from persistence.model.records import StreamPosition
from persistence.ports.feed import DiffFeed
from persistence.ports.store import Store
from persistence.replica.reader import ReplicaShards
from persistence.replica.replica import Replica
from persistence.service.executor import CommandExecutor
from persistence.service.rebalancer import Rebalancer
from persistence.tracing import NO_TRACING, Tracer
from strategies.registry import Registry

if TYPE_CHECKING:
    from persistence.audit.export import ExportFilter

_PROPOSALS_AT_ONCE: Final = 2
"""Read by one process: each may be a megabyte to parse, and occupies a connection that lookups need, too."""


Exporter: TypeAlias = Callable[["ExportFilter", str], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""Gives the chunks of an export in a form, `jsonl` or `csv`. They raise StoreError where it cannot be begun, or
finished: what came is no export then."""


class Feed(DiffFeed, Protocol):
    """A feed with its position in the stream."""

    @property
    def position(self) -> StreamPosition: ...

    @property
    def age_seconds(self) -> float:
        """For how long it is not certain that everything committed has been received."""


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
    replica: Replica | None = None
    tracer: Tracer = NO_TRACING
    plan_jobs: Callable[[], int] = lambda: 0
    """How many jobs the processes that plan have, waiting ones among them."""
    reading_proposals: Semaphore = field(default_factory=lambda: Semaphore(_PROPOSALS_AT_ONCE))
    """Held while the proposal of a plan is read."""
    clock: Callable[[], datetime] = field(default_factory=lambda: partial(datetime.now, UTC))
    """What is shown as the time of the server."""
    attribution: Attribution = field(init=False)
    """Whose changes brought shards and nodes to where they are."""
    exporter: Exporter | None = None
    """What exports the audit log; null without a database."""
    limits: FeedLimits = DEFAULT_LIMITS
    """Of what follows changes."""
    live_changes: LiveChanges = field(init=False)
    """All changes, to be followed."""
    loads: Loads = field(init=False)
    """What nodes own of each namespace, and are entitled to."""

    def __post_init__(self) -> None:
        if self.store is not None:
            changes = LiveChanges(self.store.changes, self.store.stream, cast("HeadFeed", self.feed), self.limits)
            object.__setattr__(self, "live_changes", changes)
        object.__setattr__(self, "attribution", Attribution(self.store))
        object.__setattr__(self, "loads", Loads(self.store, self.strategies))
