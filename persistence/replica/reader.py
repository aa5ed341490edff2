"""Reads of shards: from the replica where it may answer, and from the database where it may not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from persistence.errors import Overloaded
from persistence.model.paging import Page, PageRequest
from persistence.model.queries import ShardFilter
from persistence.model.records import AsOf, Shard, ShardKey
from persistence.ports.readers import ShardCount, ShardReader, ShardTotals, Stamped, holds_none
from persistence.replica.observed_reads import ObservedReads
from persistence.replica.replica import Replica

TURN_SECONDS: Final = 5.0
"""As long as a connection is waited for."""


class ReplicaShards:
    """ShardReader. Every answer is the table at one revision, which it is stamped with, and holds what this process
    has committed. What other processes commit arrives with the feed, milliseconds later, or when a long change has been
    read; a request that needs it sooner waits for its revision. No shard is shown as it was before what an earlier
    answer showed, whether that came from the replica or from the database.
    """

    def __init__(self, replica: Replica, stored: ShardReader, stored_at_once: int = 6) -> None:
        """`stored_at_once` reads of the database at a time are made, so that the feed finds a connection and its turn
        however many wait: it is what ends their waiting."""
        self._replica = replica
        self._stored = stored
        self._turns = asyncio.Semaphore(stored_at_once)
        self._observed: ObservedReads | None = None

    def observe(self) -> ObservedReads:
        """What is read from now on, by anything, until it is `observed`, or others begin to observe."""
        self._observed = ObservedReads(self._replica)
        return self._observed

    def observed(self, reads: ObservedReads) -> bool:
        """The end of it. False if others have begun to observe meanwhile: then reads may be missing."""
        whole, self._observed = self._observed is reads, None
        return whole

    async def get(self, key: ShardKey, as_of: AsOf | None = None) -> Stamped[Shard | None]:
        if as_of is not None:
            self._read_elsewhere()
            return await self._stored.get(key, as_of)
        held = self._held(key)
        if held is None:
            await self._replica.shows_soon([key])
            held = self._held(key)
        if held is not None:
            return held
        self._read_elsewhere()
        async with self._turn():
            held = self._held(key)
            if held is not None:
                return held
            stored = await self._stored.get(key)
        self._replica.expect_shards(stored.position, [key])
        return stored

    def _held(self, key: ShardKey) -> Stamped[Shard | None] | None:
        """From memory, if it may be."""
        table = self._replica.table_with(key)
        if table is None:
            return None
        shard = table.value.get(*key)
        if self._observed is not None:
            self._observed.add_shard(key, shard)
            self._observed.add_read_at(table.position)
        return Stamped(shard, table.position)

    async def get_many(self, keys: Sequence[ShardKey], as_of: AsOf | None = None) -> Stamped[Sequence[Shard | None]]:
        if as_of is not None:
            self._read_elsewhere()
            return await self._stored.get_many(keys, as_of)
        held = self._all_held(keys)
        if held is None:
            await self._replica.shows_soon(keys)
            held = self._all_held(keys)
        if held is not None:
            return held
        self._read_elsewhere()
        async with self._turn():
            held = self._all_held(keys)
            if held is not None:
                return held
            stored = await self._stored.get_many(keys)
        self._replica.expect_shards(stored.position, keys)
        return stored

    def _all_held(self, keys: Sequence[ShardKey]) -> Stamped[Sequence[Shard | None]] | None:
        """From memory, at one position, if they may be."""
        table = self._replica.table_with_all(keys)
        if table is None:
            return None
        shards = [table.value.get(*key) for key in keys]
        if self._observed is not None:
            for key, shard in zip(keys, shards, strict=True):
                self._observed.add_shard(key, shard)
            self._observed.add_read_at(table.position)
        return Stamped(shards, table.position)

    async def page(
        self, where: ShardFilter, page: PageRequest[ShardKey], as_of: AsOf | None = None
    ) -> Stamped[Page[Shard]]:
        if as_of is not None:
            self._read_elsewhere()
            return await self._stored.page(where, page, as_of)
        was_missing = self._replica.table_of(where.namespace) is None
        held = self._held_page(where, page)
        if held is None:
            # The database is ahead of what is behind: what is shown of it would be expected of all lists that follow,
            # and each of them would be read there until the feed has come as far.
            await self._replica.caught_up(where.namespace)
            # A filter that a table has not answered is not tried again: it may look at thousands of shards.
            held = self._held_page(where, page) if was_missing else None
        if held is not None:
            return held
        self._read_elsewhere()
        async with self._turn():
            held = self._held_page(where, page) if was_missing else None
            if held is not None:
                return held
            stored = await self._stored.page(where, page)
        self._replica.expect_page(stored.position, where, page, stored.value)
        return stored

    def _held_page(self, where: ShardFilter, page: PageRequest[ShardKey]) -> Stamped[Page[Shard]] | None:
        """From memory, if it may be, and if the filter is one that memory has an order for. Nothing is awaited between
        position, page and count: the table is the same for all three."""
        table = self._replica.table_of(where.namespace)
        found = None if table is None else table.value.page(where, page)
        if table is None or found is None:
            return None
        if self._observed is not None:
            self._observed.add_page(where.namespace, table.value)
            self._observed.add_read_at(table.position)
        return Stamped(found, table.position)

    def require_shards(self, revision: int, keys: Iterable[ShardKey]) -> None:
        """What is read of these shards next holds this revision, which the feed has come to."""
        self._replica.require_shards(revision, keys)

    async def require_list(self, revision: int, namespace: str | None) -> None:
        """What is read of shards of a namespace, or of any, holds this revision, which the feed has come to."""
        await self._replica.require_list(revision, namespace)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One of the reads of the database that are made at a time. Raises Overloaded."""
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise Overloaded(f"its turn to read the database did not come within {TURN_SECONDS:g} seconds") from None
        try:
            yield
        finally:
            self._turns.release()

    def _read_elsewhere(self) -> None:
        if self._observed is not None:
            self._observed.add_elsewhere()

    def holder(self) -> Callable[[Shard], bool]:
        table = self._replica.table
        return holds_none if table is None else table.holds

    def scan(self) -> AsyncGenerator[Stamped[Sequence[Shard]], None]:
        return self._stored.scan()


class ReplicaTotals:
    """ShardTotals. Without the replica a count reads the whole table: one at a time is made."""

    def __init__(self, replica: Replica, stored: ShardTotals) -> None:
        self._replica = replica
        self._stored = stored
        self._turn = asyncio.Semaphore(1)

    async def counts(self, namespace: str | None = None) -> Stamped[Sequence[ShardCount]]:
        table = self._replica.table_of(namespace)
        if table is None:
            await self._replica.caught_up(namespace)
            table = self._replica.table_of(namespace)
        if table is not None:
            return Stamped(table.value.counts(namespace), table.position)
        async with self._turn:
            stored = await self._stored.counts(namespace)
        self._replica.expect_counts(stored.position, namespace, stored.value)
        return stored

    async def owners(self) -> Collection[str]:
        table = self._replica.table_of(None)
        return await self._stored.owners() if table is None else {node_id for node_id, _ in table.value.owned}
