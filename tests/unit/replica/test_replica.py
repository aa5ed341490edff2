"""The replica's life: it serves nothing until it is whole, and nothing that does not hold any more."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from persistence.commands.command import ChangeRequest, request_digest
from persistence.commands.shards import DeleteShards, ShardExpectation
from persistence.errors import StoreUnavailable
from persistence.model.outcomes import Committed, PlanApplied
from persistence.model.paging import PageRequest
from persistence.model.queries import ShardFilter
from persistence.model.records import AsOf, ShardDiff
from persistence.ports.readers import Stamped
from persistence.replica.reader import ReplicaShards
from persistence.replica.replica import Replica, ReplicaLimits
from persistence.replica.sorted_table import SortedTable
from persistence.service.executor import CommandExecutor
from tests.support.rows import history_row
from tests.support.scripted_replica import (
    LONG,
    ONE,
    ONE_MOVED,
    THREE,
    TWO,
    TWO_AGAIN,
    TWO_MOVED,
    Scripted,
    at,
    changed,
    deletion,
    held,
    put,
    replicated,
    turns,
)
from tests.support.streams import a_shard


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
async def replica(scripted: Scripted) -> AsyncIterator[Replica]:
    async with replicated(scripted) as replica:
        yield replica


async def test_it_serves_nothing_until_the_last_page_is_there(scripted: Scripted, replica: Replica) -> None:
    await scripted.hand_over(0, ONE, more=True)
    assert held(replica) is None
    await scripted.hand_over(0, TWO)
    await replica.ready()
    assert held(replica) == [ONE, TWO]
    assert replica.position == at(0)


async def test_what_is_loaded_is_exempt_from_garbage_collection(
    scripted: Scripted, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A walk through a million records stops every request for half a second."""
    monkeypatch.setattr("persistence.replica.loading._WATCHED", 2)
    shards = [a_shard("a", str(number), revision=1) for number in range(4)]
    assert all(map(gc.is_tracked, shards))
    await scripted.hand_over(0, *shards[:2], more=True)
    await scripted.hand_over(0, *shards[2:])
    await replica.ready()
    walked = {id(each) for each in gc.get_objects()}
    assert walked.isdisjoint(map(id, shards))
    assert held(replica) == shards


async def test_it_waits_for_the_diffs_that_a_page_was_ahead_by(scripted: Scripted, replica: Replica) -> None:
    await scripted.hand_over(1, ONE, more=True)
    await scripted.hand_over(4, TWO_AGAIN)
    assert held(replica) is None
    await scripted.deliver(put(ONE), put(TWO))
    assert held(replica) is None
    await scripted.deliver(put(THREE), put(TWO_AGAIN))
    await replica.ready()
    assert held(replica) == [ONE, TWO_AGAIN, THREE]


async def test_diffs_that_come_between_pages_are_not_lost(scripted: Scripted, replica: Replica) -> None:
    """One that was put where a page had passed already, and one that a page had before its diff came."""
    await turns()
    await scripted.hand_over(0, ONE, more=True)
    await scripted.deliver(put(ONE), put(TWO), put(THREE), put(TWO_AGAIN))
    await scripted.hand_over(4, THREE)
    assert held(replica) == [ONE, TWO_AGAIN, THREE]


async def test_a_deletion_that_comes_before_the_page_that_still_has_the_shard_is_not_undone(
    scripted: Scripted, replica: Replica
) -> None:
    await turns()
    await scripted.deliver(put(ONE), put(TWO), put(THREE), deletion(TWO, 4))
    await scripted.hand_over(2, ONE, TWO)
    assert held(replica) == [ONE, THREE]


async def test_once_whole_every_diff_is_in_it_at_once(scripted: Scripted, replica: Replica) -> None:
    await scripted.hand_over(0)
    await scripted.deliver(put(ONE), put(TWO))
    assert held(replica) == [ONE, TWO]
    await scripted.deliver(deletion(ONE, 3))
    assert held(replica) == [TWO]
    assert replica.position == at(3)


async def test_a_table_that_has_taken_half_of_a_change_is_not_served(
    scripted: Scripted, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scripted.hand_over(0)
    apply = SortedTable.apply

    def fail_on_the_second(table: SortedTable, diff: ShardDiff) -> None:
        if diff.revision == TWO.revision:
            raise ZeroDivisionError
        apply(table, diff)

    monkeypatch.setattr(SortedTable, "apply", fail_on_the_second)
    with pytest.raises(ZeroDivisionError):
        await scripted.deliver(put(ONE), put(TWO))
    assert held(replica) is None
    await turns()
    await scripted.hand_over(2, ONE, TWO)
    assert held(replica) == [ONE, TWO]


async def test_when_the_stream_is_replaced_it_is_loaded_anew(scripted: Scripted, replica: Replica) -> None:
    await scripted.hand_over(0, ONE)
    await replica.ready()
    await scripted.replace(at(7, "two"))
    assert held(replica) is None
    await scripted.hand_over(7, TWO, epoch="two")
    await replica.ready()
    assert held(replica) == [TWO]
    assert replica.position == at(7, "two")


async def test_when_the_stream_is_replaced_while_it_loads_what_it_has_is_thrown_away(
    scripted: Scripted, replica: Replica
) -> None:
    await scripted.hand_over(0, ONE, more=True)
    await scripted.replace(at(7, "two"))
    await scripted.hand_over(0, TWO)
    assert held(replica) is None
    await scripted.hand_over(7, THREE, epoch="two")
    assert held(replica) == [THREE]


async def test_pages_of_another_stream_than_the_feeds_are_not_taken(
    scripted: Scripted, replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    await scripted.hand_over(3, ONE, epoch="two")
    assert held(replica) is None
    assert "the replica cannot be loaded: the cursor belongs to stream one" in caplog.text
    await scripted.replace(at(3, "two"))
    for _ in range(2):  # the load that was under way when the feed noticed is not trusted
        await scripted.hand_over(3, ONE, epoch="two")
    assert held(replica) == [ONE]


async def test_while_the_feed_is_not_fresh_the_database_is_read(scripted: Scripted, replica: Replica) -> None:
    """It may have missed what others committed. What was answered by that is not taken back afterwards."""
    reader = ReplicaShards(replica, scripted)
    await scripted.hand_over(0, ONE)
    await replica.ready()
    for fresh, looked_up in ((True, []), (False, [ONE.key, ShardFilter("a"), ShardFilter("b")]), (True, [])):
        if fresh and scripted.looked_up:
            await scripted.deliver(put(ONE), put(TWO))  # as far as the database was
        scripted.fresh = fresh
        scripted.looked_up.clear()
        await reader.get(ONE.key)
        await reader.page(ShardFilter("a"), PageRequest(5))
        await reader.page(ShardFilter("b"), PageRequest(1, counted=True))
        assert scripted.looked_up == looked_up


@pytest.mark.parametrize("come_by", [True, False])
async def test_a_page_of_what_was_lost_before_the_feed_came_by_is_not_taken(
    scripted: Scripted, replica: Replica, caplog: pytest.LogCaptureFixture, *, come_by: bool
) -> None:
    """Revisions follow, but the one that the page was read at is another change's to the feed."""
    await turns()
    if come_by:
        await scripted.deliver(put(ONE))
    await scripted.hand_over(1, TWO, history="lost")
    if not come_by:
        await scripted.deliver(put(ONE))
    assert held(replica) is None
    assert "failover" in caplog.text
    await scripted.hand_over(1, ONE)
    assert held(replica) == [ONE]


async def test_each_page_is_compared_and_not_the_last_alone(scripted: Scripted, replica: Replica) -> None:
    await scripted.hand_over(1, TWO, more=True, history="lost")
    await scripted.hand_over(2, THREE)
    await scripted.deliver(put(ONE))
    assert held(replica) is None
    await scripted.hand_over(1, ONE)
    assert held(replica) == [ONE]


async def test_a_page_from_before_the_feed_began_is_of_another_history(scripted: Scripted, replica: Replica) -> None:
    await turns()
    scripted.position = at(3)
    await scripted.replace(at(3))
    for _ in range(2):  # the load that was under way is given up
        await scripted.hand_over(2, ONE)
    assert held(replica) is None
    await scripted.hand_over(3, ONE)
    assert held(replica) == [ONE]


async def test_a_page_within_an_omitted_range_is_of_its_change(scripted: Scripted, replica: Replica) -> None:
    await turns()
    await scripted.deliver(put(ONE), omitted=LONG)
    scripted.history.put_nowait(put(ONE_MOVED))
    scripted.history.put_nowait(put(TWO_MOVED))
    await scripted.hand_over(2, ONE_MOVED, mark=LONG.mark)
    await turns()
    assert held(replica) == [ONE_MOVED, TWO_MOVED]


async def test_it_tries_again_when_the_store_cannot_be_read(
    scripted: Scripted, replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    await scripted.asked.get()
    scripted.answers.put_nowait(StoreUnavailable("away"))
    await scripted.hand_over(0, ONE)
    assert held(replica) == [ONE]
    assert "the replica cannot be loaded: away" in caplog.text


async def test_a_defect_is_logged_and_it_is_loaded_anew(
    scripted: Scripted, replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    await scripted.asked.get()
    scripted.answers.put_nowait(ZeroDivisionError())
    await scripted.hand_over(0, ONE)
    assert held(replica) == [ONE]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_more_shards_than_it_may_hold_are_given_up_while_loading(
    scripted: Scripted, replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    await scripted.hand_over(0, *(a_shard("a", str(number)) for number in range(6)), more=True)
    assert held(replica) is None
    assert "more than 5 shards (replica_shards): the replica is given up" in caplog.text
    assert scripted.watchers == []


async def test_more_shards_than_it_may_hold_are_given_up_later_too(
    scripted: Scripted, replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    await scripted.hand_over(0, *(a_shard("a", str(number)) for number in range(5)))
    assert replica.table is not None
    await scripted.deliver(put(THREE))
    assert held(replica) is None
    assert "more than 5 shards" in caplog.text
    assert scripted.watchers == []


async def test_without_a_limit_there_is_no_replica(scripted: Scripted) -> None:
    async with replicated(scripted, ReplicaLimits(shards=0)) as replica:
        replica.note(changed(1, ONE))
        assert held(replica) is None
        assert scripted.asked.empty()


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


async def test_the_past_is_the_stores_to_tell(scripted: Scripted, replica: Replica) -> None:
    reader, past = ReplicaShards(replica, scripted), AsOf(revision=0)
    await scripted.hand_over(0, ONE)
    await reader.get(ONE.key, past)
    await reader.page(ShardFilter(), PageRequest(5), past)
    await reader.get_many([ONE.key], past)
    assert scripted.looked_up == [past, past, past]


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


async def test_it_holds_the_very_records_that_the_feed_brought_and_no_others(
    scripted: Scripted, replica: Replica
) -> None:
    reader = ReplicaShards(replica, scripted)
    assert not reader.holder()(ONE)
    await scripted.hand_over(0, ONE, THREE)
    assert reader.holder()(ONE)
    assert not reader.holder()(replace(ONE))
    assert not reader.holder()(TWO)
    await scripted.deliver(put(ONE), put(TWO))
    assert reader.holder()(TWO)
    await scripted.deliver(deletion(TWO, 3))
    assert not reader.holder()(TWO)
