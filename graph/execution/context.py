"""What a resolver may reach: the services of the process, and the caller. Safe to share between resolvers.

Readers and writers open their own session per call, and none is carried here: a socket lives for days, and two
resolvers of one request run at the same time.
"""

from asyncio import Semaphore
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from strawberry.types import Info as StrawberryInfo

from graph.auth.principal import Principal
from persistence.model.records import StreamPosition
from persistence.ports import DiffFeed, Store
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
    reading_proposals: Semaphore = field(default_factory=lambda: Semaphore(_PROPOSALS_AT_ONCE))
    """Held while the proposal of a plan is read."""


@dataclass(frozen=True, slots=True)
class Context:
    """Of one HTTP request or one socket. `request_id` names it in logs and in masked errors. `resume_after` is the
    cursor of the last event that a client of an event stream has seen; it takes precedence over the document's `after`.
    """

    services: Services
    principal: Principal
    request_id: str
    resume_after: str | None = None


Info: TypeAlias = StrawberryInfo[Context, None]
