"""One transaction at a time: whoever is inside holds the lock until it leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

from persistence.decisions import LockedState, WriteSet
from persistence.memory.commit import committed
from persistence.memory.tables import Memory
from persistence.ports import Committed
from persistence.records import Change, ShardKey


class MemoryUnitOfWork:
    """Nothing is written before `commit`, so leaving without it leaves no trace."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def earlier(self, actor: str, idempotency_key: str) -> tuple[bytes, Committed] | None:
        return self._memory.tables.answers.get((actor, idempotency_key))

    async def lock(
        self,
        namespaces: Collection[str],
        shards: Collection[ShardKey],
        *,
        configure: bool,  # noqa: ARG002 - the lock held covers both
    ) -> LockedState:
        tables = self._memory.tables
        return LockedState(
            {name: tables.namespaces[name] for name in namespaces if name in tables.namespaces},
            {key: tables.shards[key] for key in shards if key in tables.shards},
            {key: tables.tombstones[key] for key in shards if key in tables.tombstones},
        )

    async def last_changes(self, shards: Collection[ShardKey]) -> Mapping[ShardKey, Change]:
        wanted = set(shards)
        return {row.key: row.change for row in self._memory.tables.history if row.key in wanted}

    async def last_configuration(self, namespace: str) -> Change | None:
        changes = reversed(self._memory.tables.changes)
        return next((one for one in changes if one.configuration and one.configuration.namespace == namespace), None)

    async def commit(self, write_set: WriteSet) -> Committed:
        tables, answer = committed(self._memory.tables, write_set, self._memory.clock())
        self._memory.publish(tables)
        return answer


class MemoryUnitsOfWork:
    """The store's UnitOfWorkFactory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[MemoryUnitOfWork]:
        async with self._memory.writing:
            yield MemoryUnitOfWork(self._memory)
