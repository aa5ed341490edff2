"""Units of work that tell the replica what they committed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager

from persistence.circumstances import Asked, Circumstances
from persistence.outcomes import Committed
from persistence.ports import UnitOfWork, UnitOfWorkFactory
from persistence.read_set import ReadSet
from persistence.records import Change, ShardKey
from persistence.writes import ReadState, WriteSet

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

    async def look(self, asked: Asked) -> Circumstances:
        return await self._unit.look(asked)

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
