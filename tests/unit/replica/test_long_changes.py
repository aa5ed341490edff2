"""A change that the feed leaves in history: its namespaces are shown as they were until all of it has been read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from graph.server.worker_pool import PooledWriter
from persistence.commands.command import ChangeRequest
from persistence.commands.plans import ApplyPlan
from persistence.errors import Overloaded
from persistence.model.outcomes import PlanApplied, ShardsChanged, StaleShard, VersionConflict
from persistence.model.paging import PageRequest
from persistence.model.queries import ShardFilter
from persistence.model.records import Shard, StreamPosition
from persistence.model.stream import OmittedRange
from persistence.replica.reader import ReplicaShards
from persistence.replica.replica import Replica
from strategies.registry import Registry
from tests.support.rows import history_row
from tests.support.scripted_replica import (
    LIMITS,
    LONG,
    ONE,
    ONE_MOVED,
    THREE,
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

FIRST = a_shard("a", "0", revision=1)
"""Created by the row that the long change begins with."""

LATER = a_shard("b", "3", "node-2", 2, revision=4)

IN_A = history_row(1, namespace="a").change

BEFORE = [replace(ONE, revision=0), a_shard("a", "2", revision=0), replace(THREE, revision=0)]


@pytest.fixture
async def behind(scripted: Scripted, replica: Replica) -> Replica:
    """A replica that has to read a long change of the namespace a, and has received a change of b since."""
    await scripted.hand_over(0, *BEFORE)
    await scripted.deliver(put(FIRST), omitted=LONG)
    await scripted.deliver(put(LATER))
    return replica


def shown(replica: Replica, namespace: str) -> tuple[Sequence[Shard], StreamPosition] | None:
    """What is shown of a namespace, and as of where."""
    table = replica.table_of(namespace)
    if table is None:
        return None
    page = table.value.page(ShardFilter(namespace), PageRequest(500))
    assert page is not None
    for shard in page.items:
        one = replica.table_with(shard.key)
        assert one is not None
        assert (one.value.get(*shard.key), one.position) == (shard, table.position)
    return page.items, table.position


async def read(scripted: Scripted, *rows: Shard) -> None:
    for row in rows:
        scripted.history.put_nowait(put(row))
    await turns()


async def test_its_namespaces_are_shown_as_they_were_until_all_of_it_has_been_read(
    scripted: Scripted, behind: Replica
) -> None:
    for _ in range(2):
        assert behind.position == at(4)
        assert shown(behind, "a") == (BEFORE[:2], at(0))
        assert shown(behind, "b") == ([LATER], at(4))
        assert behind.table_of(None) is None
        assert behind.settled() is None
        await read(scripted, ONE_MOVED)
    await read(scripted, TWO_MOVED)
    assert shown(behind, "a") == ([FIRST, ONE_MOVED, TWO_MOVED], at(4))
    assert held(behind) == [FIRST, ONE_MOVED, TWO_MOVED, LATER]
    assert behind.settled() == at(4)
    assert scripted.read == [LONG]


async def test_several_shards_are_shown_as_of_one_position(scripted: Scripted, behind: Replica) -> None:
    """Those of other namespaces that have not changed since, too."""
    steady = a_shard("c", "4", revision=0)
    table = behind.table_with_all([LATER.key])
    assert table is not None
    assert table.position == at(4)
    table.value.put([steady])
    found = behind.table_with_all([ONE.key, steady.key])
    assert found is not None
    assert found.position == at(0)
    assert found.value.get(*ONE.key) == BEFORE[0]
    for other in (LATER, a_shard("c", "absent")):
        assert behind.table_with_all([ONE.key, other.key]) is None
    await read(scripted, ONE_MOVED, TWO_MOVED)
    found = behind.table_with_all([ONE.key, LATER.key])
    assert found is not None
    assert found.position == at(4)


async def test_a_namespace_that_a_second_long_change_is_of_is_not_taken_back(
    scripted: Scripted, behind: Replica
) -> None:
    """The first one is applied as soon as it has been read."""
    second = OmittedRange(6, 7, frozenset({"a", "b"}), history_row(5).change.mark)
    await scripted.deliver(put(a_shard("b", "5", revision=5)), omitted=second)
    assert shown(behind, "a") == (BEFORE[:2], at(0))
    assert shown(behind, "b") == ([LATER], at(4))
    assert behind.table_with_all([ONE.key, LATER.key]) is None
    await read(scripted, ONE_MOVED, TWO_MOVED)
    assert shown(behind, "a") == ([FIRST, ONE_MOVED, TWO_MOVED], at(4))
    assert shown(behind, "b") == ([LATER], at(4))
    found = behind.table_with_all([ONE.key, LATER.key])
    assert found is not None
    assert found.position == at(4)
    await read(scripted, a_shard("a", "1", "node-3", 3, revision=6), replace(LATER, revision=7))
    assert behind.settled() == at(7)


async def test_what_is_read_too_late_is_not_shown(scripted: Scripted, behind: Replica) -> None:
    """Reads are no staler than they are while the feed reads nothing."""
    scripted.recent = False
    assert behind.table_with(ONE.key) is None
    assert behind.table_of("a") is None
    assert behind.table_with_all([ONE.key]) is None
    assert shown(behind, "b") == ([LATER], at(4))
    reader = ReplicaShards(behind, scripted)
    await reader.page(ShardFilter(), PageRequest(5))  # nor is it waited for
    await reader.require_list(3, "a")
    await behind.pass_by([put(ONE_MOVED)])
    assert scripted.looked_up == [ShardFilter()]
    scripted.recent = True
    assert behind.table_of("a") is None
    await read(scripted, ONE_MOVED, TWO_MOVED)
    assert shown(behind, "a") == ([FIRST, ONE_MOVED, TWO_MOVED], at(4))


async def test_what_was_written_here_is_not_missing_from_what_is_shown(scripted: Scripted, behind: Replica) -> None:
    """The feed has brought it, but it waits for the long change."""
    again = replace(ONE_MOVED, version=3, revision=5)
    await scripted.deliver(put(again))
    behind.note(changed(5, again))
    assert behind.table_with(ONE.key) is None
    assert behind.table_of("a") is None
    assert behind.table_with(BEFORE[1].key) is not None
    await read(scripted, ONE_MOVED, TWO_MOVED)
    assert shown(behind, "a") == ([FIRST, again, TWO_MOVED], at(5))


async def test_what_a_refusal_showed_is_not_shown_older(scripted: Scripted, behind: Replica) -> None:
    change = history_row(3).change
    stale = StaleShard(ONE.key, 1, 2, ONE_MOVED, change)
    gone = StaleShard(BEFORE[1].key, 1, 0, None, replace(change, first_revision=3, last_revision=3))
    behind.note(VersionConflict((stale, gone)))
    assert behind.table_with(ONE.key) is None
    assert behind.table_with(BEFORE[1].key) is None
    assert behind.table_with(FIRST.key) is not None
    await read(scripted, ONE_MOVED, TWO_MOVED)
    assert behind.table_with(ONE.key) is not None


async def test_the_answer_to_its_writer_waits_until_it_is_shown(scripted: Scripted, behind: Replica) -> None:
    plan: Any = None
    applied = PlanApplied(IN_A, plan, at(3))
    arrived = asyncio.create_task(behind.arrived(applied))
    await turns()
    assert not arrived.done()
    assert shown(behind, "a") == (BEFORE[:2], at(0))
    await read(scripted, ONE_MOVED, TWO_MOVED)
    assert arrived.done()
    behind.note(applied)
    assert shown(behind, "a") == ([FIRST, ONE_MOVED, TWO_MOVED], at(4))


async def test_what_was_committed_is_noted_when_its_client_leaves_before_it_is_shown(
    scripted: Scripted, behind: Replica
) -> None:
    change = ApplyPlan("plan", ChangeRequest("ops", "why"))
    plan: Any = None

    class Applying:
        async def submit(self, _job: Any, *_arguments: Any) -> Any:
            return PlanApplied(IN_A, plan, at(3))

    store: Any = SimpleNamespace(unit_of_work=None, refusals=None, change_group=None)
    jobs: Any = Applying()
    writing = asyncio.create_task(PooledWriter(store, Registry(), jobs, behind.note, behind.arrived).execute(change))
    await turns()
    assert shown(behind, "a") == (BEFORE[:2], at(0))
    writing.cancel()
    await turns()
    assert writing.cancelled()
    assert behind.table_of("a") is None
    await read(scripted, ONE_MOVED, TWO_MOVED)
    assert shown(behind, "a") == ([FIRST, ONE_MOVED, TWO_MOVED], at(4))


async def test_the_answer_waits_before_the_feed_has_heard_of_it_too(scripted: Scripted, replica: Replica) -> None:
    await scripted.hand_over(0, *BEFORE)
    shards = (ONE_MOVED, TWO_MOVED) * 60
    arrived = asyncio.create_task(replica.arrived(ShardsChanged(IN_A, shards, at(3))))
    await turns()
    assert not arrived.done()
    await scripted.deliver(put(FIRST), omitted=LONG)
    assert not arrived.done()
    await read(scripted, ONE_MOVED, TWO_MOVED)
    assert arrived.done()


async def test_the_answer_does_not_wait_for_ever_nor_for_what_is_short(scripted: Scripted) -> None:
    plan: Any = None
    applied = PlanApplied(IN_A, plan, at(3))
    async with replicated(scripted, replace(LIMITS, catch_up_seconds=0.0)) as replica:
        await replica.arrived(applied)  # nothing is shown yet
        await scripted.hand_over(0, *BEFORE)
        await replica.arrived(applied)
    async with replicated(scripted) as replica:
        await scripted.hand_over(0, *BEFORE)
        await replica.arrived(changed(3, ONE_MOVED))
        await replica.arrived(VersionConflict())
        arrived = asyncio.create_task(replica.arrived(applied))
        await turns()
        await scripted.replace(at(7, "two"))
        assert arrived.done()


async def test_a_read_that_requires_a_revision_is_not_shown_what_was_before(
    scripted: Scripted, behind: Replica
) -> None:
    reader = ReplicaShards(behind, scripted)
    reader.require_shards(3, [ONE.key, LATER.key])
    assert behind.table_with(ONE.key) is None
    assert behind.table_with(LATER.key) is not None
    assert behind.table_with(BEFORE[1].key) is not None
    required = asyncio.create_task(reader.require_list(3, "a"))
    elsewhere = asyncio.create_task(reader.require_list(4, "b"))
    await turns()
    assert (required.done(), elsewhere.done()) == (False, True)
    await read(scripted, ONE_MOVED, TWO_MOVED)
    assert required.done()
    assert shown(behind, "a") == ([FIRST, ONE_MOVED, TWO_MOVED], at(4))


@pytest.mark.parametrize("namespace", ["a", None])
async def test_a_list_that_requires_a_revision_is_read_from_the_store_where_that_takes_long(
    scripted: Scripted, namespace: str | None
) -> None:
    async with replicated(scripted, replace(LIMITS, catch_up_seconds=0.0)) as replica:
        reader = ReplicaShards(replica, scripted)
        await scripted.hand_over(0, *BEFORE)
        await scripted.deliver(put(FIRST), omitted=LONG)
        await reader.require_list(3, namespace)
        assert replica.table_of("a") is None
        scripted.stored_at = at(3)
        await reader.page(ShardFilter(namespace), PageRequest(5))
        assert scripted.looked_up == [ShardFilter(namespace)]


async def test_lists_that_are_not_answered_from_memory_wait_for_it(scripted: Scripted, behind: Replica) -> None:
    """What the store answered, which has it, would be expected of all that is read next."""
    reader = ReplicaShards(behind, scripted)
    every = asyncio.create_task(reader.page(ShardFilter(), PageRequest(5)))
    long = ShardFilter("a", shard_ids=tuple(map(str, range(21))))
    listed = asyncio.create_task(reader.page(long, PageRequest(5)))
    await turns()
    assert scripted.looked_up == []
    assert shown(behind, "a") == (BEFORE[:2], at(0))
    scripted.stored_at = at(4)
    await read(scripted, ONE_MOVED, TWO_MOVED)
    assert [shard.key for shard in (await every).value.items] == [FIRST.key, ONE.key, TWO_MOVED.key, LATER.key]
    assert (await listed).position == at(4)
    assert scripted.looked_up == [long]
    assert shown(behind, "a") == ([FIRST, ONE_MOVED, TWO_MOVED], at(4))


async def test_a_list_of_all_namespaces_waits_for_the_next_long_change_too(scripted: Scripted, behind: Replica) -> None:
    """The store would answer it while that one is being read, and its answer be expected of every lookup."""
    listed = asyncio.create_task(ReplicaShards(behind, scripted).page(ShardFilter(), PageRequest(5)))
    await turns()
    second = OmittedRange(6, 7, frozenset({"b"}), history_row(5).change.mark)
    await scripted.deliver(put(a_shard("b", "5", revision=5)), omitted=second)
    await read(scripted, ONE_MOVED, TWO_MOVED)
    assert scripted.looked_up == []
    assert shown(behind, "b") == ([LATER], at(4))
    await read(scripted, replace(LATER, revision=6), a_shard("b", "5", revision=7))
    assert (await listed).position == at(7)
    assert scripted.looked_up == []


async def test_subscribers_are_sent_it_when_it_is_shown(scripted: Scripted, behind: Replica) -> None:
    rows = [put(ONE_MOVED), put(TWO_MOVED)]
    assert behind.lags_behind(rows)
    assert not behind.lags_behind([put(LATER)])
    passing = asyncio.create_task(behind.pass_by(rows))
    await turns()
    assert not passing.done()
    await read(scripted, ONE_MOVED, TWO_MOVED)
    assert passing.done()
    assert not behind.lags_behind(rows)


async def test_what_subscribers_were_sent_after_they_had_waited_is_not_shown_older(scripted: Scripted) -> None:
    async with replicated(scripted, replace(LIMITS, catch_up_seconds=0.0)) as replica:
        await scripted.hand_over(0, *BEFORE)
        await scripted.deliver(put(FIRST), omitted=LONG)
        await replica.pass_by([put(ONE_MOVED)])
        assert replica.table_with(ONE.key) is None
        assert replica.table_with(BEFORE[1].key) is not None


async def test_reads_of_the_store_take_turns_and_end_when_memory_answers(scripted: Scripted, replica: Replica) -> None:
    """However many there are, the feed finds a connection."""
    reader = ReplicaShards(replica, scripted, 1)
    scripted.answering.clear()
    reads = [asyncio.create_task(reader.get(ONE.key)) for _ in range(3)]
    several = asyncio.create_task(reader.get_many([ONE.key]))
    await turns()
    assert scripted.looked_up == [ONE.key]
    scripted.stored_at = at(0)
    await scripted.hand_over(0, *BEFORE)
    scripted.answering.set()
    assert [(await task).value for task in reads] == [None, BEFORE[0], BEFORE[0]]
    assert (await several).value == [BEFORE[0]]
    assert scripted.looked_up == [ONE.key]


async def test_a_turn_that_does_not_come_is_refused(
    scripted: Scripted, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = ReplicaShards(replica, scripted, 1)
    scripted.answering.clear()
    first = asyncio.create_task(reader.get(ONE.key))
    await turns()
    monkeypatch.setattr("persistence.replica.reader.TURN_SECONDS", 0.0)
    with pytest.raises(Overloaded):
        await reader.get(ONE.key)
    scripted.answering.set()
    await first
    await reader.get(ONE.key)


@pytest.mark.parametrize("shards", [0, 2])
async def test_a_replica_that_is_given_up_remembers_nothing(scripted: Scripted, shards: int) -> None:
    """Keys that clients name, of shards that there are or not, would be remembered until the process ends."""
    async with replicated(scripted, replace(LIMITS, shards=shards)) as replica:
        if shards:
            await turns()
            await scripted.deliver(put(FIRST), omitted=LONG)
            await scripted.hand_over(0, *BEFORE)
        stale = StaleShard(ONE.key, 1, 2, ONE_MOVED, IN_A)
        replica.note(VersionConflict((stale,)))
        replica.require_shards(3, [ONE.key, THREE.key])
        await replica.require_list(3, "a")
        await replica.require_list(3, None)
        assert replica.table_with(ONE.key) is None
        assert not replica._expected.newest  # noqa: SLF001 - what it holds is not seen otherwise
        assert not replica._backlog.items  # noqa: SLF001 - same


async def test_what_follows_a_long_change_in_its_namespace_waits_for_it(scripted: Scripted, replica: Replica) -> None:
    """A deletion that did not would be undone by it."""
    await scripted.hand_over(0, ONE)
    await scripted.deliver(put(ONE), omitted=LONG)
    await scripted.deliver(deletion(TWO_MOVED, 4))
    for row in (put(ONE_MOVED), put(TWO_MOVED), put(a_shard("c", "9", revision=5))):
        scripted.history.put_nowait(row)
    await turns()
    assert held(replica) == [ONE_MOVED]


async def test_a_long_change_that_comes_before_the_table_is_loaded_is_read_after_it(
    scripted: Scripted, replica: Replica
) -> None:
    await turns()
    await scripted.deliver(put(ONE), omitted=LONG)
    await scripted.hand_over(1, ONE)
    assert replica.table_of("b") is None
    scripted.history.put_nowait(put(ONE_MOVED))
    scripted.history.put_nowait(put(TWO_MOVED))
    await turns()
    assert held(replica) == [ONE_MOVED, TWO_MOVED]


async def test_a_stream_that_is_replaced_while_a_long_change_is_read_is_loaded_anew(
    scripted: Scripted, replica: Replica
) -> None:
    await scripted.hand_over(0, ONE)
    await scripted.deliver(put(ONE), omitted=LONG)
    await scripted.replace(at(7, "two"))
    scripted.history.put_nowait(put(ONE_MOVED))
    scripted.history.put_nowait(put(TWO_MOVED))
    await turns()
    assert held(replica) is None
    await scripted.hand_over(7, THREE, epoch="two")
    assert held(replica) == [THREE]
