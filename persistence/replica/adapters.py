"""Reading shards from the replica, and from the database what the replica cannot answer.

Units of work that tell the replica what they committed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager

from persistence.commands.read_state import DecisionInputs, InputsRequired, ReadSet, ReadState
from persistence.commands.write_set import WriteSet
from persistence.model.outcomes import Committed
from persistence.model.paging import Page, PageRequest
from persistence.model.queries import ShardFilter
from persistence.model.records import AsOf, Change, Shard, ShardKey
from persistence.ports import ShardReader, Stamped, UnitOfWork, UnitOfWorkFactory
from persistence.replica.replica import Replica


class ReplicaShards:
    """ShardReader. Every answer is the table at one revision, which it is stamped with, and holds what this process
    has committed. What other processes commit arrives with the feed, milliseconds later; who needs it sooner waits for
    its revision. No shard is shown as it was before what an earlier answer showed, whichever of the two it came from.
    """

    def __init__(self, replica: Replica, stored: ShardReader) -> None:
        self._replica = replica
        self._stored = stored

    async def get(self, key: ShardKey, as_of: AsOf | None = None) -> Stamped[Shard | None]:
        table = self._replica.table_with(key) if as_of is None else None
        if table is None:
            stored = await self._stored.get(key, as_of)
            if as_of is None:
                self._replica.told_of(stored.position, key)
            return stored
        return Stamped(table.get(*key), self._replica.position)

    async def page(
        self, where: ShardFilter, page: PageRequest[ShardKey], as_of: AsOf | None = None
    ) -> Stamped[Page[Shard]]:
        table = self._replica.table_of(where.namespace) if as_of is None else None
        found = None if table is None else table.page(where, page)
        if found is None:
            stored = await self._stored.page(where, page, as_of)
            if as_of is None:
                self._replica.told_list(stored.position, where.namespace)
            return stored
        # Nothing is awaited between page, count and position: the table is the same for all three.
        return Stamped(found, self._replica.position)


Note = Callable[[Committed], None]


def noting(unit_of_work: UnitOfWorkFactory, note: Note) -> UnitOfWorkFactory:
    """The same units of work; `note` is called with what each of them committed, or found committed."""

    @asynccontextmanager
    async def noted() -> AsyncIterator[UnitOfWork]:
        async with unit_of_work() as unit:
            yield _Noting(unit, note)

    return noted


class _Noting:
    def __init__(self, unit: UnitOfWork, note: Note) -> None:
        self._unit = unit
        self._note = note

    async def earlier(self, actor: str, idempotency_key: str) -> tuple[bytes, Committed] | None:
        earlier = await self._unit.earlier(actor, idempotency_key)
        if earlier is not None:
            # Another process may have committed it; told of here, it must be there in what is read here next.
            self._note(earlier[1])
        return earlier

    async def read(self, reads: ReadSet) -> ReadState:
        return await self._unit.read(reads)

    async def read_inputs(self, required: InputsRequired) -> DecisionInputs:
        return await self._unit.read_inputs(required)

    async def last_changes(self, shards: Collection[ShardKey]) -> Mapping[ShardKey, Change]:
        return await self._unit.last_changes(shards)

    async def last_configuration(self, namespace: str) -> Change | None:
        return await self._unit.last_configuration(namespace)

    async def last_node_change(self, node_id: str) -> Change | None:
        return await self._unit.last_node_change(node_id)

    async def barrier(self) -> None:
        await self._unit.barrier()

    async def commit(self, write_set: WriteSet) -> Committed:
        committed = await self._unit.commit(write_set)
        self._note(committed)
        return committed
