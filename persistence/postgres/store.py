"""The PostgreSQL store, assembled and opened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from persistence.ports.store import BulkStore, Store
from persistence.postgres.database import Database, Fence
from persistence.postgres.engine import COMMAND_SECONDS, create_engine, pool_state, sessions
from persistence.postgres.group_commit import change_group
from persistence.postgres.listener import listening
from persistence.postgres.partitions import SPAN, PartitionSupply
from persistence.postgres.readers.changes import PostgresChanges
from persistence.postgres.readers.history import PostgresHistory
from persistence.postgres.readers.nodes import PostgresNamespaces, PostgresNodes
from persistence.postgres.readers.placement import PostgresPlacement
from persistence.postgres.readers.plans import PostgresPlans
from persistence.postgres.readers.refusals import PostgresRefusals
from persistence.postgres.readers.shard_counts import PostgresTotals
from persistence.postgres.readers.shards import PostgresShards
from persistence.postgres.row_locks import RowLocks
from persistence.postgres.stream import PostgresStream
from persistence.postgres.tables.current import SCHEMA_REVISION
from persistence.postgres.unit_of_work import unit_of_work


@asynccontextmanager
async def open_store(
    database_url: str,
    *,
    read_connections: int = 8,
    write_connections: int = 8,
    history_span: int = SPAN,
    fence: Fence | None = None,
    program_revision: str = SCHEMA_REVISION,
) -> AsyncIterator[Store]:
    """A store on a migrated PostgreSQL. Connections open when first needed, the listening one at once.

    `history_span` is how many revisions a new partition of history takes. `fence` is what this process has seen of
    timelines; `program_revision` is the migration that it was made for, which every connection compares.
    Raises InvalidArgument for a URL that is none. Reads and writes have pools of their own, so that a queue of writers
    behind the stream head leaves lookups alone.
    """
    async with AsyncExitStack() as stack:
        database = Database(database_url, fence=fence, program_revision=program_revision)
        stack.push_async_callback(database.close)
        reads = create_engine(database, pool_size=read_connections, isolation_level="AUTOCOMMIT")
        stack.push_async_callback(reads.dispose)
        writes = create_engine(database, pool_size=write_connections, isolation_level="AUTOCOMMIT")
        stack.push_async_callback(writes.dispose)
        factories = sessions(reads, writes)
        # Last, so that it stops first: nothing is woken while the pools close.
        signal = await stack.enter_async_context(listening(database))
        supply = PartitionSupply(writes, history_span)
        locks = RowLocks(partial(database.connect, command_timeout=COMMAND_SECONDS))
        stack.push_async_callback(locks.close)
        yield Store(
            shards=PostgresShards(factories.read),
            totals=PostgresTotals(factories.read),
            namespaces=PostgresNamespaces(factories.read),
            nodes=PostgresNodes(factories.read),
            plans=PostgresPlans(factories.read),
            placement=PostgresPlacement(factories.read),
            history=PostgresHistory(factories.read),
            changes=PostgresChanges(factories.read),
            stream=PostgresStream(factories.read, database.barrier.wait),
            signal=signal,
            refusals=PostgresRefusals(factories.read, factories.write),
            unit_of_work=partial(unit_of_work, writes, supply, database, locks),
            change_group=partial(change_group, writes, supply, database, locks),
            trouble=database.trouble,
            pools={"read": partial(pool_state, reads), "write": partial(pool_state, writes)},
        )


@asynccontextmanager
async def open_bulk_store(database_url: str, *, fence: Fence | None = None) -> AsyncIterator[BulkStore]:
    """The part of a store for work on thousands of shards, one thing at a time: a connection for reading and one for
    writing."""
    async with AsyncExitStack() as stack:
        database = Database(database_url, fence=fence, program_revision=SCHEMA_REVISION)
        stack.push_async_callback(database.close)
        reads = create_engine(database, pool_size=1, isolation_level="AUTOCOMMIT")
        stack.push_async_callback(reads.dispose)
        writes = create_engine(database, pool_size=1, isolation_level="AUTOCOMMIT")
        stack.push_async_callback(writes.dispose)
        factories = sessions(reads, writes)
        locks = RowLocks(partial(database.connect, command_timeout=COMMAND_SECONDS))
        stack.push_async_callback(locks.close)
        write = partial(unit_of_work, writes, PartitionSupply(writes), database, locks)
        yield BulkStore(
            placement=PostgresPlacement(factories.read),
            shards=PostgresShards(factories.read),
            changes=PostgresChanges(factories.read),
            stream=PostgresStream(factories.read, database.barrier.wait),
            refusals=PostgresRefusals(factories.read, factories.write),
            unit_of_work=write,
        )
