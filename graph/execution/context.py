"""What a resolver may reach: made once per HTTP request or socket, and safe to share between resolvers.

It carries readers and writers that open their own session per call, never a session: a socket lives for days, and two
resolvers of one request run at the same time.
"""

from asyncio import Semaphore
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from strawberry.types import Info as StrawberryInfo

from graph.auth.principal import Principal
from persistence.model.records import StreamPosition
from persistence.ports import DiffFeed, Store
from persistence.service.executor import CommandExecutor
from persistence.service.rebalancer import Rebalancer
from strategies.registry import Registry


class Feed(DiffFeed, Protocol):
    """A feed that can be asked how far it is."""

    @property
    def position(self) -> StreamPosition: ...


class Services(Protocol):
    """What the composition root opened, and closes."""

    @property
    def store(self) -> Store: ...

    @property
    def writer(self) -> CommandExecutor: ...

    @property
    def feed(self) -> Feed: ...

    @property
    def strategies(self) -> Registry: ...

    @property
    def rebalancer(self) -> Rebalancer: ...


@dataclass(frozen=True, slots=True)
class Context:
    """`principal` is whoever asks. `request_id` names this request in logs and in masked errors. Proposals of plans are
    read while holding `reading_proposals`, which all requests share. `resume_after` is the cursor of the last event
    that a client of an event stream has seen, whatever its document says."""

    store: Store
    writer: CommandExecutor
    feed: DiffFeed
    strategies: Registry
    rebalancer: Rebalancer
    reading_proposals: Semaphore
    principal: Principal
    request_id: str
    resume_after: str | None = None

    @classmethod
    def of(
        cls,
        services: Services,
        reading_proposals: Semaphore,
        principal: Principal,
        request_id: str,
        resume_after: str | None = None,
    ) -> "Context":
        return cls(
            services.store,
            services.writer,
            services.feed,
            services.strategies,
            services.rebalancer,
            reading_proposals,
            principal,
            request_id,
            resume_after,
        )


Info: TypeAlias = StrawberryInfo[Context, None]
