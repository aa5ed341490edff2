"""What was written through this process, or read from the store, is not shown older by the replica afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from persistence.commands.command import ChangeRequest, request_digest
from persistence.commands.shards import DeleteShards, ShardExpectation
from persistence.model.outcomes import Committed, PlanApplied
from persistence.model.paging import PageRequest
from persistence.model.queries import ShardFilter
from persistence.ports.readers import Stamped
from persistence.replica.reader import ReplicaShards
from persistence.replica.replica import Replica
from persistence.service.executor import CommandExecutor
from tests.support.rows import history_row
from tests.support.scripted_replica import (
    LIMITS,
    ONE,
    THREE,
    TWO,
    Scripted,
    at,
    changed,
    deletion,
    held,
    put,
    replicated,
    turns,
)


async def test_what_this_process_has_written_is_read_from_the_store_until_it_comes(
    scripted: Scripted, replica: Replica
) -> None:
    reader = ReplicaShards(replica, scripted)
    await scripted.hand_over(0, ONE, THREE)
    replica.note(changed(2, TWO))
    assert await reader.get(ONE.key) == Stamped(ONE, at(0))
    assert list((await reader.page(ShardFilter(namespace="b"), PageRequest(5))).value.items) == [THREE]
    assert scripted.looked_up == []
    await reader.get(TWO.key)
    await reader.page(ShardFilter(namespace="a"), PageRequest(5))
    assert scripted.looked_up == [TWO.key, ShardFilter(namespace="a")]
    await scripted.deliver(put(ONE), put(TWO))
    scripted.looked_up.clear()
    assert await reader.get(TWO.key) == Stamped(TWO, at(2))
    counted = await reader.page(ShardFilter(namespace="a"), PageRequest(1, counted=True))
    assert (counted.value.total, counted.position) == (2, at(2))
    assert scripted.looked_up == []


async def test_a_list_waits_for_what_comes_soon_and_is_read_from_memory(scripted: Scripted) -> None:
    async with replicated(scripted, replace(LIMITS, soon_seconds=60.0)) as replica:
        reader = ReplicaShards(replica, scripted)
        await scripted.hand_over(0, ONE, THREE)
        replica.note(changed(2, TWO))
        listing = asyncio.create_task(reader.page(ShardFilter(namespace="a"), PageRequest(5)))
        await turns()
        assert not listing.done()
        await scripted.deliver(put(ONE), put(TWO))
        assert list((await listing).value.items) == [ONE, TWO]
        assert scripted.looked_up == []


async def test_lookups_wait_for_what_comes_soon_and_are_read_from_memory(scripted: Scripted) -> None:
    """And not for a turn at the database, nor for one of its connections, which lists and histories may have."""
    async with replicated(scripted, replace(LIMITS, soon_seconds=60.0)) as replica:
        reader = ReplicaShards(replica, scripted, stored_at_once=0)
        await scripted.hand_over(0, ONE, THREE)
        replica.note(changed(2, TWO))
        lookups = [
            asyncio.ensure_future(reader.get(TWO.key)),
            asyncio.ensure_future(reader.get_many([THREE.key, TWO.key])),
        ]
        await turns()
        assert not any(lookup.done() for lookup in lookups)
        assert await reader.get(ONE.key) == Stamped(ONE, at(0))
        await scripted.deliver(put(ONE), put(TWO))
        one, several = await asyncio.gather(*lookups)
        assert one == Stamped(TWO, at(2))
        assert several == Stamped([THREE, TWO], at(2))
        assert scripted.looked_up == []


async def test_lists_and_lookups_do_not_wait_for_a_feed_that_is_late(scripted: Scripted, replica: Replica) -> None:
    reader = ReplicaShards(replica, scripted)
    await scripted.hand_over(0, ONE, THREE)
    replica.note(changed(2, TWO))
    scripted.fresh = False
    listing = asyncio.create_task(reader.page(ShardFilter(namespace="a"), PageRequest(5)))
    await turns()
    assert listing.done()
    assert scripted.looked_up == [ShardFilter(namespace="a")]
    lookup = asyncio.create_task(reader.get(TWO.key))
    await turns()
    assert lookup.done()
    assert scripted.looked_up == [ShardFilter(namespace="a"), TWO.key]


async def test_it_is_settled_where_nothing_is_read_from_the_store(scripted: Scripted, replica: Replica) -> None:
    assert replica.settled() is None
    await scripted.hand_over(0, ONE, THREE)
    await replica.ready()
    assert replica.settled() == at(0)
    scripted.fresh = False
    assert replica.settled() is None
    scripted.fresh = True
    replica.note(changed(2, TWO))
    assert replica.settled() is None
    await scripted.deliver(put(ONE), put(TWO))
    assert replica.settled() == at(2)


async def test_a_shard_that_was_read_from_the_store_is_not_shown_older_afterwards(
    scripted: Scripted, replica: Replica
) -> None:
    """Another process has deleted it in revision 3, while this one waited to see its own revision 2."""
    reader = ReplicaShards(replica, scripted)
    await scripted.hand_over(0, ONE, THREE)
    replica.note(changed(2, TWO))
    scripted.stored_at = at(3)
    assert await reader.get(TWO.key) == Stamped(None, at(3))
    await scripted.deliver(put(ONE), put(TWO))
    assert await reader.get(TWO.key) == Stamped(None, at(3))
    await reader.page(ShardFilter(namespace="a"), PageRequest(5))
    assert scripted.looked_up == [TWO.key, TWO.key, ShardFilter(namespace="a")]
    assert await reader.get(THREE.key) == Stamped(THREE, at(2))
    await scripted.deliver(deletion(TWO, 3))
    assert await reader.get(TWO.key) == Stamped(None, at(3))
    assert len(scripted.looked_up) == 3


@pytest.mark.parametrize("namespace", ["a", None])
async def test_shards_that_a_list_from_the_store_told_of_are_not_shown_older_afterwards(
    scripted: Scripted, replica: Replica, namespace: str | None
) -> None:
    """Nor are those that it did not show, for they may have been deleted."""
    reader = ReplicaShards(replica, scripted)
    await scripted.hand_over(0, ONE, THREE)
    listed = ShardFilter(namespace=namespace, shard_ids=tuple(map(str, range(21))))  # too many ids for the replica
    await reader.page(listed, PageRequest(5))
    await reader.get(ONE.key)
    assert scripted.looked_up == [listed, ONE.key]
    assert ((await reader.get(THREE.key)).value is None) is (namespace is None)
    await scripted.deliver(put(ONE), put(TWO))
    scripted.looked_up.clear()
    assert await reader.get(ONE.key) == Stamped(ONE, at(2))
    assert await reader.get(THREE.key) == Stamped(THREE, at(2))
    assert scripted.looked_up == []


async def test_what_was_read_from_the_store_while_the_replica_was_loaded_is_not_shown_older_afterwards(
    scripted: Scripted, replica: Replica
) -> None:
    reader = ReplicaShards(replica, scripted)
    await turns()
    await reader.get(TWO.key)
    await scripted.hand_over(0, ONE)
    await reader.get(TWO.key)
    assert scripted.looked_up == [TWO.key, TWO.key]
    await scripted.deliver(put(ONE), put(TWO))
    assert await reader.get(TWO.key) == Stamped(TWO, at(2))


async def test_what_a_retry_was_told_is_read_from_the_store_until_it_comes(
    scripted: Scripted, replica: Replica
) -> None:
    """Another process committed it."""
    earlier = changed(2, TWO)
    another, retry = (
        DeleteShards([ShardExpectation(*TWO.key, 1)], ChangeRequest("ops", "why", idempotency_key=key))
        for key in ("another", "key")
    )

    class Replaying:
        async def earlier(self, actor: str, idempotency_key: str) -> tuple[bytes, Committed] | None:
            return (request_digest(retry), earlier) if (actor, idempotency_key) == ("ops", "key") else None

        async def barrier(self) -> None:
            assert replica.table_with(TWO.key) is None

    @asynccontextmanager
    async def unit_of_work() -> AsyncIterator[Any]:
        yield Replaying()

    await scripted.hand_over(0, ONE)
    writer = CommandExecutor(unit_of_work, note=replica.note)
    assert await writer.replayed(another) is None
    assert replica.table_with(TWO.key) is not None
    assert await writer.replayed(retry) == replace(earlier, replayed=True)
    assert replica.table_with(TWO.key) is None
    assert replica.table_with(ONE.key) is not None


async def test_of_a_plan_that_was_applied_the_whole_namespace_is_waited_for(
    scripted: Scripted, replica: Replica
) -> None:
    reader = ReplicaShards(replica, scripted)
    await scripted.hand_over(0, ONE, THREE)
    change = history_row(1, namespace="a").change
    plan: Any = None
    replica.note(PlanApplied(change, plan, at(2)))
    await reader.get(ONE.key)
    assert scripted.looked_up == [ONE.key]
    assert await reader.get(THREE.key) == Stamped(THREE, at(0))


async def test_shards_by_key_are_read_from_the_store_while_one_of_them_is_expected(
    scripted: Scripted, replica: Replica
) -> None:
    reader = ReplicaShards(replica, scripted)
    await scripted.hand_over(0, ONE, THREE)
    keys = [THREE.key, TWO.key, ONE.key]
    assert await reader.get_many(keys) == Stamped([THREE, None, ONE], at(0))
    replica.note(changed(2, TWO))
    assert await reader.get_many([THREE.key, ONE.key]) == Stamped([THREE, ONE], at(0))
    await reader.get_many(keys)
    assert scripted.looked_up == keys


async def test_shards_that_were_read_by_key_from_the_store_are_not_shown_older(
    scripted: Scripted, replica: Replica
) -> None:
    reader = ReplicaShards(replica, scripted)
    await turns()
    scripted.stored_at = at(2)
    await reader.get_many([ONE.key, TWO.key])
    await scripted.hand_over(0, ONE)
    assert [replica.table_with(shard.key) is None for shard in (ONE, TWO, THREE)] == [True, True, False]
    await scripted.deliver(put(ONE), put(TWO))
    assert await reader.get_many([TWO.key, ONE.key]) == Stamped([TWO, ONE], at(2))


async def test_a_write_to_another_stream_than_the_feed_knows_of_is_not_missed() -> None:
    """The store was replaced by one with fewer revisions: the number of the new one says nothing here."""
    scripted = Scripted(at(50))
    async with replicated(scripted) as replica:
        await scripted.hand_over(50, ONE)
        assert held(replica) == [ONE]
        replica.note(changed(3, TWO, epoch="two"))
        assert replica.table_with(ONE.key) is None
        await turns()
        await scripted.replace(at(3, "two"))
        for _ in range(2):
            await scripted.hand_over(3, TWO, epoch="two")
        assert held(replica) == [TWO]


async def test_after_the_stream_went_back_what_was_expected_of_the_old_one_is_forgotten(
    scripted: Scripted, replica: Replica
) -> None:
    reader = ReplicaShards(replica, scripted)
    await scripted.hand_over(0, ONE)
    replica.note(changed(1_000, ONE))
    await scripted.replace(at(1, "two"))
    await scripted.hand_over(1, ONE, epoch="two")
    replica.note(changed(2, TWO, epoch="two"))
    await scripted.deliver(put(TWO))
    assert len((await reader.page(ShardFilter(), PageRequest(5))).value.items) == 2
    assert scripted.looked_up == []
