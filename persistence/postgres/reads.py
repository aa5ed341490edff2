"""Statements by the driver itself: reads of one statement, and those of group commit.

SQLAlchemy makes the statement, once, and pools the connections. What it does around each execution (a session, a
transaction that is none, a cursor, a result, rows of its own) takes three times what the driver takes, and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from persistence.postgres.driver import OWN_SESSION, Connection, transaction_pooler
from persistence.postgres.driver_errors import DRIVER_ERRORS
from persistence.postgres.engine import GreenletRequired

if TYPE_CHECKING:
    from sqlalchemy import ClauseElement, Dialect
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

_DIALECT: Final[Dialect] = PGDialect_asyncpg()  # type: ignore[no-untyped-call]


class Statement:
    """Compiled when it is first executed, so without IN, whose parameters are as many as the values.

    Rows are the driver's: values as it decodes them, which are those of every type that the tables have.
    """

    def __init__(self, statement: ClauseElement) -> None:
        self.statement = statement

    @cached_property
    def _compiled(self) -> tuple[str, Sequence[tuple[str, Any]]]:
        """The text, and name and default of each parameter, in order."""
        compiled: Any = self.statement.compile(dialect=_DIALECT)
        return compiled.string, [(name, compiled.params[name]) for name in compiled.positiontup]

    @property
    def text(self) -> str:
        """As it is sent."""
        return self._compiled[0]

    def arguments(self, values: Mapping[str, Any]) -> Sequence[Any]:
        """In the order of its parameters."""
        return [values.get(name, default) for name, default in self._compiled[1]]

    async def executed(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Any]:
        """Its rows, as a transaction of its own where the connection is in none. It is prepared once for a connection.
        Raises NothingSent where the connection was lost before that was done, and else what the driver does."""
        prepared = connection.statements.get(self.text)
        if prepared is None:
            prepared = connection.statements[self.text] = await connection.prepare(self.text)
        try:
            rows: Sequence[Any] = await prepared.fetch(*self.arguments(values))
        except asyncpg.PostgresError:
            # Its plan may have become invalid by a migration: the next attempt prepares it anew.
            connection.statements.pop(self.text, None)
            raise
        return rows


class Read(Statement):
    """A statement that reads; `record_class` is that of its rows."""

    def __init__(self, statement: ClauseElement, record_class: type | None = None) -> None:
        super().__init__(statement)
        self._record_class = record_class

    async def rows(self, sessions: async_sessionmaker[AsyncSession], values: Mapping[str, Any]) -> Sequence[Any]:
        """In a snapshot of its own, on a connection of the sessions' pool. Raises what that and the driver do.

        Sent again once, on a new connection, if its connection is lost: as in `engine.ReadSession`.
        """
        text, arguments = self.text, self.arguments(values)
        engine: AsyncEngine = sessions.kw["bind"]
        try:
            return await self._fetch(engine, text, arguments)
        except _LostConnection:
            return await self._fetch(engine, text, arguments, again=True)

    async def _fetch(
        self, engine: AsyncEngine, text: str, arguments: Sequence[Any], *, again: bool = False
    ) -> Sequence[Any]:
        """Raises _LostConnection unless it is sent again."""
        pooled: Any = idle(engine) or await engine.raw_connection()
        connection: Connection = pooled.driver_connection
        try:
            await require_own(connection)
            rows: Sequence[Any] = await connection.fetch(text, *arguments, record_class=self._record_class)
        except DRIVER_ERRORS as error:
            unusable = connection.database is not None and connection.database.met(error)
            if not unusable and not connection.is_closed():
                raise
            pooled.invalidate()
            if again or not isinstance(error, ANSWERED):
                raise
            raise _LostConnection from error
        except BaseException:
            # Cancelled: the driver is in the middle of the statement.
            pooled.invalidate()
            raise
        finally:
            pooled.close()
        return rows


async def require_own(connection: Connection) -> None:
    """Behind a pooler a session is one's own as long as it has the token. Raises StoreUnavailable."""
    if connection.behind_pooler and await connection.fetchval(OWN_SESSION) != connection.token:
        connection.terminate()
        raise transaction_pooler()


def idle(engine: AsyncEngine) -> Any:
    """An idle connection of the pool, or null where there is none that is to be used: without the greenlet that making
    one takes, which costs three times what taking one does."""
    pool: Any = engine.sync_engine.pool
    try:
        return pool.connect() if pool.checkedin() else None
    except GreenletRequired:
        return None


ANSWERED: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""By the server, or by the driver at once: nothing was waited for in vain, as it was until a timeout."""


class _LostConnection(Exception):
    """Before the statement was answered."""
