"""Replicas that tests read from, and what they are made of."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import pytest

from persistence.feed.live import LiveFeed
from persistence.model.paging import Page, PageRequest
from persistence.model.queries import ShardFilter
from persistence.model.records import AsOf, Shard, ShardKey
from persistence.ports.feed import ChangeStream
from persistence.ports.readers import Stamped
from persistence.replica.reader import ReplicaShards
from persistence.replica.replica import Replica

ON_A_REPLICA_TOO: Final = pytest.mark.parametrize("backend_name", ["memory", "postgres", "replica"], indirect=True)


@dataclass(frozen=True)
class UpToDate:
    """ShardReader that first waits for everything committed, so that it is the replica that answers."""

    shards: ReplicaShards
    replica: Replica
    feed: LiveFeed
    stream: ChangeStream

    async def get(self, key: ShardKey, as_of: AsOf | None = None) -> Stamped[Shard | None]:
        await self._caught_up()
        return await self.shards.get(key, as_of)

    async def get_many(self, keys: Sequence[ShardKey], as_of: AsOf | None = None) -> Stamped[Sequence[Shard | None]]:
        await self._caught_up()
        return await self.shards.get_many(keys, as_of)

    async def page(
        self, where: ShardFilter, page: PageRequest[ShardKey], as_of: AsOf | None = None
    ) -> Stamped[Page[Shard]]:
        await self._caught_up()
        return await self.shards.page(where, page, as_of)

    def holder(self) -> Callable[[Shard], bool]:
        return self.shards.holder()

    def scan(self) -> AsyncGenerator[Stamped[Sequence[Shard]], None]:
        return self.shards.scan()

    async def _caught_up(self) -> None:
        await self.feed.wait_for((await self.stream.head()).revision)
        await self.replica.ready()
        assert self.replica.table_of(None) is not None
