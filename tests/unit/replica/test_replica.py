"""The replica's life: it serves nothing until it is whole, and nothing that does not hold any more."""

from __future__ import annotations

import gc
import logging
from dataclasses import replace

import pytest

from persistence.errors import StoreUnavailable
from persistence.model.paging import PageRequest
from persistence.model.queries import ShardFilter
from persistence.model.records import AsOf, ShardDiff
from persistence.replica.reader import ReplicaShards
from persistence.replica.replica import Replica, ReplicaLimits
from persistence.replica.sorted_table import SortedTable
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


async def test_the_past_is_the_stores_to_tell(scripted: Scripted, replica: Replica) -> None:
    reader, past = ReplicaShards(replica, scripted), AsOf(revision=0)
    await scripted.hand_over(0, ONE)
    await reader.get(ONE.key, past)
    await reader.page(ShardFilter(), PageRequest(5), past)
    await reader.get_many([ONE.key], past)
    assert scripted.looked_up == [past, past, past]


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
