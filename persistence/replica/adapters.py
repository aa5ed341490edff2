"""Reading shards from the replica, and from the database what the replica cannot answer."""

from __future__ import annotations

from persistence.model.paging import Page, PageRequest
from persistence.model.queries import ShardFilter
from persistence.model.records import AsOf, Shard, ShardKey
from persistence.ports import ShardReader, Stamped
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
