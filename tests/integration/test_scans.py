"""What a scan of the shard table leaves in memory."""

from __future__ import annotations

from dataclasses import fields

from persistence.model.records import Shard
from persistence.postgres.store import open_store
from persistence.replica.sorted_table import SortedTable
from tests.support.large_store import fill


async def test_records_share_what_is_the_same_in_many(database_url: str) -> None:
    """Also where they are of other pages. And the key of a table is the record's own."""
    await fill(database_url, 3, 1_000)
    table = SortedTable()
    async with open_store(database_url) as store:
        async for found in store.shards.scan():
            table.put(found.value)
    shards = [shard for name in table.namespaces for shard in table.shards(name).values()]
    assert len(shards) == 3_000
    unique = {"shard_id", "checksum", "capacity_hint", "revision", "pinned"}
    for name in {member.name for member in fields(Shard)} - unique:
        values = [getattr(shard, name) for shard in shards]
        assert len({id(value) for value in values}) == len(set(values)), name
    for name in table.namespaces:
        assert all(shard_id is shard.shard_id for shard_id, shard in table.shards(name).items())
