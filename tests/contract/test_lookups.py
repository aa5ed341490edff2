"""Shards by their keys: many at a time, at one revision."""

from __future__ import annotations

import pytest

from persistence.errors import Compacted, FutureCursor
from persistence.model.records import AsOf, ShardKey
from tests.contract.conftest import Backend
from tests.support.mesh import BILLING, SEARCH, Mesh, new
from tests.support.replicas import ON_A_REPLICA_TOO

pytestmark = ON_A_REPLICA_TOO


async def test_shards_come_in_the_order_of_the_keys_with_null_where_there_is_none(mesh: Mesh) -> None:
    await mesh.configure(SEARCH)
    await mesh.create(new("1"), new("2"), new("1", "node-b", namespace=SEARCH))
    keys = [
        ShardKey(SEARCH, "1"),
        ShardKey(BILLING, "2"),
        ShardKey(BILLING, "none"),
        ShardKey("nowhere", "1"),
        ShardKey(BILLING, "1"),
        ShardKey(BILLING, "2"),
    ]
    found = await mesh.store.shards.get_many(keys)
    table = await mesh.table()
    assert found.value == [table.get(key) for key in keys]
    assert sum(shard is not None for shard in found.value) == 4
    assert found.position == (await mesh.store.stream.head()).position


async def test_where_there_is_none_of_them_the_position_is_there_all_the_same(mesh: Mesh) -> None:
    await mesh.create(new("1"))
    found = await mesh.store.shards.get_many([ShardKey(BILLING, "2"), ShardKey(BILLING, "3")])
    assert (found.value, found.position) == ([None, None], (await mesh.store.stream.head()).position)


async def test_shards_by_key_are_as_they_were(mesh: Mesh) -> None:
    moved, deleted = await mesh.created("1", "node-a"), await mesh.created("2")
    past = await mesh.store.stream.position_at(deleted.revision)
    await mesh.updated(moved, owner_node_id="node-b")
    await mesh.delete(deleted)
    created = await mesh.created("3")
    keys = [created.key, deleted.key, moved.key, deleted.key]
    found = await mesh.store.shards.get_many(keys, AsOf(revision=past.revision))
    assert (found.value, found.position) == ([None, deleted, moved, deleted], past)
    found = await mesh.store.shards.get_many(keys, AsOf(time=deleted.updated_at))
    assert (found.value, found.position) == ([None, deleted, moved, deleted], past)
    assert (await mesh.store.shards.get_many(keys, AsOf(revision=0))).value == [None] * 4


async def test_a_revision_that_is_not_served_is_refused(backend: Backend, mesh: Mesh) -> None:
    shard = await mesh.created("1")
    for _ in range(2):
        shard = await mesh.updated(shard, owner_node_id=f"node-{shard.version}")
    with pytest.raises(FutureCursor):
        await mesh.store.shards.get_many([shard.key], AsOf(revision=99))
    await backend.compact(2)
    with pytest.raises(Compacted):
        await mesh.store.shards.get_many([shard.key], AsOf(revision=1))


async def test_many_are_found_at_once(mesh: Mesh) -> None:
    await mesh.create(*(new(f"s{number}") for number in range(500)))
    keys = [ShardKey(BILLING, f"s{number}") for number in range(499, -1, -1)]
    found = await mesh.store.shards.get_many(keys)
    assert [shard and shard.key for shard in found.value] == keys
