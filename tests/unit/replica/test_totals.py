"""What nodes own is counted from the replica, and from the store while there is none."""

from __future__ import annotations

from typing import cast

from persistence.feed.live import live_feed
from persistence.ports.readers import ShardTotals, capacity_units
from persistence.replica.reader import ReplicaTotals
from persistence.replica.replica import ReplicaLimits, following
from tests.reference.store import memory_store
from tests.support.mesh import BILLING, Mesh, new


async def test_what_is_counted_from_memory_is_what_the_store_counts() -> None:
    store = memory_store()
    mesh = Mesh(store)
    await mesh.configure()
    await mesh.create(new("1"), new("2", "node-b", capacity_hint=0.3))
    async with live_feed(store.stream, store.signal) as feed:
        async with following(store.shards, feed) as replica:
            await replica.ready()
            totals = ReplicaTotals(replica, cast("ShardTotals", None))
            for namespace in (None, BILLING, "absent"):
                found, expected = await totals.counts(namespace), await store.totals.counts(namespace)
                assert (sorted(found.value), found.position) == (sorted(expected.value), expected.position)
            assert await totals.owners() == {"node-a", "node-b"}
        async with following(store.shards, feed, ReplicaLimits(shards=0)) as none:
            totals = ReplicaTotals(none, store.totals)
            assert sorted((await totals.counts()).value) == sorted((await store.totals.counts()).value)
            assert await totals.owners() == {"node-a", "node-b"}


def test_capacities_are_counted_as_they_are_written() -> None:
    assert [capacity_units(each) for each in (0.0, 1.0, 0.1, 5e-7, 4e-7, 2.5)] == [0, 10**6, 10**5, 1, 0, 2_500_000]
    assert capacity_units(1.7976931348623157e308) == 17976931348623157 * 10**298
