"""What a resolver may reach: made once per HTTP request or socket, and safe to share between resolvers.

It carries readers and writers that open their own session per call, never a session: a socket lives for days, and two
resolvers of one request run at the same time.
"""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from strawberry.types import Info as StrawberryInfo

from persistence.ports import DiffFeed, Store
from persistence.records import StreamPosition
from persistence.write import Writer


class Feed(DiffFeed, Protocol):
    """A feed that can be asked how far it is."""

    @property
    def position(self) -> StreamPosition: ...


class Services(Protocol):
    """What the composition root opened, and closes."""

    @property
    def store(self) -> Store: ...

    @property
    def writer(self) -> Writer: ...

    @property
    def feed(self) -> Feed: ...


@dataclass(frozen=True, slots=True)
class Context:
    """`request_id` names this request in logs and in masked errors."""

    store: Store
    writer: Writer
    feed: DiffFeed
    request_id: str

    @classmethod
    def of(cls, services: Services, request_id: str) -> "Context":
        return cls(services.store, services.writer, services.feed, request_id)


Info: TypeAlias = StrawberryInfo[Context, None]
