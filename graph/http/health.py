"""Whether this process is up (/healthz), fit to serve (/readyz), and what it counts (/metrics)."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from graph.execution.metrics import Metrics
from graph.execution.process_state import ProcessState
from graph.execution.services import Services
from persistence.errors import Fenced, Overloaded, SchemaOutOfDate, StaleRead, StoreError, StoreUnavailable, Unavailable
from persistence.model.stream import StreamHead

PATHS: Final = ("/healthz", "/readyz", "/metrics")

_TIMEOUT_SECONDS: Final = 2.0


class Health:
    """`exposition` returns what /metrics answers, where that is more than what this process counts."""

    def __init__(
        self, services: Services, metrics: Metrics, exposition: Callable[[], Awaitable[bytes]] | None = None
    ) -> None:
        self._store = services.store
        self._feed = services.feed
        self._metrics = metrics
        self._state = ProcessState(services)
        metrics.add(self._state)
        self._exposition = exposition or self._own_exposition

    @property
    def routes(self) -> Sequence[BaseRoute]:
        return (
            Route(PATHS[0], self.alive),
            Route(PATHS[1], self.ready),
            Route(PATHS[2], self.exposed),
        )

    async def alive(self, _request: Request) -> Response:
        """The event loop runs. Independent of the database: restarting this process would not mend that."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """The database answers, its head can be read, and the feed has got there."""
        try:
            head = await self._head()
            await self._feed.wait_for(head.revision)
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                trouble = await self._store.trouble()
        except StaleRead:
            return _unavailable("the feed has not caught up")
        except StoreError as error:
            return _unavailable(_reason(error))
        except TimeoutError:
            return _unavailable(_UNREADABLE)
        if self._feed.position.epoch != head.epoch:
            return _unavailable("the feed follows a stream that the store has replaced")
        if trouble is not None:
            return _unavailable(_reason(StoreUnavailable("", trouble)))
        return JSONResponse({"status": "ok", "epoch": head.epoch, "revision": str(head.revision)})

    async def exposed(self, _request: Request) -> Response:
        return Response(await self._exposition(), headers={"content-type": CONTENT_TYPE_LATEST})

    async def _own_exposition(self) -> bytes:
        await self.refresh()
        return self._metrics.exposition()

    async def refresh(self) -> None:
        """Set the metrics that are not kept up to date by what they measure."""
        await self._read_lag()
        await self._state.refresh()

    async def _read_lag(self) -> None:
        seen = self._feed.position.revision
        self._metrics.feed_revision.set(seen)
        try:
            self._metrics.feed_lag.set(max(0, (await self._head()).revision - seen))
        except (StoreError, TimeoutError):
            self._metrics.feed_lag.set(math.nan)

    async def _head(self) -> StreamHead:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return await self._store.stream.head()


_UNREADABLE: Final = "the store cannot be read"

_REASONS: Final[Mapping[str, str]] = {
    Unavailable.UNREACHABLE: _UNREADABLE,
    Unavailable.ACCESS_DENIED: "the database denies access",
    Unavailable.TOO_MANY_CONNECTIONS: "the database takes no more connections",
    Unavailable.DISK_FULL: "the database's disk is full",
    Unavailable.READ_ONLY: "the database takes no writes",
    Unavailable.AWAITING_STANDBY: "the database waits for its synchronous standby",
    Unavailable.TRANSACTION_POOLER: "a pooler in transaction mode stands before the database",
    Unavailable.SESSION_SETTINGS: "the database does not give sessions the settings that they need",
    Fenced.code: "the database is an old primary that came back",
    SchemaOutOfDate.code: "the database's schema is not one that this version works with",
    Overloaded.code: "the store is busy",
}


def _reason(error: StoreError) -> str:
    if isinstance(error, StoreUnavailable) and error.code == StoreUnavailable.code:
        return _REASONS[error.reason]
    return _REASONS.get(error.code, _UNREADABLE)


def _unavailable(reason: str) -> Response:
    """The port is open to probes of all kinds, so the store's own message is left out: it may name hosts and users."""
    return JSONResponse({"status": "unavailable", "reason": reason}, HTTPStatus.SERVICE_UNAVAILABLE)
