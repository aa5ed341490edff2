"""Engines and sessions: a pool for reads, of a statement each or of several in one snapshot, and one for units of work.

Their errors, of SQLAlchemy and of the driver below it, are translated here into the store's own.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, DisconnectionError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util.concurrency import in_greenlet

from persistence.errors import Overloaded, StoreError
from persistence.ports.store import PoolState
from persistence.postgres.database import Database
from persistence.postgres.driver import (
    OWN_SESSION,
    SERVER_SETTINGS,
    Connection,
    NothingSent,
    connect,
    require_postgresql,
    transaction_pooler,
)
from persistence.postgres.driver_errors import (
    DRIVER_ERRORS,
    first_line,
    is_unanswered,
    is_unsent,
    store_error,
    translation,
    unanswered,
    unreachable,
)

POOL_SECONDS: Final = 5.0
"""How long a request waits for a connection while all are busy."""

COMMAND_SECONDS: Final = 10.0
"""After so long without an answer a connection is dropped."""

# Less than that, so that a statement that waits inside the server is answered by it, with nothing written. It goes for
# waiting in the queue of writers, while a standby is away, as well: a lock timeout would be taken for a conflict
# that passes, and the wait begun anew, eight times.
POOLED_SETTINGS: Final[Mapping[str, str]] = {
    **SERVER_SETTINGS,
    "statement_timeout": "8s",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "10s",
}


class ReadSession(AsyncSession):
    """A session whose first statement is sent again if its connection is lost, on a new one.

    A pool hands out what has died and not been noticed, and reading twice does no harm. A liveness check before each
    statement would cost each a round trip, and miss what dies in between.
    docs/decisions/0026-connections.md.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._begun = False
        self._options: Any = None

    async def connection(self, *arguments: Any, **named: Any) -> Any:
        self._options = arguments, named
        return await super().connection(*arguments, **named)

    async def execute(self, *arguments: Any, **named: Any) -> Any:
        begun, self._begun = self._begun, True
        try:
            return await super().execute(*arguments, **named)
        except DBAPIError as error:
            if begun or not error.connection_invalidated:
                raise
        await self.rollback()
        if self._options is not None:
            positional, by_name = self._options
            await super().connection(*positional, **by_name)
        return await super().execute(*arguments, **named)


@dataclass(frozen=True, slots=True)
class Sessions:
    """Factories; a session never outlives one call. `read` commits nothing and begins no transaction."""

    read: async_sessionmaker[AsyncSession]
    write: async_sessionmaker[AsyncSession]


class GreenletRequired(Exception):
    """A connection has to be made, and the pool's work is not done in a greenlet, where that can be awaited."""


def _in_greenlet(connecting: Callable[[], Coroutine[Any, Any, Connection]]) -> Callable[[], Any]:
    """`connecting`, for a pool. Raises GreenletRequired."""

    def connect_in_greenlet() -> Coroutine[Any, Any, Connection]:
        if not in_greenlet():
            raise GreenletRequired
        return connecting()

    return connect_in_greenlet


def engine_on(url: str, *, command_timeout: float | None = 90, **options: Any) -> AsyncEngine:
    """A SQLAlchemy engine whose connections are made here. Raises InvalidArgument for a URL of something else.

    `command_timeout`, in seconds, is how long the server may leave a statement without an answer; None: for ever.
    """
    require_postgresql(url)
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=_in_greenlet(partial(connect, url, command_timeout=command_timeout)),
        **options,
    )


def create_engine(
    database: Database,
    *,
    pool_size: int,
    command_seconds: float | None = COMMAND_SECONDS,
    settings: Mapping[str, str] = POOLED_SETTINGS,
    **options: Any,
) -> AsyncEngine:
    """A pool of at most `pool_size` connections, each of which `database` has found fit before it is used: it has made
    sure of the stream's epoch, of the timeline, and of the schema.

    That is what keeps a restored copy, or an old primary that came back, from handing out revisions under the old
    epoch: whatever server a connection reaches, it has been compared before it writes.
    """
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=_in_greenlet(partial(database.connect, command_timeout=command_seconds, settings=settings)),
        poolclass=_Pool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_SECONDS,
        pool_use_lifo=True,
        **options,
    )
    _watch(engine, database)
    return engine


class _Pool(AsyncAdaptedQueuePool):
    """Counts those that wait in it."""

    __module__ = AsyncAdaptedQueuePool.__module__  # names the logger, and what a pool logs is a library's

    waiting = 0

    def _do_get(self) -> Any:
        self.waiting += 1
        try:
            return super()._do_get()
        finally:
            self.waiting -= 1


def pool_state(engine: AsyncEngine) -> PoolState:
    """Of an engine that `create_engine` made."""
    pool: Any = engine.sync_engine.pool
    return PoolState(pool.checkedout(), pool.checkedin(), pool.waiting)


def _watch(engine: AsyncEngine, database: Database) -> None:
    @event.listens_for(engine.sync_engine, "checkout")
    def taken(adapted: Any, _record: Any, _fairy: Any) -> None:
        connection: Connection = adapted.driver_connection
        if not database.taken(connection):
            # At once: a farewell to a server that does not answer would be waited for.
            connection.terminate()
            raise DisconnectionError("the connection is not to be used any more")
        # Without a greenlet nothing can be awaited here: `reads` looks at that itself.
        if connection.behind_pooler and in_greenlet() and not _still_own(adapted, connection):
            connection.terminate()
            raise transaction_pooler()

    @event.listens_for(engine.sync_engine, "checkin")
    def returned(adapted: Any, _record: Any) -> None:
        if adapted is not None:
            database.returned(adapted.driver_connection)

    @event.listens_for(engine.sync_engine, "handle_error")
    def failed(context: Any) -> None:
        # The pool would compare times of the wall clock, which may be set back. Each connection is looked at instead.
        context.invalidate_pool_on_disconnect = False
        if database.met(context.original_exception):
            context.is_disconnect = True


def _still_own(adapted: Any, connection: Connection) -> bool:
    """Behind a pooler a session is one's own as long as it has the token; with PostgreSQL itself it always is."""
    cursor = adapted.cursor()
    cursor.execute(OWN_SESSION)
    (found,) = cursor.fetchone()
    cursor.close()
    return bool(found == connection.token)


def sessions(read_engine: AsyncEngine, write_engine: AsyncEngine) -> Sessions:
    return Sessions(
        read=async_sessionmaker(read_engine, class_=ReadSession, expire_on_commit=False, autoflush=False),
        write=async_sessionmaker(write_engine, expire_on_commit=False, autoflush=False),
    )


_GIVEN_UP: Final = "This connection is closed"  # of a pool: three connections in a row were not to be used


@contextmanager
def translated() -> Iterator[None]:
    """Run database work; whatever goes wrong below leaves as a StoreError."""
    try:
        yield
    except StoreError:
        raise
    except DBAPIError as error:
        raise translation(error.orig) from error
    except PoolTimeoutError as error:
        raise Overloaded(f"all connections to the database are busy: {first_line(error)}") from error
    except InvalidRequestError as error:
        if _GIVEN_UP in str(error):
            raise unreachable(error) from error
        raise StoreError(f"the database layer failed: {first_line(error)}") from error
    except SQLAlchemyError as error:
        raise StoreError(f"the database layer failed: {first_line(error)}") from error
    except DRIVER_ERRORS as error:
        raise store_error(error) from error


@contextmanager
def committing() -> Iterator[None]:
    """`driver_errors.committing`, for a call by a session or a connection of SQLAlchemy's."""
    try:
        yield
    except (DBAPIError, *DRIVER_ERRORS) as error:
        cause = _driver_error(error)
        if is_unanswered(cause):
            raise unanswered(cause) from error
        raise


def is_unsent_call(error: DBAPIError) -> bool:
    """Of a call whose connection was lost before it was sent: it may be made on another."""
    cause = _driver_error(error)
    return error.connection_invalidated and (isinstance(cause, NothingSent) or is_unsent(cause))


def _driver_error(error: BaseException) -> BaseException:
    """What the driver raised is more precise than the class that it was mapped to."""
    mapped = error.orig if isinstance(error, DBAPIError) else None
    return getattr(mapped, "__cause__", None) or error
