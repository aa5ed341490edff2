"""A migrated database that one test after the other finds empty, and a store on it that stays open.

Making a database, then connecting to it and having each connection learn tables, functions and statements anew takes
more than most tests do with it. Deleting what a test has written takes a few milliseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final
from weakref import WeakSet

import asyncpg

from persistence.ports.store import Store
from persistence.postgres.store import open_store
from tests.support.databases import Databases
from tests.support.mesh import Mesh, new

_MOST_ROWS: Final = 2_000
"""Deleted rows stay in their files until a vacuum, and readers have to pass them."""

_REMEMBER_HEADS: Final = """
    CREATE SCHEMA pristine;
    CREATE TABLE pristine.stream_head AS TABLE stream_head;
    CREATE TABLE pristine.refusal_head AS TABLE refusal_head;
"""
_RESTORE_HEADS: Final = """
    INSERT INTO stream_head TABLE pristine.stream_head;
    INSERT INTO refusal_head TABLE pristine.refusal_head;
"""
_TABLES: Final = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
        AND NOT relispartition AND relname <> 'alembic_version'
"""
_CATALOG: Final = " UNION ALL ".join(
    f"SELECT count(*), max(xmin::text::bigint) FROM {table}"  # noqa: S608 - names of tables
    for table in ("pg_class", "pg_constraint", "pg_namespace", "pg_proc", "pg_trigger")
)
"""Whatever creates, alters or drops something has other numbers after it."""


KEPT_TASKS: Final[WeakSet[asyncio.Task[object]]] = WeakSet()
"""Of stores that stay open when a test ends."""


@dataclass(frozen=True)
class ReusedStore:
    url: str
    store: Store
    _connection: asyncpg.Connection
    _tables: Sequence[str]
    _catalog: Sequence[asyncpg.Record]

    async def empty(self) -> bool:
        """Delete what is there. False where that is not enough, or would take as long as a new database."""
        if self._connection.is_closed():  # by a test that closes all of them
            return False
        rows = " + ".join(f"(SELECT count(*) FROM {table})" for table in self._tables)  # noqa: S608 - as above
        if await self._connection.fetchval(f"SELECT {rows}") > _MOST_ROWS:
            return False
        await _empty(self._connection, self._tables)
        catalog: Sequence[asyncpg.Record] = await self._connection.fetch(_CATALOG)
        return catalog == self._catalog


@asynccontextmanager
async def reused_store(databases: Databases, template: str) -> AsyncIterator[ReusedStore]:
    """A store on a copy of the template."""
    async with AsyncExitStack() as stack:
        temporary = databases.temporary(template=template)
        url = await asyncio.to_thread(temporary.__enter__)
        stack.push_async_callback(asyncio.to_thread, temporary.__exit__, None, None, None)
        connection = await asyncpg.connect(url, server_settings={"lock_timeout": "10s"})
        stack.push_async_callback(connection.close)
        store = await stack.enter_async_context(open_store(url))
        tables = [row["relname"] for row in await connection.fetch(_TABLES)]
        # The first connection to read begins the stream's epoch, the first shard makes the first partition of history.
        await store.namespaces.get("none")
        await connection.execute(_REMEMBER_HEADS)
        mesh = Mesh(store)
        await mesh.configure()
        await mesh.create(new("first"))
        await _empty(connection, tables)
        yield ReusedStore(url, store, connection, tables, await connection.fetch(_CATALOG))


async def _empty(connection: asyncpg.Connection, tables: Sequence[str]) -> None:
    # As a replica applies changes: without the triggers that keep history from being edited.
    deleted = " ".join(f"DELETE FROM {table};" for table in tables)  # noqa: S608 - names of tables
    await connection.execute(f"SET session_replication_role = replica; {deleted} {_RESTORE_HEADS}")


class ReusedStores:
    """One at a time, until it is not to be used again."""

    def __init__(self, databases: Databases, template: str) -> None:
        self._databases = databases
        self._template = template
        self._stack = AsyncExitStack()
        self._reused: ReusedStore | None = None

    async def empty(self) -> ReusedStore:
        """An empty one. The test that had it before uses it no more."""
        if self._reused is not None and not await self._reused.empty():
            await self.close()
        if self._reused is None:
            before = asyncio.all_tasks()
            self._reused = await self._stack.enter_async_context(reused_store(self._databases, self._template))
            KEPT_TASKS.update(asyncio.all_tasks() - before)
        return self._reused

    @property
    def url(self) -> str:
        """Of the database of the store that was emptied last."""
        assert self._reused is not None
        return self._reused.url

    async def close(self) -> None:
        self._reused = None
        await self._stack.aclose()
